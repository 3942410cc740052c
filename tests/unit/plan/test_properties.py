"""What must hold for every plan, whatever was written."""

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import PurePosixPath

from hypothesis import given, settings
from hypothesis import strategies as st

from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.mount import MountPlan, PathClass, Seed, StorageKind
from lithify.model.path import is_system
from lithify.model.writes import Change, Observation, Process, RunKey, Write, Writer, WriterStyle, WriteSet
from lithify.plan import PlanSettings, StateDecision, alternatives_of, make_plan
from lithify.plan.classify import classify, surroundings
from lithify.plan.ground import Ground
from lithify.plan.storage import memory_budget

NAMES = ("app", "data", "log", "run", "x.pid", "y.db", "cache", "tmp", "lib", "etc", "var", "usr", "bin", "u\udcffñ\n")
EXAMPLES = 80
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=5).map(lambda parts: PurePosixPath("/", *parts))


@st.composite
def images(draw: st.DrawFn) -> ImageFacts:
    """An image whose directories count what is really below them."""
    leaves = draw(st.lists(st.tuples(PATHS, st.booleans(), st.integers(0, 1 << 21)), max_size=12))
    directories = {parent for path, _, _ in leaves for parent in path.parents}
    files = {path: (program, size) for path, program, size in leaves if path not in directories}
    entries: dict[PurePosixPath, ImageEntry] = {}
    for path, (program, size) in files.items():
        entries[path] = ImageEntry(
            type=EntryType.FILE, mode=0o755, uid=0, gid=0, size=size, executables=int(program and size % 2)
        )
    for path in directories:
        below = [p for p in (*files, *directories) if p != path and p.is_relative_to(path)]
        entries[path] = ImageEntry(
            type=EntryType.DIRECTORY,
            mode=draw(st.sampled_from([0o755, 0o700, 0o1777])),
            uid=draw(st.sampled_from([0, 33])),
            gid=0,
            size=sum(files[p][1] for p in below if p in files),
            entries=len(below),
            directories=sum(p in directories for p in below),
            executables=sum(entries[p].executables for p in below if p in files),
        )
    return ImageFacts(
        reference="any",
        entries=entries,
        code_roots=tuple(draw(st.lists(PATHS, max_size=2))),
        volumes=tuple(draw(st.lists(PATHS, max_size=2))),
    )


WRITES = st.builds(
    Write,
    path=PATHS,
    change=st.sampled_from(Change),
    type=st.sampled_from([EntryType.FILE, EntryType.FILE, EntryType.DIRECTORY, EntryType.SOCKET, EntryType.UNKNOWN]),
    size=st.sampled_from([0, 100, 1 << 20, 300 << 20]),
    entries=st.integers(1, 4),
    mode=st.none() | st.sampled_from([0o644, 0o755]),
    uid=st.none() | st.sampled_from([0, 33, 1000]),
    style=st.sampled_from(WriterStyle),
    executed=st.booleans(),
    content=st.sampled_from([None, "text", "elf", "sqlite"]),
    writers=st.sampled_from([(), (Writer(program="/usr/bin/p", uid=33),)]),
    names=st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
)  # fmt: skip
SETTINGS = st.builds(
    PlanSettings,
    state_decisions=st.dictionaries(PATHS, st.sampled_from(StateDecision), max_size=2),
    dropped=st.frozensets(PATHS, max_size=1),
    widened=st.dictionaries(PATHS, st.just("a run failed"), max_size=2),
    no_seed=st.frozensets(PATHS, max_size=1),
    needs_seed=st.frozensets(PATHS, max_size=1),
    executable=st.frozensets(PATHS, max_size=1),
    larger=st.dictionaries(PATHS, st.integers(0, 1 << 31), max_size=1),
)


def coherent(writes: Iterable[Write], image: ImageFacts) -> tuple[Write, ...]:
    """Leave out writes that contradict others: a path is a file or a directory, and has each change once."""
    kept = {(w.path, w.change): w for w in writes}
    files = {path for path, entry in image.entries.items() if entry.type is EntryType.FILE}
    directories = {path for path, entry in image.entries.items() if entry.type is EntryType.DIRECTORY}
    directories |= {w.path for w in kept.values() if _is_about_directory(w)}
    directories |= {above for w in kept.values() for above in w.path.parents}
    return tuple(
        w
        for w in kept.values()
        if files.isdisjoint(w.path.parents) and w.path not in (files if _is_about_directory(w) else directories)
    )


def _is_about_directory(write: Write) -> bool:
    return write.change is Change.CAME_AND_WENT or write.type is EntryType.DIRECTORY


@st.composite
def write_sets(draw: st.DrawFn) -> WriteSet:
    image = draw(images())
    named = draw(st.lists(st.tuples(st.sampled_from(["HOME", "DATA"]), PATHS.map(str)), max_size=2))
    return WriteSet(
        key=RunKey(image="any", command=tuple(draw(st.lists(PATHS.map(str), max_size=2)))),
        container="any",
        image=image,
        writes=coherent(draw(st.lists(WRITES, max_size=10)), image),
        observation=Observation(seconds=1),
        processes=(Process(program="/usr/bin/p", path_variables=tuple(named)),),
        memory_limit=draw(st.sampled_from([None, 64 << 20, 1 << 30])),
        mounted=tuple(draw(st.lists(PATHS, max_size=1))),
    )


def served(plan: MountPlan, path: PurePosixPath) -> bool:
    return plan.mount_for(path) is not None or any(path.is_relative_to(r.old) for r in plan.redirects)


@given(write_sets(), SETTINGS)
@settings(max_examples=EXAMPLES, deadline=None)
def test_every_write_is_served_spared_or_refused(write_set: WriteSet, wishes: PlanSettings) -> None:
    """Nothing that was written is left without an answer."""
    plan = make_plan(write_set, wishes)
    spared = {tolerated.path for tolerated in plan.tolerated}
    refused = {refusal.path for refusal in plan.refusals}
    for write in write_set.writes:
        if any(write.path.is_relative_to(mounted) for mounted in write_set.mounted):
            continue
        answers = {write.path, *write.path.parents}
        moved = served(plan, write.path) or any(str(write.path).startswith(str(r.old)) for r in plan.redirects)
        assert moved or answers & spared or answers & refused


@given(write_sets(), SETTINGS)
@settings(max_examples=EXAMPLES, deadline=None)
def test_no_mount_lies_where_none_may(write_set: WriteSet, wishes: PlanSettings) -> None:
    """No place on a directory of the system, of programs, or on the way to the program; no hint changes that."""
    image = write_set.image
    for mount in make_plan(write_set, wishes).mounts:
        if mount.type is EntryType.FILE:
            assert not ((entry := image.entry(mount.path)) and entry.executables)
            continue
        assert not is_system(mount.path)
        assert not any(root.is_relative_to(mount.path) for root in image.code_roots)
        entry = image.entry(mount.path)
        assert entry is None or entry.executables <= entry.files / 10 or entry.mode & 0o002


@given(write_sets(), SETTINGS)
@settings(max_examples=EXAMPLES, deadline=None)
def test_no_mount_hides_image_content_silently(write_set: WriteSet, wishes: PlanSettings) -> None:
    """What the image has below a place comes back, or is counted as hidden."""
    plan = make_plan(write_set, wishes)
    places = [mount.path for mount in plan.mounts]
    below: dict[PurePosixPath, list[PurePosixPath]] = {path: [] for path in places}
    for path in write_set.image.entries:
        holding = [place for place in places if path.is_relative_to(place)]
        if holding and path not in places:
            below[max(holding, key=lambda place: len(place.parts))].append(path)
    for mount in plan.mounts:
        if mount.type is EntryType.FILE or mount.path.is_relative_to("/mnt"):
            continue
        assert mount.writable_entries + mount.hidden_entries == len(below[mount.path])
        assert mount.seed is not Seed.NONE or not below[mount.path]
        assert mount.seed is Seed.CONTENT or not mount.seed_bytes
        if mount.seed is Seed.CONTENT:
            assert mount.hidden_entries == 0


@given(write_sets(), SETTINGS)
@settings(max_examples=EXAMPLES, deadline=None)
def test_state_is_kept_unless_the_user_says_otherwise(write_set: WriteSet, wishes: PlanSettings) -> None:
    """State lies on volumes, and only there; each volume has a name of its own that every engine takes."""
    plan = make_plan(write_set, wishes)
    names = [mount.name for mount in plan.mounts if mount.storage is StorageKind.VOLUME]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) for name in names)
    ground = Ground(write_set.image, wishes)
    for write in write_set.writes:
        mount = plan.mount_for(write.path)
        if mount is None or mount.storage is StorageKind.VOLUME:
            continue
        if write.change in (Change.ATTEMPTED, Change.METADATA, Change.DELETED) or wishes.widened:
            continue
        inside = write.change is Change.CAME_AND_WENT or write.type is EntryType.DIRECTORY
        path = ground.resolve(write.path, follow=inside)
        where = surroundings(path if inside else path.parent, write_set.image)
        if classify(write, where, write_set.image).path_class is PathClass.STATE:
            assert wishes.decision(write.path) is StateDecision.EPHEMERAL


@given(write_sets(), SETTINGS)
@settings(max_examples=EXAMPLES, deadline=None)
def test_memory_stays_within_its_budget(write_set: WriteSet, wishes: PlanSettings) -> None:
    """All places in memory together fit what they may have, and each has a limit."""
    plan = make_plan(write_set, wishes)
    assert plan.memory_reserved <= memory_budget(write_set.memory_limit, wishes)
    assert all(mount.size for mount in plan.mounts if mount.storage is StorageKind.MEMORY)


@given(write_sets(), SETTINGS, st.randoms(use_true_random=False))
@settings(max_examples=EXAMPLES, deadline=None)
def test_the_order_of_writes_does_not_matter(write_set: WriteSet, wishes: PlanSettings, random: object) -> None:
    """The same facts give the same plan."""
    shuffled = list(write_set.writes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert make_plan(replace(write_set, writes=tuple(shuffled)), wishes) == make_plan(write_set, wishes)


@given(write_sets())
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_plan_needs_no_plan(write_set: WriteSet) -> None:
    """Once the places of a plan are mounted, the same writes ask for no more places."""
    write_set = replace(write_set, processes=(), key=RunKey(image="any"))  # what is redirected is written elsewhere
    plan = make_plan(write_set)
    again = replace(write_set, mounted=(*write_set.mounted, *(mount.path for mount in plan.mounts)))
    assert make_plan(again).mounts == ()


@given(write_sets())
@settings(max_examples=EXAMPLES, deadline=None)
def test_what_was_rejected_does_not_come_back(write_set: WriteSet) -> None:
    """An alternative that a run showed not to work is not tried again, and the search for others ends."""
    wishes = PlanSettings()
    for _ in range(40):
        plan = make_plan(write_set, wishes)
        labels = {label for mount in plan.mounts for label in alternatives_of(mount) if "/mnt/" not in label}
        labels |= {label for redirect in plan.redirects for label in alternatives_of(redirect)}
        assert not labels & wishes.rejected
        if not labels:
            return
        wishes = replace(wishes, rejected=wishes.rejected | {min(labels)})
    raise AssertionError("the search for alternatives does not end")


@given(write_sets(), SETTINGS)
@settings(max_examples=EXAMPLES, deadline=None)
def test_mounts_stand_outermost_first_and_are_explained(write_set: WriteSet, wishes: PlanSettings) -> None:
    """Engines mount in order; every mount says why, in one line each, without control characters."""
    plan = make_plan(write_set, wishes)
    for left, right in pairwise(plan.mounts):
        assert left.path.parts < right.path.parts
    for text in _texts(plan):
        assert text
        assert text.isprintable()


def _texts(plan: MountPlan) -> Iterable[str]:
    for mount in plan.mounts:
        assert mount.reasons
        yield from mount.reasons
    for refusal in plan.refusals:
        yield from (refusal.reason, refusal.remedy)
    yield from (tolerated.reason for tolerated in plan.tolerated)
    yield from (redirect.reason for redirect in plan.redirects)
    yield from (question.text for question in plan.questions)
    yield from plan.unexercised

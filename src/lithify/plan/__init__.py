"""Turns a write set into a mount plan: pure functions on values, the same answer each time.

For each write the first of these that serves: leave it read-only (nothing was changed, its program is known to go on,
or a run did without); a narrow place in memory or on disk; the same with its directories re-created, or with the
image's content put back; a volume; a variable or option that moves the write; mounts of single files; a refusal with a
remedy. A redirect stands before a place in principle and after it here, because a mount at the directory that is
written changes nothing the program can notice, while only a run shows that it listens to a variable: it comes first
where the place would be forbidden, hide or expose much (`cover` weighs them). Baking into the image is advice: it
is the user's, who asks for it with `harden --bake` (`lithify.pipeline.bake`).

A proof that fails comes back with hints in `PlanSettings`: what to drop, to widen, to make larger, and which
alternatives not to try again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from lithify.model.collection import no_collection
from lithify.model.image import EntryType
from lithify.model.mount import Mount, MountPlan, PathClass, Redirect, Seed, StorageKind, Tolerated
from lithify.model.path import printable
from lithify.model.quantity import render_human
from lithify.model.writes import Change, WriteSet
from lithify.plan.cover import Cover, Means, Place, cover, uses_image
from lithify.plan.doubt import confidence_in, confidence_of, questions, unexercised
from lithify.plan.explain import what_for, who_wrote_what
from lithify.plan.ground import Ground, place_label
from lithify.plan.needs import Demand, Need, Seen, gather, leaves_as_before
from lithify.plan.owner import choose_owner
from lithify.plan.redirect import Option, find_options, target
from lithify.plan.refuse import refuse, refuse_barred
from lithify.plan.seed import choose_seed, counts, explain_seed, footprint
from lithify.plan.settings import Owner, PlanSettings, StateDecision
from lithify.plan.size import bound_names, bound_size, extent, larger_for
from lithify.plan.storage import choose_storage, exceeding, memory_budget, volume_names

__all__ = ["Owner", "PlanSettings", "StateDecision", "alternatives_of", "make_plan"]


def make_plan(write_set: WriteSet, settings: PlanSettings | None = None) -> MountPlan:
    """Return where the container of `write_set` may write, and why nowhere else."""
    settings = settings or PlanSettings()
    with no_collection():  # time for each path would grow with their number
        return _Planner(write_set, settings).plan()


def alternatives_of(choice: Mount | Redirect) -> tuple[str, ...]:
    """Return what to add to `PlanSettings.rejected` so that the next plan does something else instead of `choice`."""
    if isinstance(choice, Redirect):
        return (choice.label,)
    return (place_label(choice.path, file=choice.type is EntryType.FILE),)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """Where a place ends up: its own path, or the target of a redirect."""

    path: PurePosixPath
    place: Place
    nested: tuple[PurePosixPath, ...] = ()
    redirect: Redirect | None = None


class _Planner:
    def __init__(self, write_set: WriteSet, settings: PlanSettings) -> None:
        self.write_set = write_set
        self.settings = settings
        self.ground = Ground(write_set.image, settings)
        self.missed = frozenset(self.ground.resolve(path, follow=False) for path in settings.widened)

    def plan(self) -> MountPlan:
        demand = gather(self.write_set, self.settings, self.ground)
        needs = list(demand.needs)
        options = find_options(self.write_set, self.ground, sorted((n.path for n in needs), key=lambda p: p.parts))
        covered, dropped = self._cover(needs, options)
        sites = self._sites(covered)
        built = self._name_volumes(self._fit_memory([self._mount(site, demand) for site in sites]))
        mounts = [mount for group, _ in built for mount in group]
        redirects = tuple(site.redirect for site in sites if site.redirect is not None)
        barred = self._barred(demand)
        asked = questions([(group[0], needs) for group, needs in built], self.settings)
        return MountPlan(
            key=self.write_set.key,
            container=self.write_set.container,
            mounts=tuple(sorted(mounts, key=lambda m: m.path.parts)),
            redirects=redirects,
            tolerated=self._tolerated(demand, dropped, mounts),
            refusals=(
                *refuse_barred(barred, self.write_set),
                *refuse(covered.unserved, barred, self.write_set, self.ground),
            ),
            questions=tuple(asked),
            unexercised=tuple(unexercised(self.write_set, [mount.path for mount in mounts])),
            confidence=confidence_in(self.write_set.observation, mounts),
        )

    def _cover(self, needs: list[Need], options: dict[PurePosixPath, Option]) -> tuple[Cover, list[Need]]:
        """Return where needs are served, and the needs that a run did without."""
        covered = cover(needs, options, self.ground, self.settings)
        dropped = self._dropped(covered)
        while dropped:
            gone = {id(need) for need in dropped}
            covered = cover([n for n in needs if id(n) not in gone], options, self.ground, self.settings)
            # State in an outer place that ends with the container is not read-only there, but lost.
            ending = {place.path for place in covered.places if not place.staying}
            lost = {id(n) for n in dropped if n.persistent and not ending.isdisjoint((n.path, *n.path.parents))}
            if not lost:
                break
            dropped = [need for need in dropped if id(need) not in lost]
            covered = cover(needs, options, self.ground, self.settings)
        return covered, dropped

    def _dropped(self, covered: Cover) -> list[Need]:
        """Return the needs that a run did without: those of the places that were taken away."""
        if not self.settings.dropped:
            return []
        by_place = {site.path: site.place for site in self._sites(covered)}
        gone: list[Need] = []
        for path in sorted(self.settings.dropped):
            if path in by_place:
                gone.extend(by_place[path].needs)
            else:
                places = [n for place in covered.places for n in place.needs]
                gone.extend(n for n in (*places, *covered.unserved) if n.path.is_relative_to(path))
        missed = self.missed
        return [n for n in gone if not any(s.write.path in missed for s in n.seen) and not self._keeps_files(n)]

    def _keeps_files(self, need: Need) -> bool:
        """Tell whether some of the single files that serve a need were not dropped."""
        return bool(need.files) and not self.settings.dropped.isdisjoint(need.files) and not self._all_dropped(need)

    def _all_dropped(self, need: Need) -> bool:
        return self.settings.dropped.issuperset(need.files)

    def _sites(self, covered: Cover) -> list[_Site]:
        taken = {place.path for place in covered.places}
        sites: list[_Site] = []
        for place in covered.places:
            if place.means is not Means.REDIRECT or place.option is None:
                sites.append(_Site(path=place.path, place=place))
                continue
            directory = target(place.option, taken)
            taken.add(directory)
            single = any(need.single for need in place.needs)
            new = directory / place.path.name if single else directory
            sites.append(_Site(path=directory, place=place, redirect=place.option.redirect(new)))
        sites.sort(key=lambda site: site.path.parts)
        return _nest(sites)

    def _mount(self, site: _Site, demand: Demand) -> tuple[tuple[Mount, ...], tuple[Need, ...]]:
        if site.place.means is Means.FILES:
            return self._file_mounts(site), site.place.needs
        return (self._directory_mount(site, demand),), site.place.needs

    def _directory_mount(self, site: _Site, demand: Demand) -> Mount:
        path, needs, settings = site.path, site.place.needs, self.settings
        classes = frozenset(c for need in needs for c in need.classes)
        moved = site.redirect is not None
        entry = None if moved else self.ground.entry(path)
        inner = [e for e in (self.ground.entry(p) for p in site.nested) if e is not None]
        below = footprint(entry, () if moved else inner)
        used = any(uses_image(need) for need in needs)
        seed = choose_seed(path, below, classes, used=used, settings=settings)
        writable, hidden, seed_bytes = counts(below, seed)
        seen = [s for need in needs for s in need.seen]
        met = extent(s.write for s in seen)
        larger = larger_for(path, settings, site.nested)
        size, why_size = bound_size(classes, met, seed_bytes=seed_bytes, larger=larger, settings=settings)
        storage = choose_storage(path, classes, staying=site.place.staying, seen=met.room, size=size, settings=settings)
        in_memory = storage.kind is StorageKind.MEMORY
        kept = storage.kind is StorageKind.VOLUME
        owner = choose_owner(path, entry, needs, demand.metadata, settings, moved=moved)
        run_from = self._run_from(site, demand)
        reasons = [
            *who_wrote_what(seen, site.place.path),
            *self._why_here(site),
            what_for(needs),
            f"{storage.because[0].upper()}{storage.because[1:]}.",
            *([] if kept else [f"Size {why_size}"]),
            f"Owner {owner.uid}:{owner.gid}, mode {owner.mode:o}: {owner.because}.",
            f"Executable: {run_from}." if run_from else "Not executable: nothing was seen run from here.",
            *self._why_seed(site, explain_seed(path, below, seed, used=used, settings=settings)),
            *self._advice(path, classes, seen, kept=kept),
        ]
        return Mount(
            path=path,
            storage=storage.kind,
            classes=tuple(sorted(classes)),
            size=None if kept else size,
            inodes=bound_names(classes, met, writable, settings) if in_memory else None,
            uid=owner.uid,
            gid=owner.gid,
            mode=owner.mode,
            executable=bool(run_from),
            seed=seed,
            reasons=tuple(reasons),
            confidence=confidence_of(site.place),
            writable_entries=writable,
            hidden_entries=hidden,
            seed_bytes=seed_bytes,
        )

    def _file_mounts(self, site: _Site) -> tuple[Mount, ...]:
        need = site.place.needs[0]
        storage = StorageKind.VOLUME if site.place.staying else StorageKind.SCRATCH
        objection = self.ground.objection(need.path.parent, written=True) or "it holds much that must not be writable"
        mounts = []
        for path in need.files:
            if path in self.settings.dropped - self.missed:
                continue
            entry = self.ground.entry(path)
            seen = [s for s in need.seen if s.write.path == path]
            below = footprint(entry)
            seed = Seed.CONTENT if below.entries else Seed.NONE
            source = entry or self.ground.entry(need.path) or (seen or need.seen)[0].write
            size, _ = bound_size(
                need.classes,
                extent(s.write for s in seen),
                seed_bytes=below.size,
                larger=larger_for(path, self.settings, ()),
                settings=self.settings,
            )
            mounts.append(
                Mount(
                    path=path,
                    storage=storage,
                    type=EntryType.FILE,
                    classes=tuple(sorted(need.classes)),
                    size=None if storage is StorageKind.VOLUME else size,
                    uid=source.uid or 0,
                    gid=source.gid or 0,
                    mode=(source.mode if source.mode is not None else 0o644) & 0o7777,
                    seed=seed,
                    reasons=(
                        *who_wrote_what(seen, path.parent),
                        f"Only this file is mounted, for {printable(path.parent)} must stay read-only: {objection}.",
                        "Its writer writes in place; one that renamed a new file over it would fail (EBUSY).",
                        what_for([need]),
                    ),
                    confidence=confidence_of(site.place),
                    writable_entries=below.entries,
                    seed_bytes=below.size,
                )
            )
        return tuple(mounts)

    def _run_from(self, site: _Site, demand: Demand) -> str:
        """Say what is run from a place; nothing where nothing is."""
        executed = [path for path in demand.executed if _holds(site, path)]
        if executed:
            return f"code was run or mapped from {printable(executed[0])}"
        asked = [p for p in sorted(self.settings.executable) if _holds(site, p)]
        return f"a run showed that code must run from {printable(asked[0])}" if asked else ""

    def _why_here(self, site: _Site) -> list[str]:
        place = site.place
        if site.redirect is not None:
            objection = self.ground.objection(place.path, written=True) or "a place there would hide or expose much"
            return [
                f"The writes are moved here from {printable(place.path)}: {objection}.",
                _sentence(site.redirect.reason),
            ]
        reasons = []
        if any(need.made and need.path == place.path for need in place.needs):
            reasons.append(
                "The program makes this directory itself; the mount point takes its place, so that the parent "
                "stays read-only."
            )
        children = {need.path for need in place.needs} - {place.path}
        if len(children) == len({need.path for need in place.needs}) > 1:
            reasons.append(f"One place for {len(children)} directories below it, which weigh more one by one.")
        if site.nested:
            inside = ", ".join(printable(path) for path in site.nested)
            reasons.append(f"What is written to {inside} has places of its own there.")
        return reasons

    def _why_seed(self, site: _Site, sentence: str) -> list[str]:
        return [] if site.redirect is not None else [sentence]

    def _advice(
        self, path: PurePosixPath, classes: frozenset[PathClass], seen: Sequence[Seen], *, kept: bool
    ) -> list[str]:
        advice = []
        if leaves_as_before(seen):
            advice.append(
                f"What was written to {printable(path)} is what the image has already: leave out of the start what "
                "rewrites it, and this place is not needed. Baking it into the image can't help."
            )
        elif PathClass.CONFIG in classes:
            advice.append(
                f"If the image is yours and every start writes the same to {printable(path)}, it belongs into the "
                "Dockerfile, and this place is not needed: --bake DIR tries that."
            )
        if PathClass.RUNTIME in classes and kept:
            advice.append(
                "Pid files and locks lie here too and outlive the container: a start that finds a stale one may stop."
            )
        return advice

    def _fit_memory(
        self, built: Sequence[tuple[tuple[Mount, ...], tuple[Need, ...]]]
    ) -> list[tuple[tuple[Mount, ...], tuple[Need, ...]]]:
        """Move the largest places to disk until what may lie in memory fits its budget."""
        budget = memory_budget(self.write_set.memory_limit, self.settings)
        sizes = [
            (m.path, m.size or 0, PathClass.RUNTIME in m.classes)
            for group, _ in built
            for m in group
            if m.storage is StorageKind.MEMORY
        ]
        leaving = set(exceeding(sizes, budget))
        why = f"On disk, not in memory: all places in memory together may have {render_human(budget)}."

        def moved(mount: Mount) -> Mount:
            if mount.path not in leaving:
                return mount
            return replace(mount, storage=StorageKind.SCRATCH, inodes=None, reasons=(*mount.reasons, why))

        return [(tuple(moved(mount) for mount in group), needs) for group, needs in built]

    def _name_volumes(
        self, built: Sequence[tuple[tuple[Mount, ...], tuple[Need, ...]]]
    ) -> list[tuple[tuple[Mount, ...], tuple[Need, ...]]]:
        prefix = self.settings.volume_prefix or self.write_set.container
        # with a prefix of the user's also those that an engine makes a volume of because it can't have them otherwise
        every = bool(self.settings.volume_prefix)
        kept = [m.path for group, _ in built for m in group if every or m.storage is StorageKind.VOLUME]
        names = volume_names(prefix, kept)
        return [
            (tuple(replace(m, name=names.get(m.path, "")) for m in group), needs) for group, needs in built if group
        ]

    def _tolerated(self, demand: Demand, dropped: Iterable[Need], mounts: Sequence[Mount]) -> tuple[Tolerated, ...]:
        single = {path for need in demand.needs for path in need.files} & (self.settings.dropped - self.missed)
        why = "a run did without a place for it"
        found = {path: Tolerated(path=path, reason=why, proved=True) for path in single}
        for need in dropped:
            lost = f"{why}, and its log is lost: --state {printable(need.path)}=volume keeps it" if _logs(need) else why
            found[need.path] = Tolerated(path=need.path, reason=lost, proved=True)
        for seen in demand.barred:
            if self._is_dropped(seen.write.path):
                path = seen.write.path
                found[path] = Tolerated(path=path, reason="a run did without this write", proved=True)
        places = {mount.path for mount in mounts if mount.type is not EntryType.FILE}
        for spared in demand.spared:
            path = spared.seen.write.path
            if path not in found and places.isdisjoint((path, *path.parents)):
                found[path] = Tolerated(path=path, reason=spared.reason, proved=self._is_dropped(path))
        return tuple(found[path] for path in sorted(found))

    def _barred(self, demand: Demand) -> list[Seen]:
        return [seen for seen in demand.barred if not self._is_dropped(seen.write.path)]

    def _is_dropped(self, path: PurePosixPath) -> bool:
        return bool(self.settings.dropped) and not self.settings.dropped.isdisjoint((path, *path.parents))


def _nest(sites: list[_Site]) -> list[_Site]:
    """Return `sites`, sorted by parts, each with the places directly below it."""
    nested: list[list[PurePosixPath]] = [[] for _ in sites]
    stack: list[int] = []
    for index, site in enumerate(sites):
        parts = site.path.parts
        while stack and parts[: len(sites[stack[-1]].path.parts)] != sites[stack[-1]].path.parts:
            stack.pop()
        if stack:
            nested[stack[-1]].append(site.path)
        stack.append(index)
    return [replace(site, nested=tuple(inner)) for site, inner in zip(sites, nested, strict=True)]


def _holds(site: _Site, path: PurePosixPath) -> bool:
    return path.is_relative_to(site.path) and not any(path.is_relative_to(inner) for inner in site.nested)


def _logs(need: Need) -> bool:
    """Tell whether lines of a log were left there."""
    return any(
        s.path_class is PathClass.LOG and s.write.size and s.write.change is not Change.OPENED for s in need.seen
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""

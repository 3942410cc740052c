"""Owner, size, storage, seed, links and redirects, one by one."""

from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from tests.unit.plan.facts import P, came_and_went, directory, image, link, made, write, write_set

from lithify.model.mount import Mount, MountPlan, PathClass, Seed, StorageKind
from lithify.model.writes import Change, Process, Write, Writer, WriterStyle, WriteSet
from lithify.plan import Owner, PlanSettings, alternatives_of, make_plan
from lithify.plan.ground import Ground
from lithify.plan.needs import looks_random
from lithify.plan.size import FLOORS
from lithify.plan.storage import exceeding, volume_names

MIB = 1 << 20


def place(plan: MountPlan, path: str) -> Mount:
    return next(mount for mount in plan.mounts if mount.path == PurePosixPath(path))


def paths(plan: MountPlan) -> list[str]:
    return [str(mount.path) for mount in plan.mounts]


# Owner and mode


@pytest.mark.parametrize(
    ("entry", "writes", "expected"),
    [
        # the image's directory, its sticky and setgid bits included
        (directory(mode=0o3775, uid=5, gid=6), [write("/srv/x/f", by="p:5")], (5, 6, 0o3775)),
        # root writes everywhere
        (directory(mode=0o700, uid=5), [write("/srv/x/f", by="p:0")], (5, 5, 0o700)),
        # another user could not: the place becomes the writer's, whatever the image's USER is
        (directory(mode=0o755, uid=0), [write("/srv/x/f", by="p:33")], (33, 33, 0o755)),
        # group and others may suffice
        (directory(mode=0o770, uid=0, gid=33), [write("/srv/x/f", by="p:33")], (0, 33, 0o770)),
        # two users that share nothing
        (directory(mode=0o755), [write("/srv/x/f", by="p:33"), write("/srv/x/g", by="q:34")], (0, 0, 0o1777)),
        # the image has nothing: who writes there owns it
        (None, [made("/srv/x", uid=7, gid=8, mode=0o710), write("/srv/x/f", by="p:7")], (7, 8, 0o710)),
        (None, [came_and_went("/srv/x", "f", by="p:9")], (9, 9, 0o755)),
        # the entrypoint gave the image's directory to the final user before that one wrote
        (
            directory(),
            [
                write("/srv/x", Change.METADATA, made("/x").type, uid=70, gid=70, mode=0o700),
                write("/srv/x/f", by="p:70"),
            ],
            (70, 70, 0o700),
        ),
        # a program that was another user by the time it was looked at: whose the file is tells who made it
        (
            directory(),
            [
                write(
                    "/srv/x/f", uid=0, gid=0, writers=(Writer(program="p", uid=33, gid=33), Writer(program="p", uid=0))
                )
            ],
            (0, 0, 0o755),
        ),
        # the same, and only its later user was seen: who is not root can't have given the file away
        (directory(), [write("/srv/x/f", uid=0, gid=0, by="p:33")], (0, 0, 0o755)),
        # root gave it to the user that it then became, and kept its group, as dnsmasq does with its log
        (directory(), [write("/srv/x/f", uid=33, gid=0, by="p:33")], (0, 0, 0o755)),
        # a setgid directory gave it its group: its user made it, and must be let
        (
            None,
            [made("/srv/x", uid=0, gid=0, mode=0o2775), write("/srv/x/f", uid=33, gid=0, by="p:33")],
            (33, 33, 0o2775),
        ),
        # names that are gone tell of no owner: where root made some, the image's mode says who made the rest
        (
            directory(),
            [came_and_went("/srv/x", "s", writers=(Writer(program="p", uid=33), Writer(program="p", uid=0)))],
            (0, 0, 0o755),
        ),
        # nobody was seen, and root may have given it away: the image's owner stays
        (directory(), [write("/srv/x/f", uid=33, gid=33)], (0, 0, 0o755)),
        # the same where a program was seen, and not as whom
        (directory(), [write("/srv/x/f", uid=33, gid=33, writers=(Writer(program="p"),))], (0, 0, 0o755)),
        # root can
        (directory(mode=0o755, uid=5), [write("/srv/x/f", uid=33, gid=33, by="p:0")], (5, 5, 0o755)),
        # only deeper directories are written, and those have owners of their own
        (directory(dirs=1), [write("/srv/x/deep/f", by="p:33"), write("/srv/x/f", by="q:0")], (0, 0, 0o755)),
    ],
)
def test_owner_and_mode(entry: object, writes: list[Write], expected: tuple[int, int, int]) -> None:
    """Owner and mode are those of the directory as it was, unless its writers could not write then."""
    facts = image({"/srv/x": entry} if entry is not None else {})  # type: ignore[dict-item]
    mount = place(make_plan(write_set(*writes, facts=facts)), "/srv/x")
    assert (mount.uid, mount.gid, mount.mode) == expected


def test_tmp_is_for_all_where_the_image_lacks_it() -> None:
    """Some languages refuse a temporary directory that others may write and that is not sticky."""
    facts = image()
    bare = replace(facts, entries={path: entry for path, entry in facts.entries.items() if path != P("/tmp")})
    assert place(make_plan(write_set(came_and_went("/tmp", "x"), facts=bare)), "/tmp").mode == 0o1777


# Size and storage


def test_size_is_what_was_seen_times_the_factor_and_no_less_than_the_floor() -> None:
    """A directory that sums up what is below it counts once, and a peak more than what was left."""
    writes = [made("/srv/w/tmp", size=40 * MIB, entries=9), write("/srv/w/tmp/a", size=30 * MIB, peak=50 * MIB)]
    mount = place(make_plan(write_set(*writes)), "/srv/w/tmp")
    assert mount.size == 100 * MIB
    small = place(make_plan(write_set(came_and_went("/srv/w/tmp", "a"))), "/srv/w/tmp")
    assert small.size == FLOORS[PathClass.SCRATCH]
    assert small.inodes == 16384


def test_very_many_small_files_take_a_page_each() -> None:
    """In a tmpfs of 64 MiB the 16,385th file of one byte finds no room, and many programs don't look."""
    writes = write_set(made("/srv/w/cache", size=20_000, entries=20_000))
    mount = place(make_plan(writes), "/srv/w/cache")
    assert mount.size is not None
    assert mount.size >= 2 * 20_000 * 4096
    assert mount.storage is StorageKind.SCRATCH
    assert any("20000 entries of a page" in reason for reason in mount.reasons)


def test_a_run_that_ran_out_of_space_makes_a_place_larger() -> None:
    """A hint about a path below a place counts for the place, and a place that large leaves memory."""
    writes = write_set(came_and_went("/tmp", "x"), memory_limit=8 << 30)
    mount = place(make_plan(writes, PlanSettings(larger={P("/tmp/x"): 1 << 30})), "/tmp")
    assert (mount.size, mount.storage) == (1 << 30, StorageKind.SCRATCH)


def test_what_does_not_fit_memory_goes_to_disk_largest_first() -> None:
    """Run-time files stay in memory longest: disk would keep a stale pid file from start to start."""
    writes = write_set(
        write("/run/a.pid"), came_and_went("/tmp", "x"), came_and_went("/var/tmp", "x"), memory_limit=160 * MIB
    )
    plan = make_plan(writes)
    kinds = {str(mount.path): mount.storage for mount in plan.mounts}
    assert kinds == {"/run": StorageKind.MEMORY, "/tmp": StorageKind.SCRATCH, "/var/tmp": StorageKind.MEMORY}
    assert "80 MiB" in " ".join(place(plan, "/tmp").reasons)
    assert exceeding([(P("/a"), 5, True), (P("/b"), 3, False), (P("/c"), 4, False)], 6) == [P("/c"), P("/b")]


def test_names_of_volumes_are_valid_unique_and_stable() -> None:
    """A path keeps its name whatever other places there are, as long as the name says which path it is."""
    names = volume_names("My App", [P("/var/lib/x"), P("/a-b/c"), P("/a/b-c"), P("/ü"), P("/" + "x" * 300)])
    assert names[P("/var/lib/x")] == "my-app-var-lib-x"
    assert len(set(names.values())) == len(names)
    assert all(len(name) <= 200 for name in names.values())
    assert volume_names("My App", [P("/ü")])[P("/ü")] == names[P("/ü")]


# Seed


@pytest.mark.parametrize(
    ("entry", "settings", "expected"),
    [
        (directory(), PlanSettings(), (Seed.NONE, 0, 0, 0)),
        (directory(dirs=3), PlanSettings(), (Seed.SKELETON, 3, 0, 0)),
        (directory(files=2, dirs=1, size=MIB), PlanSettings(), (Seed.CONTENT, 3, 0, MIB)),
        (directory(files=5, dirs=1, size=90 * MIB), PlanSettings(), (Seed.SKELETON, 1, 5, 0)),
        (
            directory(files=5, dirs=1, size=90 * MIB),
            PlanSettings(needs_seed=frozenset({P("/opt/x/tmp/lib")})),
            (Seed.CONTENT, 6, 0, 90 * MIB),
        ),
        (
            directory(files=2, dirs=1, size=MIB),
            PlanSettings(no_seed=frozenset({P("/opt/x/tmp")})),
            (Seed.SKELETON, 1, 2, 0),
        ),
    ],
)
def test_seed(entry: object, settings: PlanSettings, expected: tuple[Seed, int, int, int]) -> None:
    """What comes back, what is hidden, and what it costs."""
    facts = image({"/opt/x/tmp": entry})  # type: ignore[dict-item]
    mount = place(make_plan(write_set(came_and_went("/opt/x/tmp", "a"), facts=facts), settings), "/opt/x/tmp")
    assert (mount.seed, mount.writable_entries, mount.hidden_entries, mount.seed_bytes) == expected


def test_a_nested_place_is_not_counted_twice() -> None:
    """A volume below a place in memory brings its own content."""
    facts = image(
        {
            "/opt/x": directory(files=4, dirs=2, size=4000),
            "/opt/x/data": directory(files=3, size=3000),
            "/opt/x/run": directory(),
        }
    )
    writes = [came_and_went("/opt/x", "t.pid"), write("/opt/x/data/s.db", content="sqlite")]
    plan = make_plan(write_set(*writes, facts=facts))
    assert paths(plan) == ["/opt/x", "/opt/x/data"]
    outer, inner = plan.mounts
    assert (outer.storage, outer.writable_entries, outer.seed_bytes) == (StorageKind.MEMORY, 2, 1000)
    assert (inner.storage, inner.writable_entries, inner.seed_bytes) == (StorageKind.VOLUME, 3, 3000)


# Links


@pytest.mark.parametrize(
    ("links", "path", "expected"),
    [
        ({"/var/run": "/run"}, "/var/run/x", "/run/x"),
        ({"/var/run": "../run"}, "/var/run/x", "/run/x"),
        ({"/a": "../../../../etc"}, "/a/x", "/etc/x"),
        ({"/a": "b", "/b": "/c/d", "/c/d": "e"}, "/a/x", "/c/e/x"),
        ({"/a": "/b", "/b": "/a"}, "/a/x", "/a/x"),
        ({"/a": "/b"}, "/a", "/a"),
    ],
)
def test_links_are_followed_inside_the_root(links: dict[str, str], path: str, expected: str) -> None:
    """As the kernel does in a container: `..` stops at the root, circles lead nowhere."""
    ground = Ground(image({at: link(to) for at, to in links.items()}), PlanSettings())
    assert ground.resolve(P(path), follow=False) == P(expected)


def test_a_linked_directory_is_planned_once_and_where_it_is() -> None:
    """`/var/run` and `/run` are one place; engines refuse two mounts on one directory."""
    writes = [write("/var/run/a.pid"), write("/run/b.pid"), came_and_went("/var/run", "c.pid")]
    assert paths(make_plan(write_set(*writes))) == ["/run"]


# Redirects


def noted(*, variable: tuple[str, str], written: str, files: int = 400) -> WriteSet:
    facts = image({"/opt/app": directory(files=files, dirs=9)}, environment=dict([variable]))
    return write_set(
        write(written, content="sqlite", by="/usr/bin/app:5"),
        facts=facts,
        processes=(Process(program="/usr/bin/app", path_variables=(variable,)),),
    )


def test_a_variable_is_used_where_the_place_would_expose_much() -> None:
    """Hundreds of entries made writable weigh more than a variable; a handful do not."""
    exposing = make_plan(noted(variable=("STORE", "/opt/app/s.db"), written="/opt/app/s.db"))
    assert [(r.variable, r.value) for r in exposing.redirects] == [("STORE", "/mnt/store/s.db")]
    assert paths(exposing) == ["/mnt/store"]
    assert (exposing.mounts[0].uid, exposing.mounts[0].storage) == (5, StorageKind.VOLUME)
    small = make_plan(noted(variable=("STORE", "/opt/app/s.db"), written="/opt/app/s.db", files=3))
    assert not small.redirects
    assert paths(small) == ["/opt/app"]


def test_a_program_that_nobody_saw_has_what_it_was_given() -> None:
    """A job is over before its processes can be looked at."""
    seen = noted(variable=("STORE", "/opt/app/s.db"), written="/opt/app/s.db")
    unseen = make_plan(replace(seen, processes=()))
    assert [(r.variable, r.value) for r in unseen.redirects] == [("STORE", "/mnt/store/s.db")]


@pytest.mark.parametrize("name", ["PATH", "PWD", "PYTHONPATH", "JAVA_HOME"])
def test_a_variable_that_says_where_things_are_found_moves_nothing(name: str) -> None:
    """Only what says where things are put is a way."""
    assert not make_plan(noted(variable=(name, "/opt/app/s.db"), written="/opt/app/s.db")).redirects


def test_a_variable_never_takes_the_program_along() -> None:
    """A variable that names the program's own directory would move the program."""
    writes = write_set(
        write("/opt/app/s.db", content="sqlite"),
        facts=image({"/opt/app": directory(files=9)}, code=("/opt/app",)),
        processes=(Process(program="/opt/app/run", path_variables=(("APP_HOME", "/opt/app"),)),),
    )
    plan = make_plan(writes)
    assert not plan.redirects
    assert [str(refusal.path) for refusal in plan.refusals] == ["/opt/app/s.db"]


SUPERVISORD = Process(
    program="/usr/bin/python3.11",
    arguments=("/usr/bin/python3", "/usr/bin/supervisord", "-n"),
    working_directory=P("/opt/app"),
)


MOVED = [("--pidfile=/mnt/supervisord-pid/supervisord.pid",)]


@pytest.mark.parametrize(
    ("command", "process", "expected"),
    [
        (("supervisord", "-n"), SUPERVISORD, MOVED),
        (("start.sh", "supervisord", "-n"), SUPERVISORD, MOVED),
        (("start.sh",), SUPERVISORD, []),  # what it is given goes nowhere
        (("sh", "-c", "supervisord -n"), SUPERVISORD, []),
        (("supervisord", "-n"), replace(SUPERVISORD, working_directory=P("/")), []),
        (("other", "-n"), replace(SUPERVISORD, arguments=("/usr/bin/other", "-n")), []),
        (("supervisord", "-n"), replace(SUPERVISORD, arguments=("supervisord", "--pidfile=a", "-n")), []),
    ],
)
def test_a_known_option_is_added_where_it_reaches_its_program(
    command: tuple[str, ...], process: Process, expected: list[tuple[str, ...]]
) -> None:
    """The table of options is for names in the working directory, beside the program's own code."""
    writes = write_set(
        write("/opt/app/supervisord.pid", style=WriterStyle.IN_PLACE),
        facts=image({"/opt/app": directory(files=9)}, code=("/opt/app",)),
        processes=(process,),
    )
    plan = make_plan(replace(writes, key=replace(writes.key, command=command)))
    assert [redirect.appended for redirect in plan.redirects] == expected
    if expected:
        assert paths(plan) == ["/mnt/supervisord-pid"]
        [label] = alternatives_of(plan.redirects[0])
        again = make_plan(replace(writes, key=plan.key), PlanSettings(rejected=frozenset({label})))
        assert not again.redirects


def test_a_known_variable_serves_only_its_own_tools() -> None:
    """The table is for paths that nobody named, and for programs that honour it."""
    facts = image({"/opt/x": directory(files=900, exe=900), "/opt/x/.npm": directory(files=300, exe=90)})
    for program, expected in (("/usr/bin/node", ["npm_config_cache"]), ("/usr/bin/php", [])):
        plan = make_plan(
            write_set(write("/opt/x/.npm/a"), facts=facts, processes=(Process(program=program),)),
        )
        assert [redirect.variable for redirect in plan.redirects] == expected


# Names, depth


@pytest.mark.parametrize("name", ["tmpab12x9", "20261122", "rabbit@3f2a1b4c5d6e", "wXaQbZcD", "pip-9f8e7d6c"])
def test_names_made_up_at_run_time(name: str) -> None:
    """The next start takes another, so a place at one is of no use."""
    assert looks_random(name)


@pytest.mark.parametrize("name", ["client_temp", "uploads", "python3", "v8-compile-cache-0", "clientTemp", "_cacache"])
def test_names_that_stay(name: str) -> None:
    """The next start takes the same."""
    assert not looks_random(name)


def test_a_directory_with_a_made_up_name_needs_its_parent() -> None:
    """A made directory is the place only where the next start makes the same."""
    facts = image({"/var/lib/x": directory(dirs=1), "/var/lib/x/y": directory()})
    assert paths(make_plan(write_set(made("/var/lib/x/job-123456"), facts=facts))) == ["/var/lib/x"]
    assert paths(make_plan(write_set(made("/var/lib/x/jobs"), facts=facts))) == ["/var/lib/x/jobs"]


def test_paths_of_any_depth() -> None:
    """Ten thousand directories down is one place, found without recursion."""
    deep = "/srv" + "/d" * 10_000
    plan = make_plan(write_set(write(f"{deep}/f"), write(f"{deep}/e/f")))
    assert len(plan.mounts) == 1


def test_owner_hint() -> None:
    """A proof round may settle who owns a place."""
    writes = write_set(came_and_went("/tmp", "x"))
    mount = place(make_plan(writes, PlanSettings(owners={P("/tmp"): Owner(uid=3, gid=4)})), "/tmp")
    assert (mount.uid, mount.gid, mount.mode) == (3, 4, 0o1777)

"""What proof rounds and the user's decisions make of a plan, and what a plan says that it can't know."""

import pytest
from tests.unit.plan.facts import DIRECTORY, P, came_and_went, directory, file, image, made, write, write_set

from lithify.model.mount import PathClass, StorageKind
from lithify.model.writes import Change, Observation, Process, Source
from lithify.plan import PlanSettings, StateDecision, alternatives_of, make_plan

APP = image({"/app": directory(files=5, dirs=1)}, code=("/app",))


def paths(plan: object) -> list[str]:
    return [str(mount.path) for mount in plan.mounts]  # type: ignore[attr-defined]


# Left read-only first, widened when a run shows the need


@pytest.mark.parametrize(
    ("seen", "place"),
    [
        (write("/srv/x", Change.METADATA, DIRECTORY, mode=0o755, uid=0, gid=0), "/srv/x"),
        (write("/srv/x", Change.METADATA, DIRECTORY, mode=0o700, uid=9, gid=9), "/srv/x"),
        (write("/srv/x/conf/a.conf", Change.OPENED), "/srv/x/conf"),
        (write("/srv/x/f", Change.METADATA), "/srv/x"),
        (write("/srv/x/f", Change.ATTEMPTED), "/srv/x"),
        (made("/srv/x/__pycache__"), "/srv/x/__pycache__"),
    ],
    ids=lambda value: f"{value.change} {value.type}" if not isinstance(value, str) else "",
)
def test_tolerated_until_a_run_shows_the_need(seen: object, place: str) -> None:
    """What changed nothing, or what a program is known to live without, gets a place only by proof."""
    facts = image({"/srv/x": directory(files=2, dirs=1), "/srv/x/conf": directory(files=1), "/srv/x/f": file()})
    writes = write_set(seen, facts=facts)  # type: ignore[arg-type]
    first = make_plan(writes)
    assert not first.mounts
    assert [t.path for t in first.tolerated] == [seen.path]  # type: ignore[attr-defined]
    second = make_plan(writes, PlanSettings(widened={seen.path: "the start died"}))  # type: ignore[attr-defined]
    assert paths(second) == [place]


def test_a_touch_of_what_everybody_may_write_counts() -> None:
    """O_TMPFILE leaves `/tmp` as it was: the layer shows it like a chmod that changes nothing."""
    assert paths(make_plan(write_set(write("/tmp", Change.METADATA, DIRECTORY, mode=0o1777, uid=0, gid=0)))) == ["/tmp"]


def test_what_learning_missed_gets_a_place() -> None:
    """A directory of the image stands for its names; a path that the image lacks for itself."""
    wishes = PlanSettings(widened={P("/var/tmp"): "x", P("/srv/new"): "x", P("/srv/y/a.txt"): "x"})
    plan = make_plan(write_set(), wishes)
    assert paths(plan) == ["/srv/new", "/srv/y", "/var/tmp"]
    assert "a run that failed without it" in plan.mounts[0].reasons[0]


def test_widening_never_opens_what_is_forbidden() -> None:
    """Not even a run that failed makes `/usr`, the program or the users' file writable."""
    wishes = PlanSettings(widened={P("/usr/x.txt"): "x", P("/app/y.txt"): "x", P("/etc/passwd"): "x"})
    plan = make_plan(write_set(facts=APP), wishes)
    assert not plan.mounts
    assert len(plan.refusals) == 3


# Dropped


def test_a_dropped_place_is_tolerated_and_nothing_else_goes_with_it() -> None:
    """What the place served stays read-only, proved; a place of its own below it stays."""
    writes = write_set(
        came_and_went("/srv/x", "t.pid"),
        write("/srv/x/data/s.db", content="sqlite"),
        facts=image({"/srv/x": directory(dirs=1), "/srv/x/data": directory()}),
    )
    assert paths(make_plan(writes)) == ["/srv/x", "/srv/x/data"]
    plan = make_plan(writes, PlanSettings(dropped=frozenset({P("/srv/x")})))
    assert paths(plan) == ["/srv/x/data"]
    assert [(str(t.path), t.proved) for t in plan.tolerated] == [("/srv/x", True)]


@pytest.mark.parametrize(
    ("change", "size", "lost"), [("created", 100, True), ("created", 0, False), ("opened", 9, False)]
)
def test_a_log_that_nobody_misses_is_said_to_be_lost(change: str, size: int, lost: bool) -> None:
    """A program that swallows that it can't log passes every check; an empty log is no loss."""
    facts = image({"/var/log/app": directory(), "/var/log/app/app.log": file(size=size)})
    writes = write_set(
        came_and_went("/var/log/app", "x"), write("/var/log/app/app.log", Change(change), size=size), facts=facts
    )
    plan = make_plan(writes, PlanSettings(dropped=frozenset({P("/var/log/app")})))
    assert [str(t.path) for t in plan.tolerated if "did without" in t.reason] == ["/var/log/app"]
    told = [t.reason for t in plan.tolerated if "--state /var/log/app=volume" in t.reason]
    assert bool(told) is lost


def test_state_is_not_dropped_into_an_outer_place() -> None:
    """Without its volume it would lie in memory, which is worse than read-only."""
    writes = write_set(
        came_and_went("/srv/x", "t.pid"),
        write("/srv/x/data/s.db", content="sqlite"),
        facts=image({"/srv/x": directory(dirs=1), "/srv/x/data": directory()}),
    )
    plan = make_plan(writes, PlanSettings(dropped=frozenset({P("/srv/x/data")})))
    assert paths(plan) == ["/srv/x", "/srv/x/data"]
    both = make_plan(writes, PlanSettings(dropped=frozenset({P("/srv/x"), P("/srv/x/data")})))
    assert not both.mounts


def test_one_of_several_file_mounts_can_go() -> None:
    """Each file is dropped by itself; the rest of them stay."""
    facts = image({"/app": directory(files=5), "/app/a.db": file()}, code=("/app",))
    writes = write_set(write("/app/a.db", Change.CHANGED, content="sqlite-wal", in_place=True), facts=facts)
    assert paths(make_plan(writes)) == ["/app/a.db", "/app/a.db-shm", "/app/a.db-wal"]
    plan = make_plan(writes, PlanSettings(dropped=frozenset({P("/app/a.db-shm")})))
    assert paths(plan) == ["/app/a.db", "/app/a.db-wal"]


def test_what_was_dropped_and_then_missed_comes_back() -> None:
    """A later run that fails without a place has the last word."""
    writes = write_set(came_and_went("/tmp", "x"))
    wishes = PlanSettings(dropped=frozenset({P("/tmp")}), widened={P("/tmp"): "it was needed after all"})
    assert paths(make_plan(writes, wishes)) == ["/tmp"]


def test_a_dropped_refusal_is_settled() -> None:
    """A change of code that a run did without blocks nothing."""
    writes = write_set(write("/app/x.so", content="elf"), facts=APP)
    assert make_plan(writes).refusals[0].blocking
    plan = make_plan(writes, PlanSettings(dropped=frozenset({P("/app/x.so")})))
    assert not plan.refusals
    assert plan.tolerated[0].proved


# Rejected


def test_rejected_alternatives_give_way_to_the_next() -> None:
    """A made directory, then its parent, then the refusal: each step is taken once."""
    facts = image({"/srv/x": directory(files=3)})
    writes = write_set(made("/srv/x/jobs"), facts=facts)
    wishes, tried = PlanSettings(), []
    while (plan := make_plan(writes, wishes)).mounts:
        tried += paths(plan)
        wishes = PlanSettings(rejected=wishes.rejected | set(alternatives_of(plan.mounts[0])))
    assert tried == ["/srv/x/jobs", "/srv/x"]
    assert plan.refusals[0].blocking


def test_executable_and_disk_hints() -> None:
    """A hint about a path counts for the place that holds it."""
    wishes = PlanSettings(executable=frozenset({P("/tmp/lib.so")}), on_disk=frozenset({P("/tmp")}))
    mount = make_plan(write_set(came_and_went("/tmp", "x")), wishes).mounts[0]
    assert mount.executable
    assert mount.storage is StorageKind.SCRATCH


# The user's decisions


def test_state_is_kept_until_the_user_lets_it_go_and_logs_the_other_way() -> None:
    """`--state PATH=...` holds for everything at or below the path."""
    writes = write_set(write("/srv/d/s.db", content="sqlite"), write("/var/log/x/a.log"))
    plain = {str(m.path): m.storage for m in make_plan(writes).mounts}
    assert plain == {"/srv/d": StorageKind.VOLUME, "/var/log/x": StorageKind.SCRATCH}
    decisions = {P("/srv"): StateDecision.EPHEMERAL, P("/var/log"): StateDecision.VOLUME}
    decided = make_plan(writes, PlanSettings(state_decisions=decisions))
    assert {str(m.path): m.storage for m in decided.mounts} == {
        "/srv/d": StorageKind.SCRATCH,
        "/var/log/x": StorageKind.VOLUME,
    }
    assert not decided.questions
    log = next(mount for mount in decided.mounts if mount.path == P("/var/log/x"))
    assert log.why.endswith("kept all the same: you said so, or a check looks for it later.")


def test_what_the_user_keeps_of_a_shared_directory_has_a_place_of_its_own() -> None:
    """Scratch beside it stays on what ends with the container: a stale file on a volume can stop the next start."""
    store = (write("/tmp/store", kind=DIRECTORY, uid=100, gid=100, mode=0o750), write("/tmp/store/log.1"))
    writes = write_set(*store, came_and_went("/tmp", "hsperf"))
    (shared,) = make_plan(writes).mounts
    assert (str(shared.path), shared.storage) == ("/tmp", StorageKind.MEMORY)
    decided = make_plan(writes, PlanSettings(state_decisions={P("/tmp/store"): StateDecision.VOLUME}))
    assert [(str(m.path), m.storage) for m in decided.mounts] == [
        ("/tmp", StorageKind.MEMORY),
        ("/tmp/store", StorageKind.VOLUME),
    ]
    own = decided.mounts[1]
    assert (own.uid, own.gid, own.mode) == (100, 100, 0o750)


def test_questions_are_asked_where_only_the_user_knows() -> None:
    """Logs that end with the container, and what nothing speaks for."""
    plan = make_plan(write_set(write("/var/log/x/a.log"), write("/home/u/thing"), came_and_went("/var/lib/z")))
    assert [question.option for question in plan.questions] == [
        "--state /home/u=ephemeral",
        "--state /var/lib/z=volume",
        "--state /var/log/x=volume",
    ]


def test_a_volume_from_which_code_runs_is_asked_about() -> None:
    """What an intruder puts there outlives the container; where only a path speaks for it, we ask."""
    compiled = write("/var/lib/x/rules.so", content="elf", executed=True)
    (question,) = make_plan(write_set(compiled)).questions
    assert "code runs from there" in question.text
    assert question.option == "--state /var/lib/x=ephemeral"
    assert not make_plan(write_set(write("/var/lib/x/rules"))).questions


# Refusals


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (write("/etc/passwd", Change.REPLACED), "--user"),
        (write("/etc/hosts", Change.CHANGED), "--add-host"),
        (write("/app/lib/x.so", content="elf"), "when the image is built"),
        (write("/etc/app.conf", Change.REPLACED, content="text"), "COPY app.conf /etc/"),
        (write("/etc/app.conf", Change.REPLACED, content="text"), "--bake DIR"),
        (write("/app/celerybeat-schedule", content="data"), "--schedule="),
        (write("/app/job.log"), "/dev/stdout"),
        (write("/usr/bin/tool", Change.OPENED, content="elf"), "leave out of the start what opens or chowns tool"),
        (write("/app/notes", content="data"), "by an option of the program"),
        (write("/app/README", Change.DELETED), "RUN rm -r /app/README"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_refusal_says_what_to_do(seen: object, words: str) -> None:
    """Bake it, move it, or start the program elsewhere."""
    plan = make_plan(write_set(seen, facts=APP))  # type: ignore[arg-type]
    assert not plan.mounts
    assert words in plan.refusals[0].remedy


def test_removing_what_the_image_has_blocks_nothing() -> None:
    """A removed image entry alone is no reason to make its directory writable; beside other needs it costs nothing."""
    facts = image({"/srv/x": directory(files=2), "/srv/x/a": file()})
    alone = make_plan(write_set(write("/srv/x/a", Change.DELETED), facts=facts))
    assert not alone.mounts
    assert not alone.refusals[0].blocking
    together = make_plan(write_set(write("/srv/x/a", Change.DELETED), write("/srv/x/b"), facts=facts))
    assert paths(together) == ["/srv/x"]
    assert not together.refusals


def test_the_working_directory_is_named_in_the_remedy() -> None:
    """A name made in the working directory is often a relative one."""
    facts = image({"/app": directory(files=5)}, code=("/app",), working_directory=P("/app"))
    plan = make_plan(write_set(write("/app/notes", content="data"), facts=facts))
    assert "workingDir" in plan.refusals[0].remedy


def test_who_changes_directory_by_himself_is_not_helped_by_another_start() -> None:
    """An option of the program's leads there, whatever directory it is started in."""
    facts = image({"/app": directory(files=5)}, code=("/app",), working_directory=P("/"))
    there = Process(program="/usr/bin/uwsgi", working_directory=P("/app"))
    plan = make_plan(write_set(write("/app/notes", content="data"), facts=facts, processes=(there,)))
    assert "workingDir" not in plan.refusals[0].remedy
    assert "makes it leave /," in plan.refusals[0].remedy


def test_the_user_may_know_executables_for_data() -> None:
    """A repository with sample hooks: refused with that way out, and kept where nothing runs once it is taken."""
    facts = image({"/srv/git/demo.git": directory(files=17, dirs=9, exe=13, uid=33)})
    writes = write_set(came_and_went("/srv/git/demo.git", "HEAD.lock"), facts=facts)
    refused = make_plan(writes)
    assert not refused.mounts
    assert "--state /srv/git/demo.git=volume" in refused.refusals[0].remedy
    told = make_plan(writes, PlanSettings(state_decisions={P("/srv/git"): StateDecision.VOLUME}))
    assert not told.refusals
    assert [(str(m.path), m.storage, m.executable) for m in told.mounts] == [
        ("/srv/git/demo.git", StorageKind.VOLUME, False)
    ]
    let_go = make_plan(writes, PlanSettings(state_decisions={P("/srv/git"): StateDecision.EPHEMERAL}))
    assert let_go.refusals


def test_what_changes_its_programs_is_not_called_data() -> None:
    """Hooks that the program itself rewrites are to be run, and a volume on which nothing runs is no way out."""
    facts = image({"/srv/hooks": directory(files=1, exe=1), "/srv/hooks/update": file(mode=0o755, exe=1)})
    seen = (came_and_went("/srv/hooks", "update.1"), write("/srv/hooks/update", Change.REPLACED, content="script"))
    plan = make_plan(write_set(*seen, facts=facts))
    assert plan.refusals[0].path_class is PathClass.CODE
    assert not any("--state" in refusal.remedy for refusal in plan.refusals)


def test_no_word_of_the_users_makes_the_program_writable() -> None:
    """Data is one thing, the directory that the program is started from another."""
    facts = image({"/app": directory(files=5, exe=5)}, code=("/app",))
    decisions = {P("/app"): StateDecision.VOLUME}
    plan = make_plan(write_set(write("/app/notes"), facts=facts), PlanSettings(state_decisions=decisions))
    assert not plan.mounts
    assert "--state" not in plan.refusals[0].remedy


def test_code_that_a_start_makes_belongs_into_the_image() -> None:
    """Neither a place for it nor one around it, though it lies where data does."""
    facts = image(
        {"/srv/app": directory(files=3, dirs=2, uid=9)}, code=("/srv/app/dist",), working_directory=P("/srv/app")
    )
    plan = make_plan(write_set(made("/srv/app/dist", names=("main.js",)), write("/srv/app/data/x"), facts=facts))
    assert paths(plan) == ["/srv/app/data"]
    assert [(str(r.path), r.path_class, r.blocking) for r in plan.refusals] == [("/srv/app/dist", PathClass.CODE, True)]
    assert "when the image is built" in plan.refusals[0].remedy


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("_build", "beam", True),
        ("lib", "elf", True),
        ("_build", "data", False),
        ("cache", "elf", False),
        (".cache", "elf", False),
    ],
)
def test_a_directory_of_code_is_judged_as_its_files_would_be(name: str, content: str, code: bool) -> None:
    """What was compiled beside the program, and lies folded into the directory that was made for it."""
    facts = image({"/srv/app": directory(files=3, uid=9)}, code=("/srv/app",))
    plan = make_plan(write_set(made(f"/srv/app/{name}", content=content, size=9), facts=facts))
    assert [r.path_class for r in plan.refusals] == [PathClass.CODE] * code
    assert paths(plan) == [f"/srv/app/{name}"] * (not code)


# What it does not know


def test_unexercised_and_confidence() -> None:
    """What the image hints at and nobody saw; the weaker the evidence, the lower the confidence."""
    facts = image({"/srv/idle": directory(uid=5)}, uid=5, volumes=(P("/store"),), exposed=("80/tcp",))
    seen = write("/run/a.pid")
    weak = make_plan(write_set(seen, facts=facts, observation=Observation(seconds=1, from_start=False)))
    words = " ".join(weak.unexercised)
    for hint in ("80/tcp", "no restart", "ran already", "/store is declared", "/srv/idle may be written"):
        assert hint in words
    strong = make_plan(write_set(write("/run/a.pid", evidence=(Source.LAYER, Source.LIVE)), facts=facts))
    assert strong.confidence > weak.confidence
    hearsay = make_plan(write_set(write("/run/a.pid", evidence=(Source.LOG,)), facts=facts))
    assert hearsay.confidence < 0.5


def test_what_a_worker_may_write_counts_as_well_as_what_its_master_may() -> None:
    """A program that starts as root and gives that up writes where its second user may."""
    facts = image({"/srv/uploads": directory(uid=33), "/srv/others": directory(uid=34)})
    worker = Process(program="/usr/sbin/app", uid=33)
    plan = make_plan(write_set(write("/run/a.pid"), facts=facts, processes=(worker,)))
    assert [text for text in plan.unexercised if text.startswith("/srv")] == [
        "/srv/uploads may be written by its user and was not"
    ]


def test_classes_of_a_place_are_told() -> None:
    """A place says everything it is for."""
    plan = make_plan(write_set(write("/srv/d/s.db", content="sqlite"), write("/srv/d/s.pid")))
    assert plan.mounts[0].classes == (PathClass.RUNTIME, PathClass.STATE)
    assert "outlive the container" in " ".join(plan.mounts[0].reasons)

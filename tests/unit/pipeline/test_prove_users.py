"""Who a place is tried as, which may be taken away, and what a replacement has to answer."""

from pathlib import PurePosixPath

import pytest
from tests.unit.plan.facts import came_and_went, directory, image, made, write, write_set

from lithify.model.behaviour import Answer, Behaviour, Phase
from lithify.model.mount import Mount, MountPlan, PathClass, StorageKind
from lithify.model.writes import Change, Write, Writer
from lithify.pipeline.prove import droppable, expected, users_of


def test_a_place_is_tried_as_who_made_its_files() -> None:
    """A daemon that gave up root after it opened its lock is not asked to open it again."""
    seen = write_set(
        write("/opt/x/x.lock", uid=0, gid=0, by="p:33"),
        write("/opt/x/data/f", uid=33, gid=33, by="p:33"),
        write("/opt/x/data/given-away", uid=7, gid=7, writers=(Writer(program="p"),)),  # by nobody knows whom
    )
    mounts = tuple(
        Mount(path=PurePosixPath(path), storage=StorageKind.MEMORY) for path in ("/opt/x/x.lock", "/opt/x/data")
    )
    users = users_of(MountPlan(key=seen.key, container="c", mounts=mounts), seen)
    assert users == {PurePosixPath("/opt/x/x.lock"): [(0, 0)], PurePosixPath("/opt/x/data"): [(33, 33)]}


@pytest.mark.parametrize(
    ("mode", "gid", "users"),
    [
        (0o755, 0, [(0, 0)]),  # its user can make nothing there: root did, and gave it away
        (0o2777, 0, [(33, 33)]),  # what is made there is of the directory's group
        (0o777, 0, [(33, 33)]),  # so it is on some filesystems (grpid)
        (0o2775, 0, [(33, 33)]),  # by a supplementary group
        (0o755, 33, [(33, 33)]),
    ],
)
@pytest.mark.parametrize("of_the_image", [True, False])
def test_a_group_tells_of_root_only_where_the_directory_gave_none(
    mode: int, gid: int, users: list[tuple[int, int]], of_the_image: bool
) -> None:
    """Who is taken for root by mistake is never tried, and the place may be closed to it unnoticed."""
    there = directory(mode=mode, uid=0, gid=0)
    seen = write_set(
        *(() if of_the_image else (made("/var/cache/app", mode=mode, uid=0, gid=0),)),
        write("/var/cache/app/f", uid=33, gid=gid, by="p:33"),
        facts=image({"/var/cache/app": there} if of_the_image else {}),
    )
    place = Mount(path=PurePosixPath("/var/cache/app"), storage=StorageKind.MEMORY)
    assert users_of(MountPlan(key=seen.key, container="c", mounts=(place,)), seen) == {place.path: users}


@pytest.mark.parametrize(
    ("seen", "users"),
    [
        (write("/var/log/app.log", Change.CHANGED, uid=33, gid=33, by="p:33"), []),
        (write("/var/log/app.log", Change.OPENED, uid=33, gid=33, by="p:33"), []),
        (write("/var/log/app/today", uid=33, gid=33, by="p:33"), []),  # in a directory of its own there
        (write("/var/log/new.log", uid=33, gid=33, by="p:33"), [(33, 33)]),
        (came_and_went("/var/log", "x", by="p:33"), [(33, 33)]),
        (made("/var/log", uid=33, gid=33, by="p:33"), [(33, 33)]),
    ],
)
def test_who_makes_no_names_in_a_place_is_not_tried_there(seen: Write, users: list[tuple[int, int]]) -> None:
    """A user whose log the image made for it in root's directory is let write that log, and nothing beside it."""
    place = Mount(path=PurePosixPath("/var/log"), storage=StorageKind.SCRATCH)
    found = users_of(MountPlan(key=write_set().key, container="c", mounts=(place,)), write_set(seen))
    assert found.get(place.path, []) == users


@pytest.mark.parametrize(
    ("storage", "classes", "spare"),
    [
        (StorageKind.VOLUME, (PathClass.LOG,), False),  # only the user's word keeps a log
        (StorageKind.VOLUME, (PathClass.STATE,), False),
        (StorageKind.SCRATCH, (PathClass.LOG,), True),
        (StorageKind.VOLUME, (), True),  # of somebody else's plan, for `prove` to judge
    ],
)
def test_what_the_user_wants_kept_is_not_taken_away(
    storage: StorageKind, classes: tuple[PathClass, ...], spare: bool
) -> None:
    """A program that swallows that it can't log is no reason to overrule `--state /var/log/app=volume`."""
    mount = Mount(path=PurePosixPath("/var/log/app"), storage=storage, classes=classes)
    seen = write_set(write("/var/log/app/app.log"))
    plan = MountPlan(key=seen.key, container="c", mounts=(mount,))
    assert bool(droppable(plan, seen, decided=True)) is spare


def _answers(*phases: Phase) -> tuple[Answer, ...]:
    return tuple(Answer(name="check", phase=phase, passed=True) for phase in phases)


@pytest.mark.parametrize("restarted", [(Phase.RESTARTED,), ()])
def test_a_replacement_answers_what_was_answered_last(restarted: tuple[Phase, ...]) -> None:
    """Also for a program that a stale pid file stops as it is: its data must be there in the next container."""
    asked = (
        *_answers(Phase.STARTED),
        Answer(name="exercise", phase=Phase.EXERCISED, passed=True),
        *_answers(Phase.EXERCISED),
        Answer(name="answer tcp/80", phase=Phase.EXERCISED, passed=True),
        *_answers(*restarted),
    )
    original = Behaviour(started=True, running=True, answers=asked)
    assert expected(original, recreate=False) == original
    assert expected(original, recreate=True).answers == asked + _answers(Phase.RECREATED)

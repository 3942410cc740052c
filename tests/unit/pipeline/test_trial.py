"""What ends a trial, and what of a run's log counts against it."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.plan.facts import P, directory, file, image, write, write_set

from lithify.engines.base import Root
from lithify.errors import EngineRefused, was_interrupted
from lithify.model.behaviour import Behaviour
from lithify.model.run import Exercise, Target, TargetKind
from lithify.model.writes import Change, Source, Write
from lithify.observe.erofs import read_log
from lithify.observe.warnings import warning_lines
from lithify.pipeline.trial import Life, Trials, failed_before, has_no_effect

FACTS = image({"/opt/x": directory(files=1), "/opt/x/tool": file(mode=0o755)})
LINE = b"chown: changing ownership of '/opt/x/tool': Read-only file system"


class _Container:
    """One that can't be removed again when its start is interrupted."""

    name = "stubborn"
    cannot_show = ()
    removed = False

    def __init__(self, interrupted: bool) -> None:
        self.interrupted = interrupted

    def create(self, *_: object, **__: object) -> "_Container":
        return self

    def start(self) -> None:
        try:
            if self.interrupted:
                raise KeyboardInterrupt
        finally:
            raise EngineRefused("it stays")

    def logs(self, limit: int) -> bytes:
        return b""[:limit]

    def remove(self) -> None:
        self.removed = True


@pytest.mark.parametrize("interrupted", [True, False])
def test_an_interrupt_is_no_refusal(interrupted: bool) -> None:
    engine: Any = _Container(interrupted)
    target = Target(kind=TargetKind.IMAGE, engine="none", reference="none")
    trials = Trials(engine=engine, target=target, exercise=Exercise())
    if interrupted:
        with pytest.raises(EngineRefused, match="it stays") as raised:
            trials.run(Life(root=Root.WRITABLE))
        assert was_interrupted(raised.value)
    else:
        assert trials.run(Life(root=Root.WRITABLE)).behaviour.engine_error == "it stays"
    assert engine.removed


@pytest.mark.parametrize(
    ("line", "writes", "expected"),
    [
        (LINE, [], True),
        (LINE, [write("/opt/x/tool", Change.OPENED, uid=0, gid=0, mode=0o755)], True),
        (LINE, [write("/opt/x/tool", Change.METADATA, uid=7, gid=0, mode=0o755)], False),
        (LINE, [write("/opt/x/tool", Change.REPLACED, uid=0, gid=0, mode=0o755)], False),
        (b"chown: changing ownership of '/opt/x/other': Read-only file system", [], False),  # not the image's
        (b"chown: changing ownership of '/opt/x/tool': Permission denied", [], False),
        (b"sh: 1: cannot create /opt/x/tool: Read-only file system", [], False),
    ],
)
def test_what_would_have_changed_nothing_is_no_loss(line: bytes, writes: list[Write], expected: bool) -> None:
    """A start script that makes root the owner of what is root's fails on a read-only root, and nothing is missing."""
    (event,) = read_log([line])
    assert event.path is not None
    assert event.path.is_relative_to(P("/opt/x"))
    learnt = write_set(*writes, facts=FACTS)
    seen = replace(learnt, observation=replace(learnt.observation, sources=(Source.LAYER,)))
    assert has_no_effect(event, seen) is expected
    assert not has_no_effect(event, replace(learnt, observation=replace(learnt.observation, sources=(Source.DIFF,))))


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        (b"Couldn't bind socket: Permission denied", b"Couldn't bind socket: Read-only file system", True),
        (b"[7] Error: EACCES: permission denied, bind", b"[9] Error: EROFS: read-only file system, bind", True),
        (b"[Errno 13] Permission denied", b"[Errno 30] Read-only file system", True),
        (b"Couldn't open log: Permission denied", b"Couldn't bind socket: Read-only file system", False),
        (b"Couldn't bind socket, failed: no such file", b"Couldn't bind socket: Read-only file system", False),
        (b"", b"Couldn't bind socket: Read-only file system", False),
    ],
)
def test_what_failed_for_want_of_a_right_fails_no_plan(before: bytes, now: bytes, same: bool) -> None:
    """It is the same failure under another name, since a read-only filesystem is told of first."""
    [event] = read_log([now])
    assert failed_before(event, Behaviour(started=True, running=True, warnings=warning_lines(before))) is same
    assert not failed_before(event, None)

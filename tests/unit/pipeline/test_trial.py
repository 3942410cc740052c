"""An interrupt ends a trial, also where what it met on its way out looks like an engine's refusal."""

from typing import Any

import pytest

from lithify.engines.base import Root
from lithify.errors import EngineRefused, was_interrupted
from lithify.model.run import Exercise, Target, TargetKind
from lithify.pipeline.trial import Life, Trials


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

"""How a program behaved in one run, in terms that can be held against another run."""

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Where in its life a run is; checks find it in `LITHIFY_PHASE`."""

    STARTED = "started"
    EXERCISED = "exercised"
    RESTARTED = "restarted"
    """Killed, and started again in place."""
    RECREATED = "recreated"
    """A new container with the volumes of the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one check said."""

    name: str
    """`check`, `check-inside`, `http`, `tcp`, `exercise`, or `answer tcp/80` for what lithify asked by itself."""
    phase: Phase
    passed: bool
    detail: str = ""
    command: tuple[str, ...] = ()
    """What repeats it by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """One run: whether it came up, what it listened on, what it answered, what it complained about."""

    started: bool
    """The engine could start it."""
    running: bool
    """It was running at the end, before lithify stopped it."""
    exit_code: int | None = None
    """How it ended by itself; None while it ran."""
    ready_after: float = 0.0
    """Seconds from start to ready."""
    listeners: frozenset[str] = frozenset()
    """`tcp/80`, `unix//run/x.sock`."""
    programs: frozenset[str] = frozenset()
    """Binaries of the processes it kept running."""
    answers: tuple[Answer, ...] = ()
    warnings: frozenset[str] = frozenset()
    """Log lines of level WARN or worse, numbers and times taken out."""
    refused_writes: tuple[str, ...] = ()
    """Log lines that tell of a write refused by a read-only filesystem, rights or space, as they stood.

    What the original was refused as well, for whatever reason, is left out of the runs that are held against it.
    """
    refused_places: frozenset[str] = frozenset()
    """What was refused: paths, or the line with its numbers taken out where it names none."""
    engine_error: str = ""
    """The engine's words where it could not start it."""

    @property
    def finished(self) -> bool:
        """True for a program that does its work and ends well."""
        return self.started and not self.running and self.exit_code == 0

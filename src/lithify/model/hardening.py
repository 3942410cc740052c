"""The result of `lithify harden`: every stage's answer, and how they led to each other."""

from dataclasses import dataclass, field

from lithify.model.bake import Baked
from lithify.model.behaviour import Behaviour
from lithify.model.mount import MountPlan
from lithify.model.run import TargetKind
from lithify.model.verdict import Verdict
from lithify.model.writes import WriteSet

SCHEMA = "lithify.dev/hardening/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One planned run, and what was changed because of it."""

    number: int
    works: bool
    found: tuple[str, ...] = ()
    """What the run showed that learning had missed, in sentences."""
    changed: tuple[str, ...] = ()
    """What the next plan does about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardening:
    """From a program with a writable root to one that runs without, with the proof."""

    target: str
    kind: TargetKind | None = None
    """What that is; None in documents of earlier versions."""
    engine: str
    write_set: WriteSet
    plan: MountPlan
    command: tuple[str, ...]
    """What starts it read-only as planned, as an argument list; nothing where no single command does."""
    setup: tuple[tuple[str, ...], ...] = ()
    """Commands that have to succeed once before `command`."""
    command_notes: tuple[str, ...] = ()
    verdict: Verdict
    original: Behaviour
    flag_alone: Behaviour
    """The same with the flag set and nothing else."""
    flag_alone_works: bool
    rounds: tuple[Round, ...] = ()
    baked: Baked | None = None
    """What the image has to be given first; None where it is run as it is."""
    kept: tuple[str, ...] = ()
    """Containers that were left for a look."""
    schema: str = field(default=SCHEMA)

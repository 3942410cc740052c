"""What the user decided, and what earlier runs of a plan showed: all that shapes a plan besides the write set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath


class StateDecision(StrEnum):
    """What the user wants to become of what is written at a path."""

    VOLUME = "volume"
    """Keep it: on a named volume."""
    EPHEMERAL = "ephemeral"
    """It may go with the container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who a place belongs to."""

    uid: int
    gid: int
    mode: int | None = None
    """Permission bits; None keeps what the plan would choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """The user's decisions and the hints of proof rounds. A hint never makes a forbidden place writable."""

    state_decisions: Mapping[PurePosixPath, StateDecision] = field(default_factory=dict)
    """For everything at or below a path; the deepest one counts."""
    size_factor: float = 2.0
    """What was seen at most, times this, is what a place gets."""
    memory_budget: int | None = None
    """Bytes that all memory-backed places may have together; None takes a share of the container's limit."""
    volume_prefix: str = ""
    """What the names of volumes begin with; nothing takes the container's name."""
    dropped: frozenset[PurePosixPath] = frozenset()
    """Places that a run did without: what they served stays read-only."""
    widened: Mapping[PurePosixPath, str] = field(default_factory=dict)
    """Paths whose write must succeed, as a failed run confirmed, with the reason in words: a path of the write set that
    the plan let be, or one that learning missed. A directory of the image stands for names made in it; a path that the
    image lacks stands for itself, made in its parent. Add a Write of change ATTEMPTED and known type to the write set
    to say whether it is a file or a directory."""
    executable: frozenset[PurePosixPath] = frozenset()
    """Paths from which code must run; the place that holds one becomes executable."""
    needs_seed: frozenset[PurePosixPath] = frozenset()
    """Paths of the image that the program missed below a place: its content is put back there."""
    no_seed: frozenset[PurePosixPath] = frozenset()
    """Places whose image content a run did without: only the directories are put back."""
    larger: Mapping[PurePosixPath, int] = field(default_factory=dict)
    """Bytes that the place which holds a path must have at least."""
    owners: Mapping[PurePosixPath, Owner] = field(default_factory=dict)
    """Owner of the place at a path."""
    on_disk: frozenset[PurePosixPath] = frozenset()
    """Places that must not be in memory."""
    rejected: frozenset[str] = frozenset()
    """Alternatives that a run showed not to work, as `lithify.plan.alternatives_of` names them."""

    def decision(self, path: PurePosixPath) -> StateDecision | None:
        """Return the user's decision that holds for `path`; None where there is none."""
        holding = [place for place in self.state_decisions if path.is_relative_to(place)]
        return self.state_decisions[max(holding, key=lambda place: len(place.parts))] if holding else None

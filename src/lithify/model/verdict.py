"""What a proof decided, check by check, with its evidence."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

SCHEMA = "lithify.dev/verdict/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question that was put to a run, and its answer."""

    name: str
    """Stable kebab-case name: `starts`, `user-check`, `root-refuses`, `restart-in-place`, ..."""
    passed: bool
    """Nothing speaks against it; so too where nothing was tried."""
    summary: str
    evidence: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    """What repeats it, as an argument list; nothing where no single command does."""
    tried: bool = True
    """False where the question was not put to any run, for the reason in `summary`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One container start that the proof needed."""

    purpose: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """A path that stays writable, with whether code can be run from it."""

    path: PurePosixPath
    executable: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the program works as planned, the rest is refused, and no place is too much."""

    works: tuple[Check, ...] = ()
    refused: tuple[Check, ...] = ()
    minimal: tuple[Check, ...] = ()
    honest: tuple[Check, ...] = ()
    """That the same checks fail where they must: an over-tight plan."""
    exposed: tuple[Exposed, ...] = ()
    """Everything that stays writable, planned or not."""
    strength: str = ""
    """How much the check says, in words: how weak a proof without a user's check is."""
    cannot_show: tuple[str, ...] = ()
    starts: tuple[Start, ...] = ()
    rounds: int = 1
    schema: str = field(default=SCHEMA)

    @property
    def checks(self) -> tuple[Check, ...]:
        """All checks, in the order they are shown."""
        return self.works + self.refused + self.minimal + self.honest

    @property
    def proved(self) -> bool:
        """True where something was checked on both sides and nothing failed."""
        return bool(self.works and self.refused) and all(check.passed for check in self.checks)

"""What a log line says about a write that failed, and what an explanation makes of many of them.

A log is the workload's own words: an event may propose a path for a person to look at; by itself
it never widens a plan.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

SCHEMA = "lithify.dev/explanation/v1"


class LogError(StrEnum):
    """Which failure a line reports."""

    EROFS = "EROFS"
    EACCES = "EACCES"
    EPERM = "EPERM"
    ENOENT = "ENOENT"
    EBUSY = "EBUSY"
    EXDEV = "EXDEV"
    ENOSPC = "ENOSPC"
    NOEXEC = "NOEXEC"
    """Code could not be run or mapped from where it lies."""
    DISGUISE = "disguise"
    """The line names no such error; it is known to follow from a read-only root or a bad mount."""


class Operation(StrEnum):
    """What the program tried to do."""

    CREATE = "create"
    """Make a file, or open one for writing."""
    MKDIR = "mkdir"
    RENAME = "rename"
    UNLINK = "unlink"
    LINK = "link"
    CHMOD = "chmod"
    CHOWN = "chown"
    TIMES = "times"
    BIND = "bind"
    """Listen on a socket that is a file."""
    MOUNT = "mount"
    EXECUTE = "execute"
    UNKNOWN = "unknown"


class Ground(StrEnum):
    """What a path lies on, by the container's mount table."""

    ROOT = "root"
    READ_ONLY_MOUNT = "read-only-mount"
    """A `:ro` bind mount, ConfigMap, Secret or projected volume: read-only on purpose, apart from the root."""
    WRITABLE_MOUNT = "writable-mount"
    """A volume or tmpfs that should take writes: EROFS there means that the storage failed."""
    UNKNOWN = "unknown"
    """No mount table was given, or the line names no path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvent:
    """One failed write that a log line reports."""

    error: LogError
    line: int
    """Number of the line, from 1."""
    raw: str
    """The line itself: printable, cut at a bounded length."""
    operation: Operation = Operation.UNKNOWN
    path: PurePosixPath | None = None
    """Absolute; None where the line names none that can be shown."""
    second: PurePosixPath | None = None
    """The other path of a rename or link: where it came from."""
    container: str = ""
    """The container's or pod's name, where the log's own envelope tells it."""
    program: str = ""
    """What printed the line, where that can be told: `nginx`, `sed`, `docker-entrypoint.sh`, `java`."""
    time: str = ""
    """The time in the line's envelope, as it stands there."""
    confidence: float = 0.0
    """That `path` is the path: 0.9 quoted and absolute, 0.6 unquoted or folded, 0.4 relative, 0.3 disguise, 0 none."""
    relative: bool = False
    """The line named a relative path, which was resolved against a working directory that may be another."""
    folded: bool = False
    """The name is a temporary one: what must be writable is `place`, and names must come and go in it."""
    renames: bool = False
    """A temporary sibling is renamed over its target: a mount of the single file won't do."""
    deeper: bool = False
    """Only the first missing directory is named; what the program needs may lie below it."""
    refused: str = ""
    """Why `path` may not even be proposed as a place; empty where it may."""
    ground: Ground = Ground.UNKNOWN
    cause: str = ""
    """What happened, in a sentence."""
    remedy: str = ""
    """What to do, in a sentence or two."""
    count: int = 1

    @property
    def place(self) -> PurePosixPath | None:
        """The path; for a temporary name the directory that must let names come and go."""
        return self.path.parent if self.folded and self.path is not None else self.path

    @property
    def usable(self) -> bool:
        """Whether the path may be proposed, for a person to confirm or a run to prove."""
        return self.path is not None and not self.refused


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCause:
    """Events that say the same: one container, place, operation and error."""

    first: LogEvent
    """The earliest; later ones are often consequences of others. Its path is the best that any of them names."""
    place: PurePosixPath | None
    """What would have to be writable; None where no line says."""
    count: int
    last_line: int
    """Number of the latest line that says so."""
    names: tuple[str, ...] = ()
    """Some of the temporary names that were folded into the place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a log says about writes that failed."""

    causes: tuple[LogCause, ...]
    """What was named with an error of the kernel comes first, mere hints last; in each the earliest line first."""
    lines: int
    """Lines read."""
    source: str = ""
    """What was read: a file's or container's name."""
    events: int = 0
    """Lines that say something, blocks that belong to one event counted once."""
    omitted: int = 0
    """Those of the events whose place is not listed, because the log names too many."""
    schema: str = field(default=SCHEMA)

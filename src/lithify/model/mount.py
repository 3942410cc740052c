"""A mount plan: the places a container may write once its root filesystem is read-only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

from lithify.model.image import EntryType
from lithify.model.writes import RunKey

SCHEMA = "lithify.dev/mount-plan/v1"


class PathClass(StrEnum):
    """What a written path is for, which decides how long it must live."""

    SCRATCH = "scratch"
    RUNTIME = "runtime"
    """Pid files, sockets, locks: must not survive the container."""
    CACHE = "cache"
    LOG = "log"
    STATE = "state"
    """Databases, uploads, keys, queues: must survive the container."""
    CONFIG = "config"
    """Rewritten by the entrypoint at every start."""
    CODE = "code"
    """The program's own binaries, libraries and plugins."""
    IDENTITY = "identity"
    """/etc/passwd, hosts, resolv.conf and their like."""


class StorageKind(StrEnum):
    """What lies under a mount, by how long it lives."""

    MEMORY = "memory"
    """A tmpfs: gone when the container stops, counted against its memory."""
    SCRATCH = "scratch"
    """Disk that goes with the container: an anonymous volume, an emptyDir."""
    VOLUME = "volume"
    """Disk that stays: a named volume, a claim."""


class Seed(StrEnum):
    """How image content below a mount comes back."""

    NONE = "none"
    SKELETON = "skeleton"
    """Directories with owner and mode, no files."""
    CONTENT = "content"
    """Everything the image has there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """Writable storage at one path of a container whose root filesystem is read-only."""

    path: PurePosixPath
    storage: StorageKind
    type: EntryType = EntryType.DIRECTORY
    """FILE for a single-file mount, which serves only writers that write in place."""
    classes: tuple[PathClass, ...] = ()
    size: int | None = None
    """Limit in bytes; None leaves it to the engine or node."""
    inodes: int | None = None
    uid: int = 0
    gid: int = 0
    mode: int = 0o755
    executable: bool = False
    seed: Seed = Seed.NONE
    name: str = ""
    """What the volume is called; of memory and scratch, where an engine makes a volume for it; empty leaves it open."""
    reasons: tuple[str, ...] = ()
    """Why it is there and why as it is, in sentences."""
    confidence: float = 1.0
    writable_entries: int = 0
    """Image entries that become writable here."""
    hidden_entries: int = 0
    """Image entries that this hides for good, the seed taken off."""
    seed_bytes: int = 0

    @property
    def why(self) -> str:
        """The reasons that say most: what it is for, else who wrote there, and no detail of storage."""
        return next((reason for reason in self.reasons if reason.startswith("It is for")), " ".join(self.reasons[:1]))

    @property
    def may_be_emptied(self) -> bool:
        """Tell whether all in it may go at each start: files that no start expects, and no state beside them."""
        kept = self.storage is StorageKind.VOLUME or PathClass.STATE in self.classes
        return PathClass.RUNTIME in self.classes and not kept and self.seed is not Seed.CONTENT

    def covers(self, path: PurePosixPath) -> bool:
        """Tell whether a write to `path` lands in this mount."""
        return path == self.path or (self.type is not EntryType.FILE and path.is_relative_to(self.path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """What moves a write into a planned mount: a variable, an argument, further arguments, or the working directory."""

    old: PurePosixPath
    new: PurePosixPath
    variable: str | None = None
    """The environment variable to set to `value`; None where something else moves it."""
    value: str = ""
    argument: tuple[int, str] | None = None
    """Index in what starts the container, the entrypoint counted, and the new argument there."""
    appended: tuple[str, ...] = ()
    """Arguments to add at the end of the command. With none of all this, `new` becomes the working directory."""
    reason: str = ""

    @property
    def label(self) -> str:
        """Name it among the alternatives."""
        if self.variable is not None:
            return f"redirect by {self.variable}"
        if self.argument is not None:
            return f"redirect by argument {self.argument[0]}"
        return f"redirect by {self.appended[0].partition('=')[0]}" if self.appended else "redirect by where it starts"

    @property
    def how(self) -> str:
        """Say what it changes."""
        if self.variable is not None:
            return f"{self.variable}={self.value}"
        if self.argument is not None:
            return f"the argument {self.argument[1]}"
        if self.appended:
            return f"the further argument {' '.join(self.appended)}"
        return f"the working directory {self.new}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerated:
    """A path that stays read-only although the program tried to write it."""

    path: PurePosixPath
    reason: str
    proved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A write that no mount should allow, with what to do instead."""

    path: PurePosixPath
    path_class: PathClass
    reason: str
    remedy: str
    blocking: bool = True
    """The program needs this write; False where it lives without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A decision that only the user can make."""

    path: PurePosixPath
    text: str
    option: str
    """The option that settles it, as it is typed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountPlan:
    """Where a container may write, and why nowhere else."""

    key: RunKey
    container: str
    mounts: tuple[Mount, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    tolerated: tuple[Tolerated, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    questions: tuple[Question, ...] = ()
    unexercised: tuple[str, ...] = ()
    """Paths or behaviour that the image hints at and the observation did not reach."""
    confidence: float = 1.0
    schema: str = field(default=SCHEMA)

    @property
    def memory_reserved(self) -> int:
        """Bytes that the memory-backed mounts may use together; mounts without a limit count as nothing."""
        return sum(m.size or 0 for m in self.mounts if m.storage is StorageKind.MEMORY)

    @property
    def appended(self) -> tuple[str, ...]:
        """The arguments that redirects add at the end of the command."""
        return tuple(word for redirect in self.redirects for word in redirect.appended)

    def redirected(self, entrypoint: Sequence[str], command: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return what starts the container with the arguments that redirects change and add; a second time the same.

        Either may be missing from what is known of it, as an image's entrypoint is to a run line. ValueError where an
        argument does not stand where the plan saw it.
        """
        words, added = [*entrypoint, *command], self.appended
        if added and tuple(words[-len(added) :]) == added:
            del words[-len(added) :]
        known = self.key.command
        offset = len(words) - len(known) if known else 0
        for redirect in self.redirects:
            if redirect.argument is None:
                continue
            index, text = redirect.argument
            at = index + offset
            if not 0 <= at < len(words) or (known and words[at] not in (text, known[index])):
                raise ValueError(f"the plan changes argument {index} of a command that has {len(words)} other ones")
            words[at] = text
        words += added
        return tuple(words[: len(entrypoint)]), tuple(words[len(entrypoint) :])

    def mount_for(self, path: PurePosixPath) -> Mount | None:
        """Return the deepest mount that a write to `path` lands in."""
        covering = [mount for mount in self.mounts if mount.covers(path)]
        return max(covering, key=lambda mount: len(mount.path.parts), default=None)

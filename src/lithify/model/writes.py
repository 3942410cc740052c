"""The write set: which paths a container wrote, who wrote them, and how that is known."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Protocol

from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.path import ROOT

SCHEMA = "lithify.dev/write-set/v1"


class Change(StrEnum):
    """What happened at a path."""

    CREATED = "created"
    CHANGED = "changed"
    """The content of a file of the image was written."""
    OPENED = "opened"
    """A file of the image was opened for writing; its content stayed the same."""
    METADATA = "metadata"
    """Only mode, owner, times or extended attributes of an image entry were set."""
    DELETED = "deleted"
    REPLACED = "replaced"
    """An image entry gave way to another: a renamed file, another type, or a directory made anew (opaque)."""
    CAME_AND_WENT = "came-and-went"
    """Entries were made and removed again in this directory; what is left does not show them."""
    ATTEMPTED = "attempted"
    """A write was tried and failed."""


class WriterStyle(StrEnum):
    """How a file got its new content; a single-file mount serves only the first."""

    IN_PLACE = "in-place"
    RENAME = "rename"
    UNKNOWN = "unknown"


class Source(StrEnum):
    """Where evidence comes from; `BLIND_SPOTS` says what each can't see."""

    LAYER = "upper-layer"
    VOLUME = "volume"
    PROCESSES = "process-table"
    LIVE = "live-names"
    TRACE = "trace"
    LOG = "log"
    DIFF = "engine-diff"
    IMAGE = "image"
    PROOF = "proof"


BLIND_SPOTS: dict[Source, str] = {
    Source.LAYER: "the upper layer does not name what was removed again, nor failed writes, nor writes on mounts",
    Source.VOLUME: "volumes show what is there now, not what was removed",
    Source.PROCESSES: "the process table shows only processes that were alive when it was read",
    Source.LIVE: "live names show no failed writes, no sizes and no unnamed (O_TMPFILE) files",
    Source.TRACE: "a system-call trace slows the program and can change its timing",
    Source.LOG: "log lines are the program's own words: a hint, never proof",
    Source.DIFF: "the engine's diff leaves out directories whose entries came and went, and files opened but unchanged",
    Source.IMAGE: "the image says what is declared, not what happens",
    Source.PROOF: "a failed proof shows the first obstacle, not the ones behind it",
}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Writer:
    """A program that writes, as the user it runs as."""

    program: str
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One path that was written, with everything that is known of it."""

    path: PurePosixPath
    """The entry itself; for `CAME_AND_WENT` the directory in which it happened."""
    change: Change
    type: EntryType = EntryType.UNKNOWN
    evidence: tuple[Source, ...] = (Source.LAYER,)
    size: int = 0
    """Bytes there at the end, all that is below a directory included."""
    peak: int | None = None
    """Most bytes seen at once, where something watched."""
    entries: int = 1
    """Entries that this one stands for: itself, and what is folded below it."""
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    style: WriterStyle = WriterStyle.UNKNOWN
    executed: bool = False
    """Code was run or mapped executable from here."""
    content: str | None = None
    """What the first bytes tell of a file: `sqlite`, `elf`, `script`, `text`, ..."""
    as_before: bool = False
    """A file of the image was written or replaced, and had the same bytes, owner and mode at the end."""
    writers: tuple[Writer, ...] = ()
    names: tuple[str, ...] = ()
    """Names that came and went in a directory, or some of those folded below it, relative to it."""

    @property
    def directory(self) -> PurePosixPath:
        """The directory that must let names come and go, or that holds the file."""
        return self.path if self.change is Change.CAME_AND_WENT else self.path.parent

    @property
    def was_seen(self) -> bool:
        """Tell whether somebody was seen writing it, and as which user."""
        return any(writer.uid is not None for writer in self.writers)

    @property
    def entry(self) -> ImageEntry | None:
        """What was there at the end, as an image has it; None where that was not seen."""
        if self.mode is None or self.uid is None:
            return None
        gid = self.uid if self.gid is None else self.gid
        return ImageEntry(type=self.type, mode=self.mode & 0o7777, uid=self.uid, gid=gid)

    def makers(self, where: ImageEntry | None) -> tuple[tuple[int, int], ...]:
        """Return the (uid, gid) of who wrote it; of those who made it, where it was made, as far as that can be told.

        A process that changes its user is looked at a moment after it wrote. Whose a file is tells who made it: only
        root can give one away. So does its group, unless that came from the directory it is in, `where`.
        """
        known = tuple((w.uid, w.uid if w.gid is None else w.gid) for w in self.writers if w.uid is not None)
        if self.change not in (Change.CREATED, Change.REPLACED) or self.uid is None:
            return known
        owner = (self.uid, self.uid if self.gid is None else self.gid)
        own = tuple(ids for ids in known if ids[0] == self.uid)
        if self.gid == 0 and where is not None and self._could_not_make(where):
            return ((0, 0),)  # root did, and gave it to its user alone
        return own or (known if any(uid == 0 for uid, _ in known) else (owner,))

    def _could_not_make(self, where: ImageEntry) -> bool:
        """Tell whether its user, who is in a group of its own, was seen and is let make no names in `where`.

        A setgid directory gives its group to what is in it, and some let a group write that is not the first of a user.
        """
        own = [(w.uid, w.gid) for w in self.writers if w.uid is not None and w.uid == self.uid]
        shut_out = (gid not in (0, None) and not may_write(where, uid, gid) for uid, gid in own)
        return bool(own) and not where.mode & 0o2000 and all(shut_out)


class Owned(Protocol):
    """What has an owner, a group and a mode."""

    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def mode(self) -> int: ...


def may_write(where: Owned, uid: int, gid: int) -> bool:
    """Tell whether a process of `uid` and `gid` can make names in a directory; root can anywhere (CAP_DAC_OVERRIDE)."""
    if uid == 0:
        return True
    if uid == where.uid:
        return where.mode & 0o300 == 0o300
    if gid == where.gid:
        return where.mode & 0o030 == 0o030
    return where.mode & 0o003 == 0o003


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of the container, as the kernel showed it."""

    program: str
    """The path of its binary inside the container."""
    arguments: tuple[str, ...] = ()
    uid: int = 0
    gid: int = 0
    working_directory: PurePosixPath = field(default_factory=lambda: ROOT)
    path_variables: tuple[tuple[str, str], ...] = ()
    """Those variables of its environment whose value is an absolute path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """For how long, how and by what means the writes were observed."""

    seconds: float
    exercise: str = ""
    """What drove the program, in words; nothing where it was only started."""
    restarts: int = 0
    from_start: bool = True
    """False where lithify attached to a container that already ran."""
    asked_to_end: bool = False
    """It was asked to end before each second start, and not killed: it saves only then."""
    sources: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be seen this time, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """What a write set or plan holds for; another key makes it stale."""

    image: str
    user: str = ""
    command: tuple[str, ...] = ()
    environment: str = ""
    """A hash of the environment, so that no secret is kept."""
    engine: str = ""

    def differences(self, other: "RunKey") -> tuple[str, ...]:
        """Name the parts in which `other` is not the same."""
        parts = ("image", "user", "command", "environment", "engine")
        return tuple(part for part in parts if getattr(self, part) != getattr(other, part))


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSet:
    """Everything a container was seen to write, and what that is worth."""

    key: RunKey
    container: str
    image: ImageFacts
    writes: tuple[Write, ...]
    observation: Observation
    processes: tuple[Process, ...] = ()
    memory_limit: int | None = None
    """The container's memory limit in bytes; None where it has none."""
    mounted: tuple[PurePosixPath, ...] = ()
    """Places that the user already mounts writable: what is written there needs no plan."""
    schema: str = field(default=SCHEMA)

    def makers(self, writes: Iterable[Write]) -> set[tuple[int, int]]:
        """Return the (uid, gid) of all who made or wrote something of `writes`."""
        made = {write.path: write.entry for write in self.writes if write.type is EntryType.DIRECTORY}
        inside = ((write, write.path.parent) for write in writes)
        return {ids for write, at in inside for ids in write.makers(made.get(at) or self.image.entry(at))}

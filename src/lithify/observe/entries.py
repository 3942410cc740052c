"""A write in the making, and the small judgements on what stat says that go with it."""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from lithify.model.image import EntryType
from lithify.model.writes import Change, Source, Write, WriterStyle
from lithify.observe import content

SAMPLE = 24
"""Names that are kept of those folded into one write."""
LOOKS = 4096
"""Names that are looked at below one new directory to find telling ones."""
_TYPES = {
    stat.S_IFREG: EntryType.FILE,
    stat.S_IFDIR: EntryType.DIRECTORY,
    stat.S_IFLNK: EntryType.SYMLINK,
    stat.S_IFSOCK: EntryType.SOCKET,
    stat.S_IFIFO: EntryType.FIFO,
    stat.S_IFCHR: EntryType.DEVICE,
    stat.S_IFBLK: EntryType.DEVICE,
}
TELLING_NAME = re.compile(
    r"\.(?:db|sqlite\d?|wal|shm|ibd|mdb|ldb|rdb|aof|dets|dcd|pid|sock|lock|key|pem|crt|log|jar|war|so(?:\.\d+)*|node|py|pyc"
    r"|js|php|rb|sh|exe|class|conf|cfg|ini)$|^(?:\.?cookie|.*\.cookie|PG_VERSION|ibdata1|id_[a-z0-9]+)$",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Entry:
    """A write in the making: plain values, cheap to keep and to send between processes."""

    change: Change
    type: EntryType
    size: int = 0
    entries: int = 1
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    style: WriterStyle = WriterStyle.UNKNOWN
    content: str | None = None
    as_before: bool = False
    names: list[str] = field(default_factory=list)
    telling: int = 0
    """How many of `names`, from the first, are telling ones."""
    looks: int = LOOKS
    """Names that will still be looked at."""

    @classmethod
    def of(cls, change: Change, status: os.stat_result) -> "Entry":
        return cls(
            change=change,
            type=entry_type(status),
            size=stored_bytes(status) if stat.S_ISREG(status.st_mode) else 0,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
        )

    def add_name(self, name: str) -> None:
        """Keep `name` as one of the sample, telling names before others."""
        if TELLING_NAME.search(name):
            if self.telling < SAMPLE:
                self.names.insert(self.telling, name)
                self.telling += 1
                del self.names[SAMPLE:]
        elif len(self.names) < SAMPLE // 3:
            self.names.append(name)

    def add(self, other: "Entry") -> None:
        """Take in what another process counted of the same directory."""
        self.size += other.size
        self.entries += other.entries
        self.content = content.more_telling(self.content, other.content)
        for name in other.names:
            self.add_name(name)

    def write(self, path: str, source: Source) -> Write:
        return Write(
            path=PurePosixPath(path or "/"),
            change=self.change,
            type=self.type,
            evidence=(source,),
            size=self.size,
            entries=self.entries,
            mode=self.mode,
            uid=self.uid,
            gid=self.gid,
            style=self.style,
            content=self.content,
            as_before=self.as_before,
            names=tuple(self.names),
        )


def entry_type(status: os.stat_result) -> EntryType:
    """Return what kind of entry `status` is of."""
    return _TYPES.get(stat.S_IFMT(status.st_mode), EntryType.UNKNOWN)


def stored_bytes(status: os.stat_result) -> int:
    """Return the bytes of a file that take room: its size, or less where it has holes."""
    return min(status.st_size, status.st_blocks * 512)


def same_time(upper: int, lower: int) -> bool:
    """Tell whether two modification times (ns) are the same, as far as the upper filesystem can keep one."""
    return upper == lower or (upper % 10**9 == 0 and upper // 10**9 == lower // 10**9)


def owner_and_mode(status: os.stat_result) -> tuple[int, int, int]:
    """Return what chmod and chown set, with the type."""
    return status.st_mode, status.st_uid, status.st_gid

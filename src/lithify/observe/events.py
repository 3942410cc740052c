"""The kernel's fanotify records, taken apart.

One mark on the filesystem that holds upper layers reports every name that is made, removed or renamed on it, with the
process that did it (fanotify(7)). Changed contents are left out, as they cost the program half its speed and stand in
the upper layer anyway; changed attributes too, since overlayfs itself sets times and owners at each copy-up.
"""

import errno
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lithify.observe import kernel

CREATE, DELETE, MOVED_FROM, MOVED_TO, RENAME = 0x100, 0x200, 0x40, 0x80, 0x10000000
ON_DIRECTORY, OVERFLOW = 0x40000000, 0x4000
_CLOSE_ON_EXEC, _NON_BLOCKING, _UNLIMITED_QUEUE = 0x1, 0x2, 0x10
_REPORT_FID, _REPORT_DIR_FID, _REPORT_NAME = 0x200, 0x400, 0x800
_MARK_ADD, _MARK_FILESYSTEM = 0x1, 0x100
KINDS = (
    CREATE | DELETE | RENAME | ON_DIRECTORY,  # Linux 5.17
    CREATE | DELETE | MOVED_FROM | MOVED_TO | ON_DIRECTORY,  # Linux 5.9
)
"""What to ask the kernel for, the best first.

The entries themselves (FAN_REPORT_TARGET_FID) are not asked for: a file made again under its name would be another each
time, and its events would no longer wait as one.
"""
_IN_DIRECTORY, _OLD_NAME, _NEW_NAME = 2, 10, 12
_LENGTH = struct.Struct("=I")
_EVENT = struct.Struct("=IBBHQii")
_INFO = struct.Struct("=BBH8sIi")
_HANDLE_AT = 12
"""Where in an information record the handle begins, behind the record's head and the filesystem's id."""
_REASONS = {
    errno.EPERM: "it needs root (CAP_SYS_ADMIN in the initial user namespace)",
    errno.EACCES: "it needs root (CAP_SYS_ADMIN in the initial user namespace)",
    errno.EINVAL: "it needs Linux 5.9 or newer",
    errno.ENOSYS: "the kernel has no fanotify",
    errno.EXDEV: "a btrfs subvolume can't be watched as a filesystem",
    errno.ENODEV: "the filesystem has no id to tell it by",
    errno.EOPNOTSUPP: "the filesystem has no file handles",
    errno.ENOENT: "there is no such directory",
}


class Place(NamedTuple):
    """A name in a directory, which is known by the id of its filesystem and its handle."""

    directory: bytes
    name: bytes


class Event(NamedTuple):
    """One record. Equal ones that waited together are one, and its mask tells of all."""

    mask: int
    pid: int
    place: Place
    old: Place | None = None
    """Where a renamed entry was before."""


def reason_of(error: OSError) -> str:
    """Return why the kernel refused to watch, for a person to read."""
    return _REASONS.get(error.errno or 0, os.strerror(error.errno or 0))


def open_watch() -> int:
    """Return a fanotify descriptor; OSError where the kernel refuses."""
    names = _REPORT_FID | _REPORT_DIR_FID | _REPORT_NAME
    return kernel.fanotify_init(names | _CLOSE_ON_EXEC | _NON_BLOCKING | _UNLIMITED_QUEUE)


def mark_filesystem(descriptor: int, path: Path, kinds: Sequence[int] = KINDS) -> None:
    """Ask for the events of the whole filesystem that holds `path`, of the first of `kinds` that the kernel has.

    OSError where it refuses all of them.
    """
    for mask in kinds:
        try:
            kernel.fanotify_mark(descriptor, _MARK_ADD | _MARK_FILESYSTEM, mask, str(path))
        except OSError as error:
            if error.errno == errno.EINVAL and mask != kinds[-1]:
                continue
            raise
        return


def filesystem_id(path: Path) -> bytes:
    """Return the id by which events name the filesystem that holds `path`."""
    number = os.statvfs(path).f_fsid
    return struct.pack("=II", number & 0xFFFFFFFF, number >> 32 & 0xFFFFFFFF)


def split_key(key: bytes) -> tuple[bytes, bytes]:
    """Return the filesystem's id and the handle, as open_by_handle takes it, that a directory is known by."""
    return key[:8], key[8:]


def split_events(raw: bytes) -> Iterator[bytes]:
    """Yield the records in what was read from a fanotify descriptor, one an event; equal bytes are equal events."""
    at = 0
    while at < len(raw):
        end = at + _LENGTH.unpack_from(raw, at)[0]
        yield raw[at:end]
        at = end


def parse_event(record: bytes) -> Event | None:
    """Return what a record says; None of one without a name.

    Where the kernel sends the two halves of a rename apart, both come as they are: see `JoinRenames`.
    """
    _, _, _, info, mask, _, pid = _EVENT.unpack_from(record)
    if mask & OVERFLOW:
        return Event(mask, pid, Place(b"", b""))
    place = old = None
    while info < len(record):
        kind, _, size, _, handle_size, _ = _INFO.unpack_from(record, info)
        name_at = info + _HANDLE_AT + 8 + handle_size
        found = Place(record[info + 4 : name_at], record[name_at : info + size].split(b"\0", 1)[0])
        if kind in (_IN_DIRECTORY, _NEW_NAME):
            place = found
        elif kind == _OLD_NAME:
            old = found
        info += size
    # Of a rename out of what may be seen only the old half comes.
    here = place or old
    return None if here is None else Event(mask, pid, here, old)


class JoinRenames:
    """Makes one event of the two halves by which kernels before 5.17 report a rename."""

    def __init__(self) -> None:
        self._from: dict[int, Place] = {}

    def join(self, event: Event) -> Event | None:
        """Return `event` as newer kernels would report it; None for a first half."""
        if event.mask & MOVED_FROM:
            self._from[event.pid] = event.place
            return None
        if event.mask & MOVED_TO:
            old = self._from.pop(event.pid, None)
            return Event(event.mask & ~MOVED_TO | RENAME, event.pid, event.place, old)
        return event

"""Folders for what a call needs meanwhile: gone at its end, and after a crash once a later lithify makes one.

Each is locked while its maker lives: the kernel lets go of a lock when its holder dies, in whatever PID namespace.
"""

import contextlib
import fcntl
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lithify.engines.bundle.state import discard

_PREFIX = "lithify-tmp-"
_OURS = re.compile(_PREFIX + "[a-z0-9_]{8}")
_DISK = "/var/tmp"  # noqa: S108 - in folders of random names that only we may enter
_UNLOCKED = 60.0
"""Seconds after which a folder that nobody locks is taken for one left behind: until then it may be about to be."""


@contextlib.contextmanager
def temporary_folder(*, on_disk: bool = False) -> Iterator[Path]:
    """Give an empty folder that only we may enter, and remove it at the end with all that is in it.

    `on_disk` makes it where folders are large and seen by others (`/var/tmp`), in whatever the usual ones lie. Those
    that killed processes of this user left behind are removed first. OSError where there is no room.
    """
    usual = tempfile.gettempdir()
    for home in {usual, _DISK}:
        _sweep(home)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=_DISK if on_disk else usual) as name, _locked(name):
        yield Path(name)


def _sweep(home: str) -> None:
    with contextlib.suppress(OSError), os.scandir(home) as entries:
        for entry in entries:
            if _OURS.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_abandoned(entry)


def _remove_abandoned(entry: "os.DirEntry[str]") -> None:
    status = entry.stat(follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or time.time() < status.st_mtime + _UNLOCKED:
        return
    with _locked(entry.path) as held:
        if held:
            discard(Path(entry.path))


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[bool]:
    """Lock a folder until the block ends, and tell whether that went: False where somebody else has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)

"""What a start of a container left in its layer, entry by entry with its content, to be held against another start."""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import PurePosixPath

from lithify.engines.base import UpperLayer
from lithify.engines.ids import IdMap
from lithify.model.bake import Left
from lithify.model.image import EntryType
from lithify.model.path import ROOT

_FILE_LIMIT = 1 << 20
_LIMIT = 16 << 20
"""Bytes of one file, and of all: what a start writes into an image is configuration, not data."""
_ENTRIES = 2000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def read_left(layer: UpperLayer, paths: Iterable[PurePosixPath], ids: IdMap | None = None) -> dict[PurePosixPath, Left]:
    """Return what the layer has at `paths` and, where it made a directory, below them.

    What is too large, or is neither file, link nor directory, is left out, and so never the same as anything.
    """
    reader = _Reader(ids or IdMap())
    top = os.open(layer.upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in sorted(set(paths) - {ROOT}):
            with suppress(OSError):
                reader.take(top, path)
    finally:
        os.close(top)
    return reader.found


class _Reader:
    def __init__(self, ids: IdMap) -> None:
        self.found: dict[PurePosixPath, Left] = {}
        self._ids = ids
        self._room = _LIMIT

    def take(self, top: int, path: PurePosixPath) -> None:
        directory = os.dup(top)
        try:
            for part in path.parts[1:-1]:
                below = os.open(part, _DIRECTORY, dir_fd=directory)
                os.close(directory)
                directory = below
            self.entry(directory, path)
        finally:
            os.close(directory)

    def entry(self, parent: int, path: PurePosixPath) -> None:
        if path in self.found or len(self.found) >= _ENTRIES:
            return
        place = os.open(path.name, _PLACE, dir_fd=parent)
        try:
            left = self.left(place)
            if left is None:
                return
            self.found[path] = left
            if left.type is EntryType.DIRECTORY:
                for name in _names(parent, path.name):
                    with suppress(OSError):
                        self.below(parent, path, name)
        finally:
            os.close(place)

    def below(self, parent: int, path: PurePosixPath, name: str) -> None:
        directory = os.open(path.name, _DIRECTORY, dir_fd=parent)
        try:
            self.entry(directory, path / name)
        finally:
            os.close(directory)

    def left(self, place: int) -> Left | None:
        status = os.fstat(place)
        kind, data = EntryType.UNKNOWN, b""
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:  # overlayfs marks a deletion so (kernel docs)
            return Left(type=EntryType.UNKNOWN)
        if stat.S_ISDIR(status.st_mode):
            kind = EntryType.DIRECTORY
        elif stat.S_ISLNK(status.st_mode):
            kind, data = EntryType.SYMLINK, os.fsencode(os.readlink("", dir_fd=place))
        elif stat.S_ISREG(status.st_mode) and status.st_size <= min(_FILE_LIMIT, self._room):
            kind = EntryType.FILE
            # the descriptor names the very file that was looked at
            with open(f"/proc/self/fd/{place}", "rb") as file:
                data = file.read(_FILE_LIMIT + 1)
            self._room -= len(data)
        if kind is EntryType.UNKNOWN or len(data) > _FILE_LIMIT:
            return None
        return Left(
            type=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=self._ids.uid(status.st_uid),
            gid=self._ids.gid(status.st_gid),
            data=data,
        )


def _names(parent: int, name: str) -> Iterator[str]:
    directory = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        yield from sorted(os.listdir(directory))
    finally:
        os.close(directory)

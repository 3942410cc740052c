"""Holds a volume that the engine made for an image's VOLUME against what the image has there.

Docker and Podman copy the image's content into such a volume before the start, times to the second at least, so that
the same comparison can be made as with an upper layer, only without its marks: what was renamed and what was written in
place look the same, and what came and went is not told.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lithify.errors import NothingToExamine, NotPermitted
from lithify.model.path import printable
from lithify.model.writes import Change, Source, Write
from lithify.observe import layers
from lithify.observe.entries import Entry, entry_type, owner_and_mode
from lithify.observe.findings import DEEPEST, Findings, Inside
from lithify.observe.layers import OPEN_DIRECTORY, MergedDirectory

_COMPARED = 1 << 20
"""Bytes of a file up to which equal size with another time is settled by reading both."""
_COMPARISONS = 512


def read_volume(
    path: PurePosixPath, host_directory: Path, lowers: Sequence[Path] = (), *, budget: int = 20_000
) -> tuple[Write, ...]:
    """Return what was written in the volume at `path` of a container, which lies in `host_directory`.

    `lowers` are the image's layers; without them everything there counts as created. Nothing is said of the volume's
    own directory. Raises NothingToExamine where the volume or a layer is gone, NotPermitted where it may not be read.
    """
    reading = _VolumeReading(Source.VOLUME, budget)
    try:
        descriptor = os.open(host_directory, OPEN_DIRECTORY)
    except OSError as error:
        if isinstance(error, PermissionError):
            raise NotPermitted(f"may not read the volume at {path}", hint="run lithify as root") from error
        raise NothingToExamine(
            f"the volume {printable(host_directory)} can't be opened: {error.strerror}", hint="is the container there?"
        ) from error
    try:
        if not lowers:
            reading.compare(descriptor, None, _text(path))
            return reading.writes()
        with MergedDirectory.open_root(lowers) as root:
            twin = root.descend(layers.resolve(root, path))
            try:
                reading.compare(descriptor, twin, _text(path))
            finally:
                if twin is not None:
                    twin.close()
        return reading.writes()
    finally:
        os.close(descriptor)


def _text(path: PurePosixPath) -> str:
    return str(path).rstrip("/")


@dataclass(slots=True)
class _VolumeReading(Findings):
    """What has been found in a volume so far."""

    comparisons: int = _COMPARISONS

    def compare(self, descriptor: int, twin: MergedDirectory | None, path: str, depth: int = 0) -> None:
        """Hold one directory of the volume against its twin in the image, and all below it."""
        inside = Inside()
        present: set[str] = set()
        try:
            names = os.listdir(descriptor)
        except OSError as error:
            self.failed(path, error)
            return
        for name in names:
            old = twin.find(name) if twin is not None else None
            if old is not None:
                present.add(name)
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    self._directory(descriptor, status, twin, f"{path}/{name}", old, inside, depth)
                else:
                    self._file(descriptor, name, status, f"{path}/{name}", old, inside)
            except OSError as error:
                self.failed(f"{path}/{name}", error)
        # A volume that holds nothing of the image was not filled from it: then nothing was deleted either.
        if twin is not None and (present or depth):
            for name, _, holder in twin.entries():
                if name not in present:
                    old_status = os.stat(name, dir_fd=holder, follow_symlinks=False)
                    self.add(inside, f"{path}/{name}", Entry(Change.DELETED, entry_type(old_status)))
        self.close_directory(path, inside)

    def _directory(
        self,
        parent: int,
        status: os.stat_result,
        twin: MergedDirectory | None,
        path: str,
        old: tuple[int, os.stat_result] | None,
        inside: Inside,
        depth: int,
    ) -> None:
        name = path.rpartition("/")[2]
        descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
        try:
            if old is None or not stat.S_ISDIR(old[1].st_mode):
                self.add(inside, path, Entry.of(Change.CREATED if old is None else Change.REPLACED, status))
                self.fold(descriptor, path, path if path in self.found else path.rpartition("/")[0])
                return
            if owner_and_mode(status) != owner_and_mode(old[1]):
                self.put(path, Entry.of(Change.METADATA, status))
            if depth >= DEEPEST:
                self.too_deep.append(path)
                return
            below = twin.child(name) if twin is not None else None
            try:
                self.compare(descriptor, below, path, depth + 1)
            finally:
                if below is not None:
                    below.close()
        finally:
            os.close(descriptor)

    def _file(
        self,
        directory: int,
        name: str,
        status: os.stat_result,
        path: str,
        old: tuple[int, os.stat_result] | None,
        inside: Inside,
    ) -> None:
        change = Change.CREATED if old is None else self._change(directory, name, status, *old)
        if change is None:
            return
        entry = Entry.of(change, status)
        if change is not Change.METADATA:
            entry.content = self.kind(directory, name, status)
        self.add(inside, path, entry)

    def _change(
        self, directory: int, name: str, status: os.stat_result, holder: int, old: os.stat_result
    ) -> Change | None:
        """Return what happened to a file that the image has as well; None where nothing did."""
        if stat.S_IFMT(status.st_mode) != stat.S_IFMT(old.st_mode):
            return Change.REPLACED
        if stat.S_ISLNK(status.st_mode):
            same = os.readlink(name, dir_fd=directory) == os.readlink(name, dir_fd=holder)
            return None if same else Change.REPLACED
        if stat.S_ISREG(status.st_mode) and not self._same_content(directory, name, status, holder, old):
            return Change.CHANGED
        return None if owner_and_mode(status) == owner_and_mode(old) else Change.METADATA

    def _same_content(
        self, directory: int, name: str, status: os.stat_result, holder: int, old: os.stat_result
    ) -> bool:
        if status.st_size != old.st_size:
            return False
        if status.st_mtime_ns // 10**9 == old.st_mtime_ns // 10**9:
            return True
        if status.st_size > _COMPARED or not self.comparisons:
            return False
        self.comparisons -= 1
        return _read(directory, name) == _read(holder, name)


def _read(directory: int, name: str) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(name, flags, dir_fd=directory), "rb") as file:
        return file.read(_COMPARED + 1)

"""A root filesystem that belongs to ids without a place in our user namespace, copied to where they have one.

Root's files, seen from an ordinary user's namespace, are nobody's: they can be read, and neither written nor copied up
by an overlay. So the tree is copied once (as a clone, where the filesystem can), each entry given to the id in the
namespace that has the number which the owner has outside. What the user can't read is left empty, and named.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lithify.engines.bundle import rootless
from lithify.engines.images.rootfs import DIRECTORY, RootFilesystem
from lithify.engines.images.store import stored
from lithify.engines.tree import copy_attributes, copy_bytes
from lithify.model.path import printable

_NAMED = 12
"""Paths of a kind that are named before they are only counted."""


def adopt(directory: Path, state: Path) -> tuple[Path, tuple[str, ...]]:
    """Return where `directory` can be run from, itself or a copy below `state`, and what could not be had of it."""
    with RootFilesystem(directory):  # says what is wrong with it, where it can't be opened
        found = rootless.owners(directory)
    if found is None or not found.foreign:
        return directory, ()
    return stored(state, found.fingerprint, partial(_copy, directory, found.ids))


@dataclass
class _Adoption:
    ids: Mapping[str, tuple[int, int]]
    device: int
    top: int
    unreadable: list[str] = field(default_factory=list)
    homeless: list[str] = field(default_factory=list)
    """Entries whose owner has a number that the namespace does not have."""
    links: dict[tuple[int, int], str] = field(default_factory=dict)

    def directory(self, source: int, target: int, where: str) -> None:
        with os.scandir(source) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            self.entry(source, target, name, os.path.normpath(f"{where}/{name}"))

    def entry(self, source: int, target: int, name: str, where: str) -> None:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            if status.st_dev == self.device:
                with _opened(name, target) as copy:
                    self.inner(source, copy, name, where)
        elif (known := self.links.get((status.st_dev, status.st_ino))) is not None:
            os.link(known, name, src_dir_fd=self.top, dst_dir_fd=target, follow_symlinks=False)
            return
        elif stat.S_ISREG(status.st_mode):
            self.file(source, target, name, where)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif stat.S_ISFIFO(status.st_mode):
            os.mkfifo(name, dir_fd=target)
        else:
            return  # a device can't be made by an ordinary user, and a socket is nothing without its process
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            self.links[status.st_dev, status.st_ino] = where
        self.give(target, name, where, status)

    def inner(self, source: int, copy: int, name: str, where: str) -> None:
        try:
            with _opened(name, source) as opened:
                self.directory(opened, copy, where)
                copy_attributes(opened, copy, owner=False)
        except PermissionError:
            self.unreadable.append(f"/{where}/")

    def file(self, source: int, target: int, name: str, where: str) -> None:
        writer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
        except PermissionError:
            os.close(writer)
            self.unreadable.append(f"/{where}")
            return
        try:
            copy_bytes(reader, writer)
            copy_attributes(reader, writer, owner=False)
        finally:
            os.close(reader)
            os.close(writer)

    def give(self, target: int, name: str, where: str, status: os.stat_result) -> None:
        """Give an entry its owner, mode and time; what belongs to nobody here goes to root."""
        try:
            os.chown(name, *self.ids.get(where, (0, 0)), dir_fd=target, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self.homeless.append(f"/{where}")
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)  # after the owner: chown takes setuid away
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def _copy(directory: Path, ids: Mapping[str, tuple[int, int]], target: Path) -> tuple[str, ...]:
    """Copy a root filesystem; return what could not be had, in sentences."""
    with RootFilesystem(directory) as root, _opened(str(target)) as top:
        status = os.fstat(root.descriptor)
        adoption = _Adoption(ids=ids, device=status.st_dev, top=top)
        adoption.directory(root.descriptor, top, ".")
        adoption.give(top, ".", ".", status)
    return tuple(_notes(directory, adoption))


def _notes(directory: Path, adoption: _Adoption) -> Iterator[str]:
    if adoption.unreadable:
        which = _some(adoption.unreadable)
        yield f"what this user may not read in {printable(directory)} was empty in the runs: {which}"
    if adoption.homeless:
        yield f"root's in the runs, for the owner's number is beyond this user's ids: {_some(adoption.homeless)}"


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(printable(path) for path in sorted(paths)[:_NAMED]) + more


@contextmanager
def _opened(name: str, parent: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)

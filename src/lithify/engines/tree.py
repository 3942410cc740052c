"""Directory trees on the host's disk: copied and removed by descriptor, so that no link in them leads elsewhere."""

import errno
import itertools
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lithify.engines.images.rootfs import DIRECTORY
from lithify.errors import EngineRefused
from lithify.model.path import printable

_DEPTH = 200
"""More levels than any image has on purpose; each holds two descriptors while it is copied."""
_CHUNK = 1 << 20
_OVERLAY_MARKS = ("trusted.overlay.", "user.overlay.")


class _Copy:
    """One copy under way: what it leaves out, and which files it has already seen by another name."""

    def __init__(self, device: int, *, directories_only: bool) -> None:
        self.device = device
        self.directories_only = directories_only
        self.links: dict[tuple[int, int], str] = {}
        self.top = -1

    def directory(self, source: int, target: int, where: str, depth: int) -> None:
        """Copy what is in `source` into `target`, then the directory's own attributes."""
        if depth > _DEPTH:
            raise EngineRefused(f"{printable(where)} is more than {_DEPTH} directories deep")
        with os.scandir(source) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            self.entry(source, target, name, f"{where}/{name}", depth)
        copy_attributes(source, target)

    def entry(self, source: int, target: int, name: str, where: str, depth: int) -> None:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            self.subdirectory(source, target, name, where, depth)
        elif not self.directories_only:
            self.leaf(source, target, name, where, status)

    def subdirectory(self, source: int, target: int, name: str, where: str, depth: int) -> None:
        os.mkdir(name, 0o700, dir_fd=target)
        with _opened(name, source) as inner, _opened(name, target) as copy:
            # another filesystem mounted in the tree is none of the image's: an overlay shows the empty directory too
            if os.fstat(inner).st_dev == self.device:
                self.directory(inner, copy, where, depth + 1)

    def leaf(self, source: int, target: int, name: str, where: str, status: os.stat_result) -> None:
        if status.st_nlink > 1:
            known = self.links.get((status.st_dev, status.st_ino))
            if known is not None:
                os.link(known, name, src_dir_fd=self.top, dst_dir_fd=target, follow_symlinks=False)
                return
            self.links[status.st_dev, status.st_ino] = where.lstrip("/")
        if stat.S_ISREG(status.st_mode):
            copy_file(source, name, target, name)
            return
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif stat.S_ISSOCK(status.st_mode) or not make_node(name, status.st_mode, status.st_rdev, target):
            return  # a socket is nothing without the process that bound it
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def copy_tree(source: int, target: int, *, directories_only: bool = False) -> None:
    """Copy the directory open as `source` over the empty one open as `target`, its own attributes included.

    Owner, mode, times, extended attributes, hard links and devices come along; sockets, overlay's marks and other
    filesystems mounted there do not. EngineRefused for a tree too deep, OSError where the disk refuses.
    """
    copy = _Copy(os.fstat(source).st_dev, directories_only=directories_only)
    copy.top = target
    copy.directory(source, target, "", 0)


def copy_file(source_directory: int, source: str, target_directory: int, target: str) -> None:
    """Copy one regular file with its attributes; `target` must not exist."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    reader = os.open(source, flags, dir_fd=source_directory)
    try:
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target_directory)
        try:
            copy_bytes(reader, writer)
            copy_attributes(reader, writer)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def copy_bytes(reader: int, writer: int) -> None:
    """Copy what is left to read from `reader` to `writer`, inside the kernel where it can."""
    try:
        while os.copy_file_range(reader, writer, 1 << 30):
            pass
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF):
            raise
    while chunk := os.read(reader, _CHUNK):
        view = memoryview(chunk)
        while view:
            view = view[os.write(writer, view) :]


def make_node(name: str, mode: int, device: int, directory: int) -> bool:
    """Make a FIFO or device; tell whether that was allowed: in a user namespace a device is not."""
    try:
        os.mknod(name, mode, device, dir_fd=directory)
    except PermissionError:
        if stat.S_ISFIFO(mode):
            raise
        return False
    return True


def copy_attributes(source: int, target: int, *, owner: bool = True) -> None:
    """Give the file or directory open as `target` the owner, extended attributes, mode and times of `source`."""
    status = os.fstat(source)
    if owner:
        os.fchown(target, status.st_uid, status.st_gid)
    for name in _attributes(source):
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EPERM, errno.ENODATA):
                raise
    # after the owner: chown takes the setuid bit away
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _attributes(descriptor: int) -> list[str]:
    try:
        return [name for name in os.listxattr(descriptor) if not name.startswith(_OVERLAY_MARKS)]
    except OSError:
        return []


def remove_tree(path: Path) -> None:
    """Remove `path` and all below it, following no link; no error where it is gone already.

    A tree of any depth goes: what is not empty is first moved up beside its parent, so two levels are open at most.
    """
    with _parent(path) as parent:
        if parent is not None:
            remove_entry(parent, path.name)


def remove_entry(parent: int, name: str) -> None:
    """Remove entry `name` of the directory open as `parent` as `remove_tree` does."""
    if not _is_filled(parent, name):
        return
    with _opened(name, parent) as top:
        moved = itertools.count()
        while names := _names(top):
            for inner in names:
                if _is_filled(top, inner):
                    _empty(top, inner, moved)
    _discard(parent, name)


def _empty(top: int, name: str, moved: Iterator[int]) -> None:
    """Remove what is in directory `name`; what is in turn not empty moves up into `top`."""
    with _opened(name, top) as directory:
        for inner in _names(directory):
            if _is_filled(directory, inner):
                os.rename(inner, f".gone-{next(moved)}-{os.urandom(4).hex()}", src_dir_fd=directory, dst_dir_fd=top)
    _discard(top, name)


def _is_filled(parent: int, name: str) -> bool:
    """Remove `name` if that takes one call; tell whether it is a directory that still holds something."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    except IsADirectoryError:
        return not _discard(parent, name)
    return False


def _discard(parent: int, name: str) -> bool:
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            return False
        raise
    return True


def _names(directory: int) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]


@contextmanager
def _parent(path: Path) -> Iterator[int | None]:
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _opened(name: str, parent: int) -> Iterator[int]:
    descriptor = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)

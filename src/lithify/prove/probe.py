"""Tries to write everywhere in a running container, through its own mount namespace, without a program in its image.

`/proc/PID/root` leads into the mount namespace of a process: what is opened through it goes through the mounts that
the process sees, read-only flags included (proc(5)). So no shell, no static helper and no namespace change is needed.
Every step is relative to a directory descriptor and follows no link.
"""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from lithify.engines.ids import IdMap
from lithify.engines.mounts import MountPoint, read_mounts
from lithify.model.path import PSEUDO, ROOT

_NAME = b".lithify-probe-%d"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST = 400
"""Levels that are followed down: as deep as the interpreter recurses, far deeper than images are."""
_CLONE_NEWNS = 0x20000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND = 1, 32, 4096
_CAP_SYS_ADMIN = 21
_MOUNT_FLAGS = {"nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}
_READ_ONLY_KERNEL = frozenset({"proc", "sysfs", "cgroup", "cgroup2"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """What a try to write into every directory of the root filesystem met."""

    refused: int
    """Directories that answered EROFS."""
    accepted: tuple[PurePosixPath, ...]
    """Directories of the root filesystem that took a file; it was removed again."""
    other: tuple[tuple[PurePosixPath, str], ...]
    """Directories that answered something else, with the name of the error."""


def try_every_directory(pid: int, *, limit: int = 500_000) -> Refusals:
    """Try to create a file in each directory on the root mount of process `pid`, `limit` directories at the most.

    ProcessLookupError where the process is gone.
    """
    refused, accepted, other = 0, [], []
    for path, error in _tries(pid, limit):
        if error == errno.EROFS:
            refused += 1
        elif error is None:
            accepted.append(path)
        else:
            other.append((path, errno.errorcode.get(error, str(error))))
    if refused + len(accepted) + len(other) == 0:
        raise ProcessLookupError(pid)
    return Refusals(refused=refused, accepted=tuple(accepted), other=tuple(other[:100]))


def writable_mounts(pid: int) -> tuple[MountPoint, ...]:
    """Return the mounts that process `pid` may write to by their flags, kernel filesystems left out."""
    reachable: dict[PurePosixPath, MountPoint] = {}
    for mount in read_mounts(pid):  # the last one on a path lies on top
        reachable[mount.path] = mount
    return tuple(m for m in reachable.values() if not m.read_only and m.filesystem not in _READ_ONLY_KERNEL)


def write_as(pid: int, path: PurePosixPath, uid: int, gid: int, *, file: bool = False) -> str:
    """Write at `path` in the container of `pid` as a user of the container; return nothing, or the name of the error.

    A directory gets a file that is removed at once; a single-file mount is opened for writing and left as it is.
    """
    return _in_child(lambda: _write_as(pid, path, uid, gid, file))


def try_remount(pid: int) -> str:
    """Try to remount the root of `pid` writable with the rights that its processes can have at the most.

    Returns nothing where that worked (and is undone), else why it did not.
    """
    bounding = _capabilities(pid)
    if not bounding >> _CAP_SYS_ADMIN & 1:
        return "it has no CAP_SYS_ADMIN"
    root = next((mount for mount in read_mounts(pid) if mount.path == ROOT), None)
    return _in_child(lambda: _remount(pid, root.options if root else ()))


def _tries(pid: int, limit: int) -> Iterator[tuple[PurePosixPath, int | None]]:
    """Yield each directory on the root mount with the errno its try got, None where it took the file."""
    try:
        root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return
    elsewhere = {mount.path for mount in read_mounts(pid)} - {ROOT}
    elsewhere.update(PSEUDO)
    name = _NAME % os.getpid()
    try:
        for path, descriptor in islice(_walk(ROOT, root, elsewhere), limit):
            yield path, _try(descriptor, name)
    finally:
        os.close(root)


def _walk(path: PurePosixPath, directory: int, elsewhere: set[PurePosixPath]) -> Iterator[tuple[PurePosixPath, int]]:
    """Yield `directory` and all below it but for the paths `elsewhere`, each with a descriptor good until the next."""
    yield path, directory
    if len(path.parts) > _DEEPEST:
        return
    for name in _subdirectories(directory):
        below = path / name
        if below in elsewhere:
            continue
        try:
            descriptor = os.open(name, _DIRECTORY, dir_fd=directory)
        except OSError:
            continue
        try:
            yield from _walk(below, descriptor, elsewhere)
        finally:
            os.close(descriptor)


def _try(directory: int, name: bytes) -> int | None:
    try:
        os.close(os.open(name, _CREATE, 0o600, dir_fd=directory))
    except OSError as error:
        return error.errno
    os.unlink(name, dir_fd=directory)
    return None


def _subdirectories(directory: int) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _in_child(work: Callable[[], str]) -> str:
    """Run `work` in a forked child, whose rights and namespaces it may change, and return the text it gives."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = work()
        except OSError as error:
            text = errno.errorcode.get(error.errno or 0, str(error))
        except BaseException as error:  # a child must never return into the caller's stack
            text = type(error).__name__
        os.write(writer, str(text).encode()[:4096])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        text = stream.read().decode()
    os.waitpid(child, 0)
    return text


def _write_as(pid: int, path: PurePosixPath, uid: int, gid: int, file: bool) -> str:
    directory = _open_below(pid, path.parent if file else path)
    ids = IdMap.read(pid)
    gid, uid = ids.host_gid(gid), ids.host_uid(uid)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if file:
        os.close(os.open(path.name, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=directory))
        return ""
    name = _NAME % os.getpid()
    os.close(os.open(name, _CREATE, 0o600, dir_fd=directory))
    os.unlink(name, dir_fd=directory)
    return ""


def _open_below(pid: int, path: PurePosixPath) -> int:
    """Open a directory of the container, one component at a time and without following a link."""
    descriptor = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in path.parts[1:]:
        below = os.open(part, _DIRECTORY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    return descriptor


def _capabilities(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        fields = dict(line.split(":", 1) for line in status if ":" in line)
    return int(fields["CapBnd"], 16)


def _remount(pid: int, options: Sequence[str]) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    if libc.setns(namespace, _CLONE_NEWNS):
        return errno.errorcode.get(ctypes.get_errno(), "?")
    kept = sum(_MOUNT_FLAGS.get(option, 0) for option in options)
    if libc.mount(None, b"/", None, kept | _MS_REMOUNT | _MS_BIND, None):
        return errno.errorcode.get(ctypes.get_errno(), "?")
    libc.mount(None, b"/", None, kept | _MS_REMOUNT | _MS_BIND | _MS_RDONLY, None)
    return ""

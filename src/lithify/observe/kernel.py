"""System calls that Python's os module lacks: birth times, file handles, fanotify, perf events.

Constants and layouts are those of the kernel's user-space headers (linux/stat.h, linux/fcntl.h, linux/fanotify.h), the
same on every 64-bit architecture.
"""

import ctypes
import errno
import os

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_BTIME = 0x800
_MAX_HANDLE = 128
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319, "s390x": 331}
"""The one number here that depends on the architecture: no C library wraps this call."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.open_by_handle_at.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int)


class _Timestamp(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_uint32), ("_pad", ctypes.c_int32))


class _Statx(ctypes.Structure):
    _fields_ = (
        ("mask", ctypes.c_uint32),
        ("_before", ctypes.c_uint8 * 60),
        ("access", _Timestamp),
        ("birth", _Timestamp),
        ("_after", ctypes.c_uint8 * 160),
    )


class _Handle(ctypes.Structure):
    _fields_ = (("size", ctypes.c_uint32), ("kind", ctypes.c_int32), ("bytes", ctypes.c_uint8 * _MAX_HANDLE))


def birth_time(descriptor: int) -> int | None:
    """Return when the file behind `descriptor` was made, in nanoseconds; None where no such time is kept."""
    result = _Statx()
    try:
        failed = _libc.statx(descriptor, b"", _AT_EMPTY_PATH, _STATX_BTIME, ctypes.byref(result))
    except AttributeError:  # a C library without statx
        return None
    if failed or not result.mask & _STATX_BTIME:
        return None
    return int(result.birth.seconds) * 10**9 + int(result.birth.nanoseconds)


def file_handle(directory: int, name: str) -> bytes | None:
    """Return the kernel's handle of `name` in a directory descriptor, links not followed; None where there is none."""
    packed = packed_handle(directory, name)
    return None if packed is None else packed[8:]


def packed_handle(directory: int, name: str) -> bytes | None:
    """Return the same as a packed `struct file_handle`: length, type, and the handle's bytes."""
    handle = _Handle(size=_MAX_HANDLE)
    mount = ctypes.c_int()
    try:
        failed = _libc.name_to_handle_at(
            directory, os.fsencode(name), ctypes.byref(handle), ctypes.byref(mount), ctypes.c_int(0)
        )
    except AttributeError:
        return None
    return None if failed else bytes(handle)[: 8 + handle.size]


def open_by_handle(mount: int, handle: bytes) -> int | None:
    """Return an O_PATH descriptor for a packed `struct file_handle`; None where it is gone.

    Needs CAP_DAC_READ_SEARCH.
    """
    descriptor: int = _libc.open_by_handle_at(mount, handle, os.O_PATH | os.O_CLOEXEC)
    return None if descriptor < 0 else descriptor


def fanotify_init(flags: int) -> int:
    """Return a new fanotify descriptor; OSError with the kernel's errno where it is refused."""
    try:
        descriptor: int = _libc.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC)
    except AttributeError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    if descriptor < 0:
        raise _error()
    return descriptor


def fanotify_mark(descriptor: int, flags: int, mask: int, path: str) -> None:
    """Set or remove a mark on what holds `path`; OSError with the kernel's errno where it is refused."""
    arguments = (descriptor, flags, ctypes.c_uint64(mask), _AT_FDCWD, os.fsencode(path))
    if _libc.fanotify_mark(*arguments):
        raise _error(path)


def perf_event_open(attribute: bytes, processor: int) -> int:
    """Return a new event of all that runs on a processor; OSError with the kernel's errno where it is refused."""
    number = _PERF_EVENT_OPEN.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    everybody, no_group, close_on_exec = -1, -1, 8
    descriptor = int(_libc.syscall(number, attribute, everybody, processor, no_group, ctypes.c_ulong(close_on_exec)))
    if descriptor < 0:
        raise _error()
    return descriptor


def die_with_parent() -> None:
    """Have the kernel end this process by SIGKILL when its parent is gone (prctl(2), PR_SET_PDEATHSIG)."""
    _libc.prctl(1, 9, 0, 0, 0)


def _error(path: str | None = None) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), path)

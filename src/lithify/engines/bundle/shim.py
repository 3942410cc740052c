"""Stands beside one start of a bundle container, so that lithify itself need not stay.

Run as a program by `bundle.py`: `python -I -S shim.py FILE`, its orders as JSON in FILE. It makes a mount namespace of
its own with the overlay in it, has the OCI runtime create the container there, says on standard output how that went,
and stays behind as the container's parent: it keeps the log within bounds and writes down the exit code. When container
and shim are gone the overlay is gone with them; the host's mount table never held it, not even after SIGKILL.

Standard library only, and little of it: this is on the path of every start.
"""

import ctypes
import fcntl
import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

_CLONE_NEWNS = 0x00020000
_MS_REC = 0x4000
_MS_SLAVE = 1 << 19
_MNT_DETACH = 2
_PR_SET_CHILD_SUBREAPER = 36
_CHUNK = 1 << 16
_SERVICE_MANAGER = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""What a service manager told lithify: runtimes would hand it on to the container."""
_LAST_WORDS = 1.0
"""Seconds after the container's end in which what it wrote is still waited for."""


class _Refused(Exception):
    """The container could not be created; the message is for the user."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.number = number
        """The kernel's error number, where it was the kernel that refused."""


class _Log:
    """The container's output: the latest part in one file, the part before it in another, neither beyond its limit.

    A program that floods its log must not fill the disk, and its last words count most.
    """

    def __init__(self, path: str, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._open()

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size

    def write(self, data: bytes) -> None:
        if self._size + len(data) > self._limit:
            os.close(self._file)
            os.replace(self._path, self._path + ".1")
            self._open()
        try:
            self._size += os.write(self._file, data)
        except OSError:
            return  # a full disk costs the log, never the container

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def main(arguments: list[str]) -> None:
    """Do what the orders say, in a child that outlives the caller; the answer goes to standard output."""
    with open(arguments[1], encoding="utf-8", errors="surrogateescape") as file:
        orders = json.load(file)
    os.chdir("/")  # what the caller stands on must not stay busy because of us
    if os.fork():
        os._exit(0)  # the child belongs to init, or to a subreaper above us, from here on
    try:
        held = _hold(orders["directory"])
        _write(orders["shim"], {"pid": os.getpid(), "start": _start_time(os.getpid())})
        pid, pipe = _create(orders)
    except _Refused as refused:
        _answer({"error": str(refused), "errno": refused.number})
        return
    _write(orders["status"], {"pid": pid, "start": _start_time(pid)})
    os.close(held)
    _answer({"pid": pid})
    _detach()
    _attend(orders, pid, pipe)


def _hold(path: str) -> int:
    """Keep the container's directory from being removed until there is something that can be ended; not inherited."""
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(directory, fcntl.LOCK_SH)
        if not os.path.samestat(os.fstat(directory), os.stat(path)):
            raise FileNotFoundError
    except FileNotFoundError:
        raise _Refused("it was removed meanwhile") from None
    return directory


def _create(orders: dict[str, Any]) -> tuple[int, int]:
    """Have the container created; return its pid on this host, and the pipe on which it speaks."""
    _prepare_mounts(orders)
    _call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    reader, writer = os.pipe()
    runtime = os.fork()
    if runtime == 0:
        _become(orders["create"], writer)
    os.close(writer)
    code = os.waitstatus_to_exitcode(os.waitpid(runtime, 0)[1])
    if code != 0:
        raise _Refused(f"{orders['create'][0]} ended with code {code}")
    with open(orders["pid_file"], encoding="ascii") as file:
        return int(file.read()), reader


def _prepare_mounts(orders: dict[str, Any]) -> None:
    _call("unshare", _CLONE_NEWNS)
    # a slave, not private: a disk that the user unmounts on the host meanwhile must not stay busy because of us
    _call("mount", None, b"/", None, _MS_REC | _MS_SLAVE, None)
    for path in orders["hide"]:
        _call("umount2", os.fsencode(path), _MNT_DETACH)
    for path in orders["cover"]:
        _call("mount", b"tmpfs", os.fsencode(path), b"tmpfs", 0, None)
    _call("mount", b"overlay", os.fsencode(orders["root"]), b"overlay", 0, os.fsencode(orders["overlay"]))


def _call(name: str, *arguments: bytes | int | None) -> None:
    """Call a function of the C library; _Refused, with the kernel's reason, where it fails."""
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*(ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments)) != 0:
        number = ctypes.get_errno()
        raise _Refused(f"{name}: {os.strerror(number)}", number)


def _become(command: list[str], output: int) -> NoReturn:
    """Turn this child into the OCI runtime; what it leaves to the container is the pipe."""
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.umask(0o022)
    for name in _SERVICE_MANAGER:
        os.environ.pop(name, None)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the whole task of a shim
    except OSError:
        os._exit(127)


def _attend(orders: dict[str, Any], pid: int, pipe: int) -> None:
    """Take down what the container says until it ends, then its exit code."""
    log = _Log(orders["log"], orders["log_limit"])
    ended, wake = os.pipe()
    for descriptor in (ended, wake, pipe):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    poll.register(ended, select.POLLIN)
    code = _reap(pid)
    while code is None:
        for descriptor, _ in poll.poll():
            if descriptor == ended:
                os.read(ended, _CHUNK)
                code = _reap(pid)
            elif not _take(pipe, log):
                poll.unregister(pipe)
    _drain(pipe, log)
    _write(orders["exit"], {"code": code})


def _reap(pid: int) -> int | None:
    """Reap whatever has ended; return the exit code of `pid` if that has."""
    found: int | None = None
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 255 if found is None else found
        if child == 0:
            return found
        if child == pid:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else 128 - code


def _take(pipe: int, log: _Log) -> bool:
    """Move what is there from the pipe to the log; tell whether more can come."""
    try:
        data = os.read(pipe, _CHUNK)
    except BlockingIOError:
        return True
    log.write(data)
    return bool(data)


def _drain(pipe: int, log: _Log) -> None:
    deadline = time.monotonic() + _LAST_WORDS
    while select.select([pipe], [], [], max(deadline - time.monotonic(), 0))[0]:
        if not _take(pipe, log):
            return


def _detach() -> None:
    """Leave the caller's session and let go of its pipes, which ends its wait."""
    os.setsid()
    nowhere = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _answer(answer: dict[str, Any]) -> None:
    try:
        os.write(1, json.dumps(answer).encode())
    except OSError:
        return  # the caller is gone: the container is swept by the next lithify


def _write(path: str, record: dict[str, Any]) -> None:
    """Write a record whole or not at all."""
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.replace(path + ".tmp", path)


def _start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot: with the pid it names a process for good."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


if __name__ == "__main__":
    main(sys.argv)

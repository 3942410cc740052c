"""Lets an ordinary user run bundles: this process moves into a user namespace in which it is root.

What is mapped there is the user's own id (as 0) and the ranges that /etc/subuid and /etc/subgid give to the user (from
1 up), by newuidmap and newgidmap of the package `uidmap`, as Podman does it. Mounts and network are the namespace's own
as well: the containers' networks end in this process, not on the host. A child stays outside for what can't be done
from within: to map, to see who really owns a file, and to end what an earlier process left in *its* namespace.

An ordinary user's Podman has made such namespaces already. There is nothing to map: this process joins them.
"""

import ctypes
import errno
import hashlib
import json
import os
import signal
import socket
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any, NoReturn

from lithify.engines import process
from lithify.engines.base import Ended, Result
from lithify.errors import EngineRefused, EngineUnreachable, NotPermitted
from lithify.model.path import printable

NETWORK_APART = (
    "checks and exercise ran as root of a user namespace, in a network that holds the containers and nothing else"
)
"""What a proof by an ordinary user leaves open."""
WITHIN_ITS_NETWORK = (
    "checks and exercise ran within the container's own network, as root of Podman's user namespace: what is published "
    "to the outside was not tried"
)
"""The same where the user's own Podman has the containers."""

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
_PR_SET_DUMPABLE = 4
_LENGTH = struct.Struct("=Q")
_ENTRIES = 5_000_000
"""More entries than a root filesystem has; who names more has named something else."""
_ADD = "usermod --add-subuids 100000-165535 --add-subgids 100000-165535"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Whose a directory tree is, seen from outside the user namespace."""

    foreign: bool
    """Something in it belongs to an id that has no place in the namespace."""
    fingerprint: str
    """Changes with every name, size, time, mode or owner in it."""
    ids: Mapping[str, tuple[int, int]]
    """Who owns each entry, by its path in the tree (`.` is its top); those of root are left out."""


_SAY = r"""printf '%s\0' $$; env -0; echo; exec cat"""
"""Says who it is and what its surroundings are, and stays."""
_SAID = 4096

_outside: socket.socket | None = None
"""Where the child that stayed outside listens."""


def enter() -> None:
    """Move this process, for good, to where it is root; do nothing where it is already.

    Children that it starts from now on are there too. It has to be single-threaded. NotPermitted names the right or the
    setting that is missing, EngineUnreachable the program.
    """
    global _outside
    if os.geteuid() == 0:
        return
    ranges = {kind: _ranges(kind) for kind in ("uid", "gid")}
    for kind in ranges:
        process.find(f"new{kind}map", package="uidmap")
    here, there = socket.socketpair()
    if os.fork() == 0:
        here.close()
        _serve(there)
    there.close()
    try:
        _unshare(_CLONE_NEWUSER, "a user namespace")
        said = _ask(here, do="map", pid=os.getpid(), ranges=ranges)
        if said:
            raise NotPermitted(
                f"the user namespace gets no ids: {printable(said)}",
                hint="newuidmap and newgidmap must be setuid root, and the ranges in /etc/subuid and /etc/subgid valid",
            )
        _unshare(_CLONE_NEWNS | _CLONE_NEWNET, "mount and network namespaces")
    except BaseException:
        here.close()
        raise
    _libc().prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    process.run([process.find("ip", package="iproute2"), "link", "set", "lo", "up"])
    _outside = here


def join_podman(podman: Sequence[str]) -> None:
    """Move this process, for good, into the user and mount namespaces of the Podman that these words call.

    There it is root, and sees the layers and mounts of an ordinary user's containers; its network stays the host's.
    Nothing is done for root. The process has to be single-threaded.
    """
    if os.geteuid() == 0:
        return
    helper = process.start((*podman, "unshare", "sh", "-c", _SAY), stdin=subprocess.PIPE)
    try:
        assert helper.stdout is not None
        assert helper.stderr is not None
        told = b""
        while not told.endswith(b"\0\n") and (line := helper.stdout.readline()):
            told += line
        if not told:
            message = helper.stderr.read(_SAID).decode("utf-8", "replace").strip()
            raise NotPermitted(
                f"podman gives this user no namespace: {printable(message)}",
                hint="does `podman unshare true` work? it takes newuidmap (package uidmap); or run lithify as root",
            )
        pid, *variables = told.rstrip(b"\0\n").decode("utf-8", "surrogateescape").split("\0")
        directory = os.getcwd()
        _join(os.pidfd_open(int(pid)), _CLONE_NEWUSER | _CLONE_NEWNS, "the namespaces of podman")
    finally:
        process.end(helper)
    os.chdir(directory)
    _libc().prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    os.environ.update(pair.partition("=")[::2] for pair in variables if "CONTAINERS_" in pair.partition("=")[0])


def call_in_network(pid: int, function: Callable[[], Result], cancelled: Event | None = None) -> Result:
    """Return what `function` does in the network of process `pid`, which is one of a user namespace that we are in.

    In a thread of its own: there is no way back to the host's network from there. An interrupt of the thread that waits
    sets `cancelled` and goes on at once. Ended where there is no such process any more, NotPermitted where its network
    can't be joined: `function` is not called then.
    """
    try:
        entry = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise Ended from error

    def there() -> Result:
        _join(entry, _CLONE_NEWNET, "the container's network")
        return function()

    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(there).result()
    except BaseException as error:
        if cancelled is not None and not isinstance(error, Exception):
            cancelled.set()
        raise
    finally:
        pool.shutdown(wait=False)


def _join(descriptor: int, flags: int, what: str) -> None:
    """Join the namespaces that a descriptor, which is closed, stands for."""
    try:
        if _libc().setns(descriptor, flags) == 0:
            return
        number = ctypes.get_errno()
    finally:
        os.close(descriptor)
    hint = "call it before threads are started" if number == errno.EINVAL else _what_forbids(number)
    raise NotPermitted(f"{what} can't be joined: {os.strerror(number)}", hint=hint)


@cache
def in_user_namespace() -> bool:
    """Tell whether not every id of the host has its place here: as an ordinary user's, or inside a container."""
    if os.geteuid() != 0:
        raise AssertionError("asked before it was entered")
    try:
        return Path("/proc/self/uid_map").read_text(encoding="ascii").split() != ["0", "0", "4294967295"]
    except OSError:
        return False


def entered() -> bool:
    """Tell whether this process came here by `enter`."""
    return _outside is not None


def own_map(kind: str) -> list[dict[str, int]]:
    """Return the namespace's ids, `uid` or `gid`, as `linux.uidMappings` of a config.json names them."""
    lines = Path(f"/proc/self/{kind}_map").read_text(encoding="ascii").splitlines()
    return [dict(zip(("containerID", "hostID", "size"), map(int, line.split()), strict=True)) for line in lines]


def kill_outside(pid: int, number: int) -> bool:
    """Signal a process of this user's in another user namespace, such as an earlier run's; whether it was allowed."""
    return _outside is not None and not _ask(_outside, do="kill", pid=pid, number=number)


@cache
def owners(directory: Path) -> Owners | None:
    """Return who really owns what is in `directory`; None where this process sees that itself.

    NotPermitted where the directory is one of another user's that can't be looked at.
    """
    if _outside is None:
        return None
    ids = {kind: [(m["hostID"], m["size"]) for m in own_map(kind)] for kind in ("uid", "gid")}
    answer = _ask(_outside, do="scan", directory=str(directory), ids=ids)
    if isinstance(answer, str):
        raise NotPermitted(f"{printable(directory)} can't be looked through: {printable(answer)}")
    return Owners(
        foreign=answer["foreign"],
        fingerprint=answer["fingerprint"],
        ids={path: (uid, gid) for path, (uid, gid) in answer["ids"].items()},
    )


def _ranges(kind: str) -> list[tuple[int, int]]:
    """Return the (first, count) that the user may use besides its own id; NotPermitted where there is none."""
    import pwd

    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    file = Path(f"/etc/sub{kind}")
    try:
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        lines = []
    fields = [line.split(":") for line in lines if not line.startswith("#")]
    found = [
        (int(first), int(count))
        for who, first, count in (f for f in fields if len(f) == 3)
        if who in (name, str(uid)) and first.isdecimal() and count.isdecimal() and int(count)
    ]
    if not found:
        raise NotPermitted(
            f"{file} gives {printable(name)} no range of ids, which an image with more than one user needs",
            hint=f"let root give one: {_ADD} {name}; or run lithify with sudo",
        )
    return found


def _unshare(flags: int, what: str) -> None:
    if _libc().unshare(flags) == 0:
        return
    number = ctypes.get_errno()
    if number == errno.EINVAL:
        raise EngineRefused(
            f"{what} can't be made by a process with threads",
            hint="call lithify.engines.bundle.rootless.enter() earlier",
        )
    raise NotPermitted(f"the kernel refuses this user {what}: {os.strerror(number)}", hint=_what_forbids(number))


def _what_forbids(number: int) -> str:
    """Return which setting forbids user namespaces here, by what the kernel's own files say."""
    settings = (
        ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with `userns`",
        ),
    )
    for path, forbids, remedy in settings:
        try:
            if Path(path).read_text(encoding="ascii").strip() == forbids:
                return f"let root say: {remedy}; or run lithify with sudo"
        except OSError:
            continue
    if number == errno.ENOSPC:
        return "all user namespaces are in use: sysctl user.max_user_namespaces; or run lithify with sudo"
    return "a seccomp profile or security module may forbid unshare(2), as in most containers; run lithify with sudo"


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


# Between the process and its child outside: JSON, its length before it.


def _ask(channel: socket.socket, **request: object) -> Any:
    _send(channel, request)
    answer = _receive(channel)
    if answer is None:
        raise EngineUnreachable("the process that stayed outside the user namespace is gone", hint="run it again")
    return answer[0]


def _send(channel: socket.socket, message: object) -> None:
    data = json.dumps(message).encode("utf-8", "surrogateescape")
    channel.sendall(_LENGTH.pack(len(data)) + data)


def _receive(channel: socket.socket) -> Any:
    """Return the next message; None where the other end is closed."""
    with channel.makefile("rb") as file:
        head = file.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            return None
        return json.loads(file.read(_LENGTH.unpack(head)[0]).decode("utf-8", "surrogateescape"))


def _serve(channel: socket.socket) -> NoReturn:
    """Be the child outside until the process inside is gone; never return into the caller's program."""
    tasks: dict[str, Callable[..., object]] = {"map": _map, "kill": _kill, "scan": _scan}
    try:
        os.setsid()  # Ctrl-C is the other's
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        nowhere = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)  # a pipe of the caller's must not stay open because of us
        while (request := _receive(channel)) is not None:
            _send(channel, [tasks[request.pop("do")](**request)])
    finally:
        os._exit(0)


def _map(pid: int, ranges: Mapping[str, Sequence[Sequence[int]]]) -> str:
    """Give the namespace of `pid` its ids; return what stood in the way."""
    for kind, own in (("uid", os.getuid()), ("gid", os.getgid())):
        words, inside = [0, own, 1], 1
        for first, count in ranges[kind]:
            words += [inside, first, count]
            inside += count
        try:
            result = process.run([f"new{kind}map", *map(str, [pid, *words])])
        except EngineUnreachable as error:
            return str(error)
        if result.code != 0:
            return result.message or f"new{kind}map ended with code {result.code}"
    return ""


def _kill(pid: int, number: int) -> str:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return ""
    except PermissionError as error:
        return str(error.strerror)
    return ""


def _scan(directory: str, ids: Mapping[str, Sequence[Sequence[int]]]) -> dict[str, object] | str:
    """Look through a tree as the user that we are outside; return its `Owners`, or why not."""
    digest = hashlib.sha256(directory.encode("utf-8", "surrogateescape"))
    found: dict[str, tuple[int, int]] = {}
    foreign = False
    try:
        for number, (path, status) in enumerate(_entries(directory)):
            if number >= _ENTRIES:
                return f"it holds more than {_ENTRIES} entries"
            owner = (status.st_uid, status.st_gid)
            foreign = foreign or not (_within(owner[0], ids["uid"]) and _within(owner[1], ids["gid"]))
            if owner != (0, 0):
                found[path] = owner
            told = (path, *owner, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            digest.update(repr(told).encode())
    except OSError as error:
        return str(error.strerror)
    return {"foreign": foreign, "fingerprint": digest.hexdigest(), "ids": found if foreign else {}}


def _entries(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the entries of a tree on its filesystem, the top first; what can't be read has none below it."""
    top = os.stat(directory)
    yield ".", top
    for base, directories, names, descriptor in os.fwalk(directory, follow_symlinks=False):
        where = os.path.relpath(base, directory)
        for name in sorted([*directories, *names]):
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            yield os.path.normpath(os.path.join(where, name)), status
            if stat.S_ISDIR(status.st_mode) and status.st_dev != top.st_dev:
                directories.remove(name)
        directories.sort()


def _within(number: int, ranges: Sequence[Sequence[int]]) -> bool:
    return any(first <= number < first + count for first, count in ranges)

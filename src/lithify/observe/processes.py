"""The processes of a container, what they hold open for writing, run code from, and listen on, from /proc.

A process belongs to the container of another when both share a pid namespace that is not ours, or a cgroup that is not
ours; where neither tells them apart from the host's, only descendants count. What vanishes meanwhile is left out.
"""

import os
import re
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath

from lithify.engines.base import UpperLayer
from lithify.engines.ids import IdMap
from lithify.engines.mounts import MountPoint, mount_holding, read_mounts, root_overlay
from lithify.model.image import EntryType
from lithify.model.path import ROOT, is_pseudo
from lithify.model.writes import Change, Process, Source, Write, Writer
from lithify.observe.layers import open_below
from lithify.observe.merge import UNKNOWN_PROGRAM, merge_writes

_MAX_ARGUMENTS = 64
_MAX_COMMAND = 8192
_MAX_ENVIRONMENT = 1 << 17
_MAX_PATH = 4096
_MAX_MAPS = 8 << 20
DELETED = " (deleted)"
_MEMORY = re.compile(r"/(memfd:.*|SYSV[0-9a-f]{8}|\[aio\]|anon_hugepage) \(deleted\)", re.DOTALL)
"""What shared memory is called in maps: it looks like a removed file of the root directory (mm/shmem.c, ipc/shm.c)."""
_TCP_LISTEN, _UDP_UNCONNECTED, _UNIX_ACCEPTS = "0A", "07", 1 << 16


def read_processes(pid: int) -> tuple[Process, ...]:
    """Return the processes of the container that `pid` is in, as the container sees them; nothing where it is gone."""
    ids = IdMap.read(pid)
    base = _link(f"/proc/{pid}/root") or "/"
    found = (_read_process(member, ids, base) for member in members(pid))
    return tuple(process for process in found if process is not None)


def read_process(pid: int) -> Process | None:
    """Return process `pid` as its container sees it; None where it is gone."""
    return _read_process(pid, IdMap.read(pid), _link(f"/proc/{pid}/root") or "/")


def members(pid: int) -> tuple[int, ...]:
    """Return the pids of all processes in the container that `pid` is in, lowest first; nothing where it is gone."""
    own, namespace = _link("/proc/self/ns/pid"), _link(f"/proc/{pid}/ns/pid")
    if namespace is None:
        return ()
    cgroups = _distinct_cgroups(pid)
    everybody = _all_pids()
    if namespace == own and not cgroups:
        return tuple(_descendants(pid, everybody))
    found = []
    for other in everybody:
        theirs = _link(f"/proc/{other}/ns/pid")
        if theirs is None:
            continue
        if (theirs == namespace != own) or (
            cgroups and (theirs != own or namespace == own) and _within(other, cgroups)
        ):
            found.append(other)
    return tuple(found)


def _all_pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def _distinct_cgroups(pid: int) -> dict[str, str]:
    """Return those cgroups of a process, by hierarchy, that say it is in a container: not the root, and not ours."""
    ours = _cgroups("self")
    return {key: path for key, path in _cgroups(pid).items() if path != "/" and path != ours.get(key)}


def _cgroups(pid: int | str) -> dict[str, str]:
    lines = (_read(f"/proc/{pid}/cgroup", 1 << 16) or b"").decode("utf-8", "surrogateescape").splitlines()
    fields = (line.split(":", 2) for line in lines)
    return {field[0]: field[2] for field in fields if len(field) == 3}


def _within(pid: int, cgroups: dict[str, str]) -> bool:
    theirs = _cgroups(pid)
    return any(f"{theirs.get(key, '')}/".startswith(f"{path}/") for key, path in cgroups.items())


def _descendants(pid: int, everybody: list[int]) -> Iterator[int]:
    family = {pid}
    parents = {other: _parent(other) for other in everybody}
    for other in everybody:
        line = [other]
        while line[-1] not in family and (parent := parents.get(line[-1])) and parent not in line:
            line.append(parent)
        if line[-1] in family:
            family.update(line)
            yield other


def _parent(pid: int) -> int | None:
    # The name in brackets may hold anything, brackets too: fields count from the last one (proc_pid_stat(5)).
    fields = (_read(f"/proc/{pid}/stat", 4096) or b"").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else None


def _read_process(pid: int, ids: "IdMap", base: str) -> Process | None:
    program = read_program(pid, base)
    credentials = read_credentials(pid)
    if program is None or credentials is None:
        return None
    command = _read(f"/proc/{pid}/cmdline", _MAX_COMMAND) or b""
    arguments = [os.fsdecode(word) for word in command.rstrip(b"\0").split(b"\0")][:_MAX_ARGUMENTS]
    return Process(
        program=program,
        arguments=tuple(arguments),
        uid=ids.uid(credentials[0]),
        gid=ids.gid(credentials[1]),
        working_directory=PurePosixPath(_inside(_link(f"/proc/{pid}/cwd") or "/", base)),
        path_variables=_path_variables(pid),
    )


def read_program(pid: int, base: str = "/") -> str | None:
    """Return the path of a process's binary as its container has it; None for a process that is gone or the kernel's.

    `base` is what /proc shows as the root of the container's first process: another than `/` where it was not pivoted.
    """
    link = _link(f"/proc/{pid}/exe")
    if link is None:
        return None
    name = (_read(f"/proc/{pid}/comm", 64) or b"").removesuffix(b"\n")
    return called(_inside(link.removesuffix(DELETED), base), os.fsdecode(name), pid)


def called(program: str, name: str, pid: int) -> str:
    """Return the path by which process `pid` was started, where that is another name of its binary beside it.

    Programs share a binary that asks how it was called: BusyBox's, Debian's redis-server. `name` is the kernel's name
    of the process, which it takes from the path; what the program calls itself later names no file. A process that is
    gone is called as others of that name were that did not go so soon.
    """
    directory, _, own = program.rpartition("/")
    if name in ("", own) or "/" in name:
        return program
    root, other = f"/proc/{pid}/root", f"{directory}/{name}"
    try:
        status = os.lstat(root + other)  # what a link leads to is not followed: that would be on the host
        if stat.S_ISLNK(status.st_mode):
            same = os.readlink(root + other).rpartition("/")[2] == own
        else:
            same = os.path.samestat(status, os.lstat(root + program))
    except (OSError, ValueError):
        return _MET.get((program, name), program)
    if not same:
        return program
    if len(_MET) < _MOST_MET:
        _MET[program, name] = other
    return other


_MET: dict[tuple[str, str], str] = {}
"""Other names of binaries, by the binary and the process's name."""
_MOST_MET = 1000


def read_credentials(pid: int) -> tuple[int, int] | None:
    """Return the user and group, as the host counts them, by which a process makes files; None where it is gone."""
    status = _read(f"/proc/{pid}/status", 8192) or b""
    # Real, effective, saved and filesystem id (proc_pid_status(5)).
    uid = re.search(rb"^Uid:\t\d+\t\d+\t\d+\t(\d+)", status, re.MULTILINE)
    gid = re.search(rb"^Gid:\t\d+\t\d+\t\d+\t(\d+)", status, re.MULTILINE)
    return (int(uid[1]), int(gid[1])) if uid and gid else None


def _path_variables(pid: int) -> tuple[tuple[str, str], ...]:
    environment = _read(f"/proc/{pid}/environ", _MAX_ENVIRONMENT) or b""
    pairs = (os.fsdecode(item).partition("=") for item in environment.split(b"\0"))
    found = {
        name: value
        for name, _, value in pairs
        if value.startswith("/") and len(value) <= _MAX_PATH and ":" not in value and value.isprintable()
    }
    return tuple(sorted(found.items()))


# -- files ------------------------------------------------------------------------------------------------------------


def read_open_files(pid: int, layer: UpperLayer | None = None) -> tuple[Write, ...]:
    """Return the regular files that the container of `pid` holds open for writing, or runs code of that was written.

    A file that has no name any more, as of O_TMPFILE, stands as what came and went in its directory. Code counts where
    it is mapped executable from the upper layer or from a writable mount; `layer` is found by the mount table where it
    is not given. Sizes are those of now. Files on the kernel's own filesystems and of other mount namespaces are left
    out.
    """
    mounts = {mount.id: mount for mount in read_mounts(pid) if not is_pseudo(mount.path)}
    reader = _FileReader(mounts, layer or root_overlay(pid), IdMap.read(pid), _link(f"/proc/{pid}/root") or "/")
    found: list[Write] = []
    with reader:
        for member in members(pid):
            writer = reader.writer(member)
            found += reader.open_files(member, writer)
            found += reader.mapped_files(member, writer)
    return merge_writes(found)


class _FileReader:
    """Looks at the descriptors and mappings of processes of one container."""

    def __init__(self, mounts: dict[int, MountPoint], layer: UpperLayer | None, ids: IdMap, base: str) -> None:
        self._mounts = mounts
        self._ids = ids
        self._base = base
        self._upper = -1
        if layer is not None:
            with suppress(OSError):
                self._upper = os.open(layer.upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> "_FileReader":
        return self

    def __exit__(self, *_: object) -> None:
        if self._upper >= 0:
            os.close(self._upper)

    def writer(self, pid: int) -> Writer:
        credentials = read_credentials(pid)
        program = read_program(pid, self._base) or UNKNOWN_PROGRAM
        if credentials is None:
            return Writer(program=program)
        return Writer(program=program, uid=self._ids.uid(credentials[0]), gid=self._ids.gid(credentials[1]))

    def open_files(self, pid: int, writer: Writer) -> Iterator[Write]:
        """Yield what a process holds open for writing."""
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            return
        for name in names:
            link = _link(f"/proc/{pid}/fd/{name}")
            if link is None or not link.startswith("/") or not self._writable(pid, name):
                continue
            try:
                status = os.stat(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield _open_file(PurePosixPath(_inside(link, self._base)), status, writer)

    def _writable(self, pid: int, name: str) -> bool:
        info = _read(f"/proc/{pid}/fdinfo/{name}", 4096) or b""
        flags = re.search(rb"^flags:\s+([0-7]+)", info, re.MULTILINE)
        mount = re.search(rb"^mnt_id:\s+(\d+)", info, re.MULTILINE)
        if not flags or not mount or int(mount[1]) not in self._mounts:
            return False
        return int(flags[1], 8) & os.O_ACCMODE in (os.O_WRONLY, os.O_RDWR)

    def mapped_files(self, pid: int, writer: Writer) -> Iterator[Write]:
        """Yield the files whose code a process runs from a place that can be written."""
        paths: dict[str, None] = {}
        for line in (_read(f"/proc/{pid}/maps", _MAX_MAPS) or b"").splitlines():
            fields = line.split(None, 5)
            if len(fields) == 6 and fields[1][2:3] == b"x" and fields[5].startswith(b"/"):
                paths[os.fsdecode(fields[5].replace(b"\\012", b"\n"))] = None  # the one character that maps escapes
        for text in paths:
            if _MEMORY.fullmatch(text):
                continue
            path = PurePosixPath(_inside(text.removesuffix(DELETED), self._base))
            if self._can_be_written(path, deleted=text.endswith(DELETED)):
                yield _mapped_file(path, writer, deleted=text.endswith(DELETED))

    def _can_be_written(self, path: PurePosixPath, *, deleted: bool) -> bool:
        mount = mount_holding(self._mounts.values(), path)
        if mount is None or is_pseudo(path):
            return False
        if mount.path != ROOT:
            return not mount.read_only
        return self._upper >= 0 and (deleted or _is_file_below(self._upper, path))


def _open_file(path: PurePosixPath, status: os.stat_result, writer: Writer) -> Write:
    write = Write(
        path=path,
        change=Change.OPENED,
        type=EntryType.FILE,
        evidence=(Source.PROCESSES,),
        size=status.st_size,
        peak=status.st_size,
        mode=stat.S_IMODE(status.st_mode),
        writers=(writer,),
    )
    return write if status.st_nlink else _gone(write)


def _mapped_file(path: PurePosixPath, writer: Writer, *, deleted: bool) -> Write:
    # METADATA is the weakest change: that it is run says nothing of how it was written, other evidence does.
    write = Write(
        path=path,
        change=Change.METADATA,
        type=EntryType.FILE,
        evidence=(Source.PROCESSES,),
        executed=True,
        writers=(writer,),
    )
    return _gone(write) if deleted else write


def _gone(write: Write) -> Write:
    """Return a write of a file that has no name any more as one of its directory."""
    name = write.path.name.removesuffix(DELETED)
    return replace(
        write,
        path=write.path.parent,
        change=Change.CAME_AND_WENT,
        type=EntryType.DIRECTORY,
        names=(name,),
        mode=None,
        size=0,
    )


def _is_file_below(root: int, path: PurePosixPath) -> bool:
    try:
        directory = open_below(root, str(path.parent))
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.stat(path.name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False
    finally:
        os.close(directory)


# -- sockets ----------------------------------------------------------------------------------------------------------


def read_listeners(pid: int) -> tuple[tuple[str, str, int], ...]:
    """Return what the container of `pid` listens on, sorted: (`tcp`, address, port), (`udp`, ...) or (`unix`, path, 0).

    Only sockets that a process of the container holds count, also where it shares the host's network. UDP ports from
    the range of those that the kernel picks are a client's and left out.
    """
    held = {inode for member in members(pid) for inode in _socket_inodes(member)}
    if not held:
        return ()
    picked = range(*_picked_ports())
    found: set[tuple[str, str, int]] = set()
    for protocol, table, state in (
        ("tcp", "tcp", _TCP_LISTEN),
        ("tcp", "tcp6", _TCP_LISTEN),
        ("udp", "udp", _UDP_UNCONNECTED),
        ("udp", "udp6", _UDP_UNCONNECTED),
    ):
        for address, port, inode, is_state in _inet_sockets(pid, table):
            if inode in held and is_state == state and not (protocol == "udp" and port in picked):
                found.add((protocol, address, port))
    found.update(("unix", path, 0) for path, inode in _unix_listeners(pid) if inode in held)
    return tuple(sorted(found))


def _socket_inodes(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            link = _link(f"/proc/{pid}/fd/{name}") or ""
            if link.startswith("socket:["):
                yield link[8:-1]


def _inet_sockets(pid: int, table: str) -> Iterator[tuple[str, int, str, str]]:
    text = (_read(f"/proc/{pid}/net/{table}", 16 << 20) or b"").decode("ascii", "replace")
    for line in text.splitlines()[1:]:
        fields = line.split()
        with suppress(ValueError, IndexError, struct.error):
            host, _, port = fields[1].partition(":")
            yield _address(host), int(port, 16), fields[9], fields[3]


def _address(text: str) -> str:
    """Return an address that /proc/net shows as words of the machine's byte order."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)


def _unix_listeners(pid: int) -> Iterator[tuple[str, str]]:
    text = os.fsdecode(_read(f"/proc/{pid}/net/unix", 16 << 20) or b"")
    for line in text.splitlines()[1:]:
        fields = line.split(None, 7)
        with suppress(ValueError):
            if len(fields) == 8 and int(fields[3], 16) & _UNIX_ACCEPTS:
                yield fields[7], fields[6]


def _picked_ports() -> tuple[int, int]:
    bounds = (_read("/proc/sys/net/ipv4/ip_local_port_range", 64) or b"").split()
    return (int(bounds[0]), int(bounds[1]) + 1) if len(bounds) == 2 else (32768, 61000)


# -- /proc ------------------------------------------------------------------------------------------------------------


def _inside(path: str, base: str) -> str:
    """Return a path that /proc shows as the container has it, whose root shows as `base`."""
    if base != "/" and (path == base or path.startswith(f"{base}/")):
        return path[len(base) :] or "/"
    return path


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _read(path: str, limit: int) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:
            parts = []
            while limit > 0 and (part := file.read(min(limit, 1 << 16))):
                parts.append(part)
                limit -= len(part)
            return b"".join(parts)
    except OSError:
        return None

"""Who processes were, by the kernel's own record of starts: also those that were gone before anybody could look.

An event without samples on each processor (perf_event_open(2)) records forks and the binary that each exec maps first;
the process connector (linux/cn_proc.h) records changes of user and group. Both are buffers that fill by themselves and
are read only when a process is asked for that is gone: nobody waits, and nobody is woken up. Starting and ending the
smallest program takes one or two hundredths longer. (To have namespaces recorded as well would take five more.)
"""

import ctypes
import mmap
import os
import re
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from lithify.observe import kernel
from lithify.observe.processes import DELETED, called, read_credentials, read_program

_PAGE = mmap.PAGESIZE
_SIZE = max(1 << 19, 2 * _PAGE)
"""Bytes of each processor's buffer: some 400 starts. It is read when it is half full, too."""
_LARGEST = 1 << 13
"""Bytes that a record never reaches: the path in it has an end."""
_GONE_KEPT = 10_000

# linux/perf_event.h
_SOFTWARE, _DUMMY, _SAMPLE_TIME = 1, 9, 1 << 2
_FLAGS = sum(1 << bit for bit in (8, 9, 13, 14, 18, 23, 24, 25))
"""mmap, comm, task, watermark, sample_id_all, mmap2, comm_exec, use_clockid."""
_ATTRIBUTE = struct.Struct("=IIQQQQQI40xi")
_HEAD, _TAIL = 1024, 1032
"""Where the first page of a buffer says how far the kernel wrote, and how far we read."""
_RECORD = struct.Struct("=IHH")
_COMM, _EXIT, _FORK, _MMAP2 = 3, 4, 7, 10
_BY_EXEC = 1 << 13
_TASK = struct.Struct("=IIII")
_NAME_AT, _PATH_AT = 8, 64

# linux/netlink.h, linux/connector.h, linux/cn_proc.h
_NETLINK_CONNECTOR, _DONE, _PROC = 11, 3, 1
_LISTEN, _IGNORE = 1, 2
_ACK, _UID, _GID = 0x0, 0x4, 0x40
_REQUEST = struct.Struct("=IHHII IIIIHHI")
_EVENT = struct.Struct("=36xIIQIIII")
_SO_ATTACH_FILTER = 26


@dataclass(slots=True)
class Life:
    """What is known of one process; ids are the host's."""

    program: str | None = None
    """As its own root has it."""
    uid: int | None = None
    gid: int | None = None
    parent: int = 0
    since: float = 0.0
    """By the monotonic clock, when it became what it is; 0 where it was so before."""
    starting: str | None = None
    """What it is called since it called exec; the next thing it maps is its program."""


class Lineage:
    """Remembers every process that starts from now on. OSError where the kernel does not let us."""

    def __init__(self) -> None:
        self._lives: dict[int, Life] = {}
        self._gone: deque[tuple[int, Life]] = deque()
        self._buffers: list[_Buffer] = []
        self._changes: _Changes | None = None
        try:
            self._buffers += map(_Buffer, _processors())
        except OSError:
            self.close()
            raise
        self.descriptors = frozenset(buffer.descriptor for buffer in self._buffers)
        """They show in a poll once it is time to read."""
        with suppress(OSError):  # then users are not known
            self._changes = _Changes()

    def close(self) -> None:
        """Give everything back; what was read stays."""
        for buffer in self._buffers:
            buffer.close()
        self._buffers.clear()
        if self._changes is not None:
            self._changes.close()
            self._changes = None

    def register(self, poll: "select.poll") -> None:
        """Have `poll` wake up when there is so much to read that it may soon be lost."""
        for descriptor in self.descriptors:
            poll.register(descriptor, select.POLLIN)

    def of(self, pid: int) -> Life | None:
        """Return what is known of a process that started meanwhile; None of any other."""
        self.read()
        return self._lives.get(pid)

    def read(self) -> None:
        """Take in what was recorded since."""
        records = [record for buffer in self._buffers for record in buffer.read()]
        if self._changes is not None:
            records += self._changes.read()
            if self._changes.lost:
                self._changes.lost = False
                for life in self._lives.values():
                    life.uid = life.gid = None
        records.sort(key=lambda record: record[0])
        for when, kind, misc, body in records:
            self._take(when / 1e9, kind, misc, body)
        if any(buffer.ran_full for buffer in self._buffers):
            self._lives.clear()  # what is known may be of another process by now, or of another program of it
        while len(self._gone) > _GONE_KEPT:
            pid, life = self._gone.popleft()
            if self._lives.get(pid) is life:
                del self._lives[pid]

    def _take(self, when: float, kind: int, misc: int, body: bytes) -> None:
        pid, second, thread, _ = _TASK.unpack_from(body) if len(body) >= _TASK.size else (0, 0, 0, 0)
        if kind == _FORK:
            if pid != second:  # else a thread
                parent = self._life(second)
                ids = (parent.uid, parent.gid) if self._changes is not None else (None, None)
                self._lives[pid] = Life(parent.program, *ids, parent=second, since=when)
        elif kind == _EXIT:
            if pid == thread and pid in self._lives:
                self._gone.append((pid, self._lives[pid]))
        elif kind == _COMM:
            if misc & _BY_EXEC:
                life = self._life(pid)
                life.since, life.starting = when, os.fsdecode(body[_NAME_AT:].partition(b"\0")[0])
        elif kind == _MMAP2:
            mapping = self._lives.get(pid)
            if mapping is not None and mapping.starting is not None:
                program = os.fsdecode(body[_PATH_AT:].partition(b"\0")[0]).removesuffix(DELETED)
                mapping.program = called(program, mapping.starting, pid)
                mapping.starting = None
        elif kind in (-_UID, -_GID):
            _, group, _, effective = _TASK.unpack_from(body)
            life = self._life(group)
            life.since = when
            if kind == -_UID:
                life.uid = effective
            else:
                life.gid = effective

    def _life(self, pid: int) -> Life:
        """Return what is known of a process, by /proc where it started before we did."""
        life = self._lives.get(pid)
        if life is None:
            uid, gid = read_credentials(pid) or (None, None)
            life = self._lives[pid] = Life(read_program(pid), uid, gid)
        return life


_Recorded = tuple[int, int, int, bytes]
"""Nanoseconds of the monotonic clock, kind (negative for the connector's), flags, and what was recorded."""


def _processors() -> Iterator[int]:
    with open("/sys/devices/system/cpu/online", encoding="ascii") as file:
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", file.read()):
            yield from range(int(first), int(last or first) + 1)


class _Buffer:
    """What the kernel records of one processor."""

    def __init__(self, processor: int) -> None:
        attribute = _ATTRIBUTE.pack(
            _SOFTWARE, _ATTRIBUTE.size, _DUMMY, 0, _SAMPLE_TIME, 0, _FLAGS, _SIZE // 2, time.CLOCK_MONOTONIC
        )
        self.ran_full = False
        """There may have been no room for some of what was to be recorded before the last read."""
        self.descriptor = kernel.perf_event_open(attribute, processor)
        try:
            self._memory = mmap.mmap(self.descriptor, _PAGE + _SIZE)
        except BaseException:
            os.close(self.descriptor)
            raise

    def close(self) -> None:
        self._memory.close()
        os.close(self.descriptor)

    def read(self) -> Iterator[_Recorded]:
        head, tail = struct.unpack_from("=QQ", self._memory, _HEAD)
        start, end = tail % _SIZE, head % _SIZE
        self.ran_full = head - tail > _SIZE - _LARGEST
        if head == tail:
            return
        if start < end:
            data = self._memory[_PAGE + start : _PAGE + end]
        else:
            data = self._memory[_PAGE + start :] + self._memory[_PAGE : _PAGE + end]
        struct.pack_into("=Q", self._memory, _TAIL, head)
        at = 0
        while at < len(data):
            kind, misc, size = _RECORD.unpack_from(data, at)
            at += size
            yield int.from_bytes(data[at - 8 : at], sys.byteorder), kind, misc, data[at - size + _RECORD.size : at - 8]


class _Changes:
    """Changes of user and group, as the process connector tells them."""

    def __init__(self) -> None:
        self.lost = False
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, _NETLINK_CONNECTOR)
        try:
            self._let_in(_ACK, _UID, _GID)
            self._socket.bind((0, _PROC))
            self._ask(_LISTEN)
            while (told := _EVENT.unpack_from(self._socket.recv(4096)))[0] != _ACK:
                pass  # somebody else listens as well, and was told of something just now
            if told[3]:
                raise PermissionError
        except (OSError, struct.error) as error:
            self._socket.close()
            raise OSError("the process connector does not answer") from error

    def close(self) -> None:
        with suppress(OSError):
            self._ask(_IGNORE)
        self._socket.close()

    def read(self) -> Iterator[_Recorded]:
        while True:
            try:
                message = self._socket.recv(4096)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: there were more than the socket holds
                self.lost = True
                continue
            what, _, when, *_ = _EVENT.unpack_from(message)
            if what != _ACK:
                yield when, -what, 0, message[52:]

    def _ask(self, operation: int) -> None:
        size = _REQUEST.size
        self._socket.send(_REQUEST.pack(size, _DONE, 0, 0, 0, _PROC, _PROC, 0, 0, 4, 0, operation))

    def _let_in(self, *kinds: int) -> None:
        """Have the kernel drop all other kinds of event: a filter of the classic packet filter's instructions."""
        load, is_equal, give = 0x20, 0x15, 0x06
        program = [(load, 0, 0, 36)]
        program += [(is_equal, len(kinds) - index, 0, socket.htonl(kind)) for index, kind in enumerate(kinds)]
        program += [(give, 0, 0, 0), (give, 0, 0, 0xFFFFFFFF)]
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
        pointer = struct.pack("@HP", len(program), ctypes.addressof(code))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)

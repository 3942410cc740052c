"""Spreads work on many inputs over forked children, and keeps what they return in files without a name.

`fork` and a queue of numbers in a pipe: nothing is pickled, nothing is copied, and whoever is free takes the next few.
"""

import os
import signal
import struct
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Entry = TypeVar("Entry")
Record = tuple[bytes, bytes]

_FLUSH = 1 << 20
_TOKEN = struct.Struct("=I")
_TOKENS = 16_000
"""That many numbers fit into a pipe before anybody reads."""


class Spool:
    """Records in an unnamed file, and where each of them is: input, offset, bytes of the key, bytes of the result."""

    def __init__(self) -> None:
        self.descriptor, path = tempfile.mkstemp(prefix="lithify-")
        os.unlink(path)
        self.index = array("Q")
        self._pending: list[bytes] = []
        self._length = 0
        self._size = 0

    def __del__(self) -> None:
        os.close(self.descriptor)  # the report reads it as often as it is iterated: its end is ours

    def add(self, number: int, record: Record) -> None:
        """Keep the record of one input."""
        key, blob = record
        self.index.extend((number, self._size, len(key), len(blob)))
        self._pending += (key, blob)
        self._size += len(key) + len(blob)
        self._length += len(key) + len(blob)
        if self._length > _FLUSH:
            self.flush()

    def records(self) -> Iterator[Record]:
        """Yield what was added, in that order, as often as it is called."""
        self.flush()
        for start in range(0, len(self.index), 4):
            yield _read(self, *self.index[start + 1 : start + 4])

    def flush(self) -> None:
        _write(self.descriptor, b"".join(self._pending))
        self._pending.clear()
        self._length = 0

    def finish(self) -> None:
        """Write everything, the index and its length at the end: for the parent to find."""
        self.flush()
        index = self.index.tobytes()
        _write(self.descriptor, index + struct.pack("=Q", len(index)))

    def take_index(self) -> bool:
        """Read the index that a child has left; False where it left none."""
        size = os.fstat(self.descriptor).st_size
        if size < 8:
            return False
        (length,) = struct.unpack("=Q", os.pread(self.descriptor, 8, size - 8))
        self.index = array("Q")
        self.index.frombytes(os.pread(self.descriptor, length, size - 8 - length))
        return True


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def spread(
    inputs: Sequence[Entry],
    work: Callable[[Entry], Record],
    count: int,
    died: Callable[[Entry], Record],
) -> Callable[[], Iterator[Record]]:
    """Put `work` to every input on `count` processes; return what yields the records in the order of the inputs.

    An input whose process dies is tried once more, alone in a process of its own; if that dies too, its record is what
    `died` says.
    """
    size = max(8, -(-len(inputs) // _TOKENS))
    reader, writer = os.pipe()
    for token in range(-(-len(inputs) // size)):
        os.write(writer, _TOKEN.pack(token))
    os.close(writer)
    spools = [Spool() for _ in range(max(count, 1))]
    children: list[int] = []
    try:
        children += [_fork(spool, reader, inputs, work, size) for spool in spools[1:]]
        _work(spools[0], reader, inputs, work, size)
        spools[0].flush()
        whole = [_ended_well(children.pop()) for _ in spools[1:]][::-1]
    finally:
        os.close(reader)
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    spools[1:] = [spool for spool, well in zip(spools[1:], whole, strict=True) if well and spool.take_index()]
    places = _places(spools, len(inputs))
    for number, (spool, *_) in enumerate(places):
        if spool < 0:
            spools.append(_alone(inputs[number], work, died))
            places[number] = (len(spools) - 1, 0, spools[-1].index[2], spools[-1].index[3])
    return lambda: (_read(spools[spool], *place) for spool, *place in places)


def _places(spools: list[Spool], count: int) -> list[tuple[int, int, int, int]]:
    places = [(-1, 0, 0, 0)] * count
    for which, spool in enumerate(spools):
        numbers = iter(spool.index)
        for number, offset, key, blob in zip(numbers, numbers, numbers, numbers, strict=True):
            places[number] = (which, offset, key, blob)
    return places


def _read(spool: Spool, offset: int, key: int, blob: int) -> Record:
    data = os.pread(spool.descriptor, key + blob, offset)
    return data[:key], data[key:]


def _work(spool: Spool, reader: int, inputs: Sequence[Entry], work: Callable[[Entry], Record], size: int) -> None:
    while token := os.read(reader, _TOKEN.size):
        start = _TOKEN.unpack(token)[0] * size
        for number in range(start, min(start + size, len(inputs))):
            spool.add(number, work(inputs[number]))


def _fork(spool: Spool, reader: int, inputs: Sequence[Entry], work: Callable[[Entry], Record], size: int) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _work(spool, reader, inputs, work, size)
            spool.finish()
            code = 0
        finally:
            os._exit(code)  # never into the caller's frames, nor its buffers
    return child


def _ended_well(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _alone(entry: Entry, work: Callable[[Entry], Record], died: Callable[[Entry], Record]) -> Spool:
    spool = Spool()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            spool.add(0, work(entry))
            spool.finish()
            code = 0
        finally:
            os._exit(code)
    if _ended_well(child) and spool.take_index():
        return spool
    spool = Spool()
    spool.add(0, died(entry))
    spool.flush()
    return spool

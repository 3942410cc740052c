"""Spreads work on many inputs over forked children, and keeps what they return in files without a name.

`fork` and a queue of numbers in a pipe: nothing is pickled, nothing is copied, and whoever is free takes the next few.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence

from lithify.pipeline.audit.spool import Parts, Spool

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from typing import TypeVar

    Entry = TypeVar("Entry")
    Work = Callable[[Entry, Spool], bytes]
    """Keeps the parts of an input's result, and returns the key of the whole."""

_TOKEN = struct.Struct("=I")
_SIGKILL = 9  # `signal` makes enumerations of all of them at import
_TOKENS = 16_000
"""That many numbers fit into a pipe before anybody reads."""


class Results:
    """What came of the inputs, in their order, as often as it is iterated."""

    def __init__(self, spools: Iterable[Spool], count: int) -> None:
        self.notes: list[bytes] = []
        """What inputs say of others, in no order."""
        self._spools: list[Spool] = []
        self._places = array("i", (-1, 0)) * count
        for spool in spools:
            self.take(spool)

    def take(self, spool: Spool) -> None:
        """Add the results that a spool has."""
        for which in range(len(spool)):
            number = spool.number(which)
            self._places[2 * number] = len(self._spools)
            self._places[2 * number + 1] = which
        self._spools.append(spool)
        self.notes += spool.notes

    def missing(self) -> list[int]:
        """Return the numbers of the inputs that nobody has brought to an end."""
        return [number for number in range(len(self._places) // 2) if self._places[2 * number] < 0]

    def __iter__(self) -> Iterator[Iterator[bytes]]:
        """Yield the parts of each result."""
        for spool, which in self._each():
            parts, begin, size = spool.stretch(which)
            yield parts.parts(begin, size)

    def stretches(self) -> Iterator[tuple[bytes, Parts, int, int]]:
        """Yield the key of each result, the file that has it, where it begins and how many bytes it has."""
        return ((spool.key(which), *spool.stretch(which)) for spool, which in self._each())

    @property
    def fresh(self) -> bool:
        """True where one may be kept for another run and is not yet."""
        return any(spool.is_fresh(which) for spool in self._spools for which in range(len(spool)))

    def _each(self) -> Iterator[tuple[Spool, int]]:
        places = iter(self._places)
        return ((self._spools[spool], which) for spool, which in zip(places, places, strict=True))


def spread(
    inputs: Sequence[Entry],
    work: Work[Entry],
    count: int,
    died: Work[Entry],
    elsewhere: Parts | None = None,
) -> Results:
    """Put `work` to every input on `count` processes; results may say that `elsewhere` has their parts already.

    An input whose process dies is tried once more, alone in a process of its own; if that dies too, its result is what
    `died` says.
    """
    spools = [Spool(elsewhere) for _ in range(max(count, 1))]
    if count < 2:
        for number, entry in enumerate(inputs):
            spools[0].end(number, work(entry, spools[0]))
        return Results(spools, len(inputs))
    size = max(8, -(-len(inputs) // _TOKENS))
    reader, writer = os.pipe()
    for token in range(-(-len(inputs) // size)):
        os.write(writer, _TOKEN.pack(token))
    os.close(writer)
    children: list[int] = []
    try:
        children += [_fork(spool, lambda own: _work(own, reader, inputs, work, size)) for spool in spools[1:]]
        _work(spools[0], reader, inputs, work, size)
        whole = [_ended_well(children.pop()) for _ in spools[1:]][::-1]
    finally:
        os.close(reader)
        for child in children:
            os.kill(child, _SIGKILL)
            os.waitpid(child, 0)
    kept = [spool for spool, well in zip(spools[1:], whole, strict=True) if well and spool.take_index()]
    results = Results([spools[0], *kept], len(inputs))
    again = Spool(elsewhere)
    for number in results.missing():
        spool = Spool(elsewhere)
        if _alone(spool, number, inputs[number], work):
            again.copy(spool)  # and its file is closed: there may be more inputs than files that may be open
        else:
            again.end(number, died(inputs[number], again))
    results.take(again)
    return results


def _work(spool: Spool, reader: int, inputs: Sequence[Entry], work: Work[Entry], size: int) -> None:
    while token := os.read(reader, _TOKEN.size):
        start = _TOKEN.unpack(token)[0] * size
        for number in range(start, min(start + size, len(inputs))):
            spool.end(number, work(inputs[number], spool))


def _fork(spool: Spool, work: Callable[[Spool], None]) -> int:
    spool.open()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(spool)
            spool.finish()
            code = 0
        finally:
            os._exit(code)  # never into the caller's frames, nor its buffers
    return child


def _ended_well(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _alone(spool: Spool, number: int, entry: Entry, work: Work[Entry]) -> bool:
    child = _fork(spool, lambda own: own.end(number, work(entry, own)))
    return _ended_well(child) and spool.take_index()

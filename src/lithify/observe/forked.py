"""Shares work between forked processes; threads would wait for each other, as this is Python's own work."""

import os
import pickle
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from lithify.observe import kernel

_Result = TypeVar("_Result")
_INDEX = struct.Struct("=I")
_TOKENS = 1000


def usable(processes: int | None) -> int:
    """Return how many processes may share work: `processes`, or up to two where None; one where there are threads."""
    if threading.active_count() > 1:
        return 1
    return processes if processes is not None else min(len(os.sched_getaffinity(0)), 2)


def share(work: Callable[[Iterator[int]], _Result], count: int, workers: int) -> list[_Result]:
    """Have `workers` processes, this one among them, take the numbers below `count` one by one; return their results.

    `work` runs once in each process, over those numbers that this process came first to. Children die with their
    parent, are killed on any error here, and are always reaped. Where a child fails, all is done again here.
    """
    # A pipe hands each token to one reader only; all tokens must fit its buffer, which can be as small as a page.
    step = max(1, -(-count // _TOKENS))
    queue, fill = os.pipe()
    children: list[tuple[int, int]] = []
    try:
        with open(fill, "wb") as stream:
            stream.writelines(_INDEX.pack(start) for start in range(0, count, step))
        while len(children) < workers - 1:
            children.append(_fork(work, _numbers(queue, count, step)))
        results = [work(_numbers(queue, count, step))]
        for _, reader in children:
            answer: _Result | None = _receive(reader)
            if answer is None:
                return [work(iter(range(count)))]
            results.append(answer)
        return results
    finally:
        os.close(queue)
        for pid, reader in children:
            os.close(reader)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _numbers(queue: int, count: int, step: int) -> Iterator[int]:
    while token := os.read(queue, _INDEX.size):
        (start,) = _INDEX.unpack(token)
        yield from range(start, min(start + step, count))


def _fork(work: Callable[[Iterator[int]], _Result], numbers: Iterator[int]) -> tuple[int, int]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    code = 1
    try:
        kernel.die_with_parent()
        os.close(reader)
        with open(writer, "wb") as stream:
            pickle.dump(work(numbers), stream, pickle.HIGHEST_PROTOCOL)
        code = 0
    finally:
        # Nothing of the parent's may run here: no handlers, no flushing of its buffers.
        os._exit(code)


def _receive(reader: int) -> _Result | None:
    """Return what a child sent; None where it failed on the way."""
    parts = []
    while part := os.read(reader, 1 << 20):
        parts.append(part)
    try:
        result: _Result = pickle.loads(b"".join(parts))  # noqa: S301 - from a process and over a pipe of our own
    except (pickle.UnpicklingError, EOFError):
        return None
    return result

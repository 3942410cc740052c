"""`lithify answer`: what lithify elsewhere asks of this host, by its pods on nodes; nothing for a person."""

import argparse
import os
import sys
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from threading import Thread


def configure(parser: argparse.ArgumentParser) -> None:
    """Add nothing: what is asked comes on standard input."""


def run(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - every command's
    """Answer on standard output until standard input ends."""
    from lithify.pipeline.questions import answer

    answer(_questions(), sys.stdout.buffer)
    return 0


def _questions() -> Iterator[bytes]:
    """Yield the lines of standard input; with it ends this process, for nobody waits for an answer any more.

    So it does where it hears nothing for long, not even the empty lines that are signs of life: who asked may be gone
    without a word.
    """
    from lithify.engines.host import QUIET
    from lithify.pipeline.questions import LIMIT

    lines: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        while line := sys.stdin.buffer.readline(LIMIT):
            lines.put(line)
        os._exit(0)

    Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=QUIET)
        except Empty:
            os._exit(0)
        if line.strip():
            yield line

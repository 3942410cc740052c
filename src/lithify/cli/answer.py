"""`lithify answer`: what lithify elsewhere asks of this host, by its pods on nodes; nothing for a person."""

import argparse
import sys


def configure(parser: argparse.ArgumentParser) -> None:
    """Add nothing: what is asked comes on standard input."""


def run(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - every command's
    """Answer on standard output until standard input ends."""
    from lithify.pipeline.questions import answer

    answer(sys.stdin.buffer, sys.stdout.buffer)
    return 0

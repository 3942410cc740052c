"""Puts results where they were asked for: standard output or a file, which is replaced whole or not at all."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from lithify.errors import OutputFailed, UsageError


def pairs(arguments: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """Return (format, file) for each pair of --format and --output; UsageError where they don't pair up."""
    formats = arguments.format or ["text"]
    outputs = arguments.output or ["-"] * min(len(formats), 1)
    if len(formats) != len(outputs):
        raise UsageError(
            f"{len(formats)} times --format, {len(outputs)} times --output", hint="give each format its own --output"
        )
    return tuple(zip(formats, outputs, strict=True))


def write_results(arguments: argparse.Namespace, renderers: Mapping[str, Callable[[bool], str]]) -> None:
    """Render each format that was asked for, with or without colour, and write it to its place."""
    from lithify.cli.console import wants_color

    for format_, output in pairs(arguments):
        if output == "-":
            color = wants_color(arguments.color or "auto", terminal=sys.stdout.isatty())
            sys.stdout.buffer.write(renderers[format_](color).encode("utf-8", "surrogateescape"))
            sys.stdout.flush()
        else:
            write_file(Path(output), renderers[format_](False).encode("utf-8", "surrogateescape"))


def write_file(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step; OutputFailed, and nothing changed, where that can't be done."""
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write; at the end it takes the place of `path`; with an error nothing changes (OutputFailed)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise OutputFailed(
            f"{path}: {error.strerror}", hint="is there room, and may you write there? The old file is unchanged"
        ) from error

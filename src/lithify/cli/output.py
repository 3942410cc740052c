"""Puts results where they were asked for: standard output or a file, which is replaced whole or not at all."""

import argparse
import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from lithify.cli.pairs import failed, pairs
from lithify.errors import OutputFailed


def write_results(arguments: argparse.Namespace, renderers: Mapping[str, Callable[[bool], str]]) -> None:
    """Render each format that was asked for, with or without colour, and write it to its place.

    What fails is told after the rest was written; OutputFailed then says where the result was put instead.
    """
    failures: list[OutputFailed] = []
    for format_, output in pairs(arguments):
        try:
            if output == "-":
                _write_to_standard_output(renderers[format_], arguments.color or "auto")
            else:
                _write_or_rescue(Path(output), renderers[format_](False).encode("utf-8", "surrogateescape"))
        except OutputFailed as failure:
            failures.append(failure)
    if failures:
        raise failures[0]


def _write_to_standard_output(renderer: Callable[[bool], str], choice: str) -> None:
    from lithify.cli.color import wants_color
    from lithify.cli.stdout import standard_output

    with standard_output() as stream:
        stream.write(renderer(wants_color(choice, terminal=stream.isatty())).encode("utf-8", "surrogateescape"))


def _write_or_rescue(path: Path, data: bytes) -> None:
    """Write a file; where that fails put the result, which may have taken long, where temporary files go."""
    try:
        write_file(path, data)
    except OutputFailed as failure:
        with contextlib.suppress(OSError):
            descriptor, rescue = tempfile.mkstemp(prefix="lithify-", suffix=path.suffix)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            failure.hint += f"; the result is in {rescue}"
        raise


def write_file(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step; OutputFailed, and nothing changed, where that can't be done."""
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write; at the end it takes the place of `path`; with an error nothing changes (OutputFailed).

    A link stays, and what it points at is replaced; a device or pipe is written to.
    """
    try:
        status = path.stat() if path.exists() else None
        if status is not None and not stat.S_ISREG(status.st_mode):
            with path.open("wb") as file:
                yield file
            return
        target = Path(os.path.realpath(path))
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if status is not None:
                    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise failed(str(path), error.errno or errno.EIO) from error

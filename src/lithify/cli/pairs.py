"""Pairs each --format with its --output; by itself, since an audit of one file has no time for what files take."""

from __future__ import annotations

import errno
import os

from lithify.errors import OutputFailed, UsageError
from lithify.model.text import printable

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    import argparse

_REMEDIES = {
    errno.ENOENT: "make its folder first",
    errno.EISDIR: "name a file in it",
    errno.EACCES: "name a place that you may write to",
}


def pairs(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """Return (format, file) for each pair of --format and --output; UsageError where they don't pair up.

    OutputFailed where no file could be made at a place, so that it is told before the work and not after it.
    """
    formats = arguments.format or ["text"]
    outputs = arguments.output or ["-"]
    if len(formats) != len(outputs):
        told = f"{len(formats)} times --format, {len(arguments.output or ())} times --output"
        raise UsageError(told, hint="give each format its own --output")
    for index, output in enumerate(outputs):
        if output != "-":
            insist_on_place(output)
            if output in outputs[:index] and not _is_special(output):
                raise UsageError(f"{printable(output)}: two formats can't be one file", hint="name another for each")
    return list(zip(formats, outputs, strict=True))


def insist_on_place(path: str) -> None:
    """Raise OutputFailed where no file could be made at `path`, nor a device or pipe there be written to."""
    if os.path.isdir(path):
        raise failed(path, errno.EISDIR)
    needed = path if _is_special(path) else os.path.dirname(os.path.realpath(path))
    if not os.path.exists(needed):
        raise failed(path, errno.ENOENT)
    if not os.access(needed, os.W_OK):
        raise failed(path, errno.EACCES)


def _is_special(path: str) -> bool:
    return os.path.exists(path) and not os.path.isfile(path)


def failed(path: str, number: int) -> OutputFailed:
    """Return the error for a place where writing ended with this errno."""
    remedy = _REMEDIES.get(number, "is there room, and may you write there?")
    return OutputFailed(f"{printable(path)}: {os.strerror(number)}", hint=f"{remedy}; an old file there is unchanged")

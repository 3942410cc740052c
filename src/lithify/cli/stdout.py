"""Standard output, as a place for results: by itself, since an audit of one file has no time for what files take."""

from __future__ import annotations

import contextlib
import sys

from lithify.errors import OutputFailed

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO


@contextlib.contextmanager
def standard_output() -> Iterator[IO[bytes]]:
    """Give standard output to write bytes to; OutputFailed where that can't be done, but for a reader that has gone."""
    if sys.stdout is None:
        raise OutputFailed("standard output: it is closed", hint="name a file with --output")
    try:
        yield sys.stdout.buffer
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None:
            raise  # of a file that was read meanwhile
        sys.stdout = None  # or the interpreter would try again when it ends
        raise OutputFailed(f"standard output: {error.strerror}", hint="name a file with --output") from error


def write_text(text: str) -> None:
    """Write text to standard output; OutputFailed where that can't be done."""
    with standard_output() as stream:
        stream.write(text.encode("utf-8", "surrogateescape"))

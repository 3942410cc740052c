"""kubectl's own reader, as a program beside the tests: what a file means, by somebody else's word."""

import atexit
import json
import subprocess
from functools import lru_cache
from typing import Any

from tests.unit.patch.programs import present


@lru_cache(maxsize=1)
def _reader() -> "subprocess.Popen[bytes] | None":
    found = present("yaml2json")
    if not found:
        return None
    reader = subprocess.Popen(found, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    atexit.register(reader.communicate)  # what is left open would be told after the closing line of the run
    return reader


def read(text: bytes) -> list[Any] | None:
    """Return the documents of a file; None where kubectl refuses it, or where its reader was not built."""
    reader = _reader()
    if reader is None or b"\0" in text:
        return None
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write(text + b"\0")
    reader.stdin.flush()
    found = json.loads(reader.stdout.readline())
    return found if isinstance(found, list) else None

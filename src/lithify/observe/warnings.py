"""Finds the lines of a log that complain, in a form in which two runs can be compared."""

import re
from collections.abc import Iterator

from lithify.model.path import printable

_LINE = 2000
"""Bytes of a line that are looked at: what is worth comparing stands at its beginning."""
_LEVEL = re.compile(
    rb"\b(?:warn(?:ing)?|err(?:or)?|crit(?:ical)?|alert|emerg(?:ency)?|fatal|panic|severe|exception|traceback|"
    rb"fail(?:ed|ure)?|denied|can(?:no|')t|unable|refused|aborted|segfault)\b",
    re.IGNORECASE,
)
_ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]")
# What differs between two runs of the same thing: numbers, hexadecimal ids, and the addresses made of them.
_VARIES = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+(?:[.:,/-]\d+)*", re.IGNORECASE)


def warning_lines(log: bytes) -> frozenset[str]:
    """Return the lines of level WARN or worse, each once, with times, numbers and ids replaced by `#`."""
    return frozenset(normalised(line.decode("utf-8", "surrogateescape")) for line in complaints(log))


def complaints(log: bytes) -> Iterator[bytes]:
    """Yield the lines that name a level of WARN or worse, or a failure, cut at a bounded length."""
    for line in log.splitlines():
        line = _ESCAPE.sub(b"", line[:_LINE])
        if _LEVEL.search(line):
            yield line


def normalised(line: str) -> str:
    """Return a line without what differs between two runs of the same thing: times, numbers and ids become `#`."""
    return printable(_VARIES.sub("#", line).strip())[:300]

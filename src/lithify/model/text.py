"""Text that is fit to be shown. Imports nothing: it stands on the way of every command."""

COLORS = ("auto", "always", "never")
"""When to colour what a terminal shows."""
THRESHOLDS = ("info", "low", "medium", "high", "critical", "never")
"""Severities from which findings are an exit code."""
UTF_16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
"""Encodings by the byte order mark that a file of theirs begins with."""


def printable(text: object) -> str:
    """Return `text` with control characters, line ends and undecodable bytes escaped, fit for a terminal."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else _escaped(c) for c in shown)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 line`, `2,310 lines`, `2 entries`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python keeps a byte that is no UTF-8 (PEP 383)
        return f"\\x{ord(character) & 0xFF:02x}"
    return character.encode("unicode_escape").decode()


def as_utf8(data: bytes) -> bytes:
    """Return text that says of itself that it is UTF-16 as UTF-8: kubectl reads it, and PowerShell's `>` writes it."""
    return data.decode("utf-16", "replace").encode() if data[:2] in UTF_16 else data

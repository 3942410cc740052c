"""Text that is fit to be shown. Imports nothing: it stands on the way of every command."""

COLORS = ("auto", "always", "never")
"""When to colour what a terminal shows."""


def printable(text: object) -> str:
    """Return `text` with control characters, line ends and undecodable bytes escaped, fit for a terminal."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)

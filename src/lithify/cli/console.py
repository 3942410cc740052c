"""Knows the terminal: colour, width, progress and how an error looks."""

import shutil
import sys
import time
import traceback
from collections.abc import Callable

from lithify.cli.color import wants_color
from lithify.errors import LithifyError
from lithify.model.path import printable

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def painter(color: bool) -> Callable[[str, str], str]:
    """Return a function (style, text) that paints text in `bold`, `dim`, `red`, ..., or leaves it as it is."""
    if not color:
        return lambda _style, text: text
    return lambda style, text: f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def width() -> int:
    """Return the columns to write for: the terminal's, at most 100; 80 where there is none."""
    return min(shutil.get_terminal_size((80, 24)).columns, 100)


class Progress:
    """Tells on a terminal what is being done, one line at a time; says nothing elsewhere."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._begun = time.monotonic()

    def __call__(self, text: str) -> None:
        if self._shown:
            print(f"{time.monotonic() - self._begun:6.1f} s  {printable(text)}", file=sys.stderr, flush=True)


def show_error(error: BaseException | None, *, debug: bool, color: str = "auto") -> None:
    """Show an error once, on stderr: what, then what to do, then its page; None stands for an interrupt."""
    if error is None:
        _say("interrupted: what was started has been removed")
        return
    if debug:
        traceback.print_exception(error)
    paint = painter(wants_color(color, terminal=sys.stderr.isatty()))
    if isinstance(error, LithifyError):
        _say(f"{paint('red', 'error')}: {_lines(str(error))}")
        if error.hint:
            _say(f"hint: {_lines(error.hint)}")
        _say(f"page: lithify help {error.page}")
        return
    _say(f"{paint('red', 'error')}: a bug in lithify: {type(error).__name__}: {_lines(str(error))}")
    _say("hint: run again with --debug and report what it prints")
    _say("page: lithify help internal-error")


def _lines(text: str) -> str:
    return "\n  ".join(printable(line) for line in text.splitlines())


def _say(text: str) -> None:
    print(text, file=sys.stderr)

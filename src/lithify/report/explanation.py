"""Writes what a log says about failed writes, for a person to read."""

import textwrap
from collections.abc import Callable, Iterator

from lithify.model.log import Explanation, LogCause, LogError
from lithify.model.path import printable
from lithify.model.text import counted

Paint = Callable[[str, str], str]

_QUOTED = 2
"""Lines of the log's own line that are shown."""


def render_explanation(explanation: Explanation, *, paint: Paint, width: int = 80) -> str:
    """Return the page of `lithify explain`."""
    read = counted(explanation.lines, "line")
    source = f" of {printable(explanation.source)}" if explanation.source else ""
    if not explanation.causes:
        said = "none of them reports a failed write" if explanation.lines else "there is nothing to explain"
        return _wrap(f"{read}{source}: {said}", width)
    known = [cause for cause in explanation.causes if cause.first.error is not LogError.DISGUISE]
    hints = [cause for cause in explanation.causes if cause.first.error is LogError.DISGUISE]
    reports = f"{counted(explanation.events, 'report')} of a failed write"
    parts = [_wrap(f"{reports} in {read}{source}", width)]
    number = 0
    for number, cause in enumerate(known, 1):
        parts.append("\n" + _cause(number, cause, paint, width))
    if hints:
        parts.append(f"\n{paint('bold', 'Hints')}: lines that name no such error and often follow from one\n")
        parts += ["\n" + _cause(index, cause, paint, width) for index, cause in enumerate(hints, number + 1)]
    if explanation.omitted:
        parts.append(f"\n{explanation.omitted:,} more reports name other places; they are not listed.\n")
    return "".join(parts)


def _cause(number: int, cause: LogCause, paint: Paint, width: int) -> str:
    event = cause.first
    place = printable(cause.place) if cause.place else "(no path told)"
    by = f" ({printable(event.program)})" if event.program else ""
    at = f" in {printable(event.container)}" if event.container else ""
    what = "hint" if event.error is LogError.DISGUISE else event.error
    head = f"{number}. {paint('bold', place)}  {what}{by}{at}{_doubt(cause)}\n"
    indent = " " * len(f"{number}. ")
    lines = [
        _wrap(event.cause, width, indent),
        _wrap(f"{paint('green', 'Remedy:')} {event.remedy}", width, indent),
        *(_wrap(note, width, indent) for note in _notes(cause)),
    ]
    quoted = textwrap.wrap(
        event.raw.strip(), width, initial_indent=f"{indent}> ", subsequent_indent=f"{indent}  ",
        max_lines=_QUOTED, placeholder=" ...", break_on_hyphens=False,
    )  # fmt: skip
    return head + "".join(lines) + "".join(f"{paint('dim', line)}\n" for line in quoted)


def _doubt(cause: LogCause) -> str:
    event = cause.first
    if event.path is None:
        return ""
    return "" if event.confidence >= 0.6 else ", a guess" if event.confidence < 0.4 else ", uncertain"


def _notes(cause: LogCause) -> Iterator[str]:
    line = f"Line {cause.first.line:,}"
    yield line if cause.count == 1 else f"{line}, {cause.count:,} times, last in line {cause.last_line:,}"
    if cause.names:
        yield f"Temporary names: {', '.join(cause.names)}"


def _wrap(text: str, width: int, indent: str = "") -> str:
    wrapped = textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=True
    )
    return "\n".join(wrapped) + "\n"

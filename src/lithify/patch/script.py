"""Mount plans written into the `docker run` and `podman run` lines of shell scripts.

A plan goes to the run line that its route names by index. Options are added before the image, one a line where the
script has it so. What has to exist first (a volume with an owner) is made by lines before the command, and only where
it is not there yet: what a volume holds is never written over by a second run.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace

from lithify.documents.shell import Script, Word
from lithify.engines.command_line.runline import Option, RunLine, parse_run_line
from lithify.errors import LithifyError
from lithify.model.patch import Change, Patched, Planned, Refused
from lithify.patch.line import (
    LineChange,
    LineOptions,
    change_line,
    named_volumes,
    setup_script,
    without_redirects_of_the_image,
)
from lithify.patch.script_line import ScriptLine, read_lines

_Edit = tuple[int, int, str]
"""Where it begins and ends in the text, and what stands there then."""


def patch(data: bytes, planned: Sequence[Planned], options: LineOptions | None = None) -> Patched:
    """Return the script `data` with each plan in its run line; what only a running shell knows is refused."""
    result = Patched(text=data)
    # From the last on, so that lines are called by the numbers that they have in the script as it was.
    for one in sorted(planned, key=_index, reverse=True):
        result = _patch_one(result, one, options or LineOptions())
    order = [one.container for one in planned]
    return replace(
        result,
        changes=tuple(sorted(result.changes, key=lambda change: change.route)),
        refused=tuple(sorted(result.refused, key=lambda refused: order.index(refused.container))),
        notes=tuple(dict.fromkeys(result.notes)),
    )


def _index(planned: Planned) -> int:
    return int(planned.route[0]) if planned.route else 0


def _patch_one(result: Patched, planned: Planned, options: LineOptions) -> Patched:
    script, lines = read_lines(result.text)
    found = next((line for line in lines if line.index == _index(planned)), None)
    if found is None:
        return _refused(result, planned, "the script has no such run line")
    if found.line is None:
        remedy = "write the options out in the line, or harden it by itself: lithify harden -- docker run ..."
        return _refused(result, planned, f"line {found.number} can't be told: {found.trouble}", remedy=remedy)
    try:
        change = change_line(found.line, without_redirects_of_the_image(planned), options)
        trouble = _trouble(script, found, found.line, change)
        edits = _edits(script, found, found.line, change) if not trouble else []
        trouble = trouble or _elsewhere(script.text, found, edits)
        text = _apply(script.text, edits) if not trouble else ""
    except LithifyError as error:
        return _refused(result, planned, str(error))
    if not trouble:
        trouble = _check(text, found, change)
    if trouble:
        return _refused(result, planned, trouble, by_hand=_by_hand(change))
    changes = tuple(
        Change(container=planned.container, document=0, route=planned.route, text=f"adds {shlex.join(option.words)}")
        for option in change.added
    )
    return replace(
        result,
        text=text.encode("utf-8", "surrogateescape"),
        changes=(*result.changes, *changes),
        notes=(*result.notes, *(change.notes if changes else ())),
    )


def _refused(result: Patched, planned: Planned, reason: str, *, by_hand: str = "", remedy: str = "") -> Patched:
    refused = Refused(container=planned.container, reason=reason, by_hand=by_hand, remedy=remedy)
    return replace(result, refused=(*result.refused, refused))


def _trouble(script: Script, found: ScriptLine, line: RunLine, change: LineChange) -> str:
    """Say why a change can't be made in this script; nothing where it can."""
    values = [word.value(script.variables()) for word in found.words]
    program = len(line.base)
    if change.setup and not change.nothing:
        if not found.command.alone:
            return f"line {found.number} has to be preceded by commands, and does not stand by itself"
        if None in values[:program]:
            return f"line {found.number} has to be preceded by commands, and its engine is called by a variable"
        unknown = [word.shown for word, value in zip(found.words, values, strict=True) if value is None]
        if any(shown in step for shown in unknown for step in setup_script(change)[1]):
            return "what has to be made first depends on a variable of the script"
    if named_volumes(line, change) and any(sign in (line.value("name") or "") for sign in "$`"):
        return "its container is named by a variable, and the plan needs a volume of a certain name"
    if any("$" in option.words[-1] for option in change.added) and any("$" in (w.shown) for w in found.words):
        return "what has to be added depends on a variable of the script"
    if len(line.words) != len(found.words):
        return f"line {found.number} can't be taken apart word by word"
    return ""


def _edits(script: Script, found: ScriptLine, line: RunLine, change: LineChange) -> list[_Edit]:
    edits: list[_Edit] = []
    if change.nothing and change.after.command == line.command:
        return edits
    words = found.words
    at = len(line.base) + len(line.verb)
    spans: list[tuple[Word, ...]] = []
    for option in line.options:
        spans.append(words[at : at + len(option.words)])
        at += len(option.words)
    image = words[at + 1 if line.separator else at]
    edits += [_removal(script.text, spans[index]) for index in change.removed]
    before = words[at]
    edits.append(_insertion(script.text, before, change.added))
    edits += _command(line, change, words[len(words) - len(line.command) :], image)
    if change.setup:
        edits.append(_setup(script.text, found, change))
    return [edit for edit in edits if edit[0] != edit[1] or edit[2]]


def _elsewhere(text: str, found: ScriptLine, edits: Sequence[_Edit]) -> str:
    """Say that a change would be made in an array, which other lines may use too; nothing where none would."""
    begin = text.rfind("\n", 0, found.command.words[0].start) + 1
    end = found.command.words[-1].end
    outside = any(not begin <= edit[0] <= end for edit in edits)
    return "what has to change stands in an array, and not in the line" if outside else ""


def _insertion(text: str, before: Word, added: Sequence[Option]) -> _Edit:
    """Put options before the image: on lines of their own where the image begins one."""
    start = text.rfind("\n", 0, before.start) + 1
    indent = text[start : before.start]
    shown = [shlex.join(option.words) for option in added]
    if not indent.strip() and start and text[:start].rstrip("\r\n").endswith("\\"):
        ending = "\r\n" if text[:start].endswith("\r\n") else "\n"
        return start, start, "".join(f"{indent}{words} \\{ending}" for words in shown)
    return before.start, before.start, "".join(f"{words} " for words in shown)


def _removal(text: str, span: Sequence[Word]) -> _Edit:
    """Take an option out: with its line where it has one of its own, else with the blanks before it."""
    start, end = span[0].start, span[-1].end
    line = text.rfind("\n", 0, start) + 1
    following = text.find("\n", end)
    rest = text[end:following] if following >= 0 else ""
    if not text[line:start].strip() and rest.strip() == "\\":
        return line, following + 1, ""
    while text[start - 1] in " \t":
        start -= 1
    return start, end, ""


def _command(line: RunLine, change: LineChange, words: Sequence[Word], image: Word) -> list[_Edit]:
    after = change.after.command
    if after == line.command:
        return []
    if not line.command:
        return [(image.end, image.end, f" {shlex.join(after)}")]
    return [
        (word.start, word.end, shlex.quote(new))
        for word, old, new in zip(words, line.command, after, strict=True)
        if old != new
    ]


def _setup(text: str, found: ScriptLine, change: LineChange) -> _Edit:
    start = text.rfind("\n", 0, found.command.words[0].start) + 1
    indent = text[start : found.command.words[0].start]
    ending = "\r\n" if "\r\n" in text else "\n"
    test, steps = setup_script(change)
    if test:
        lines = [f"if ! {{ {test}; }} >/dev/null 2>&1; then", *(f"  {step}" for step in steps), "fi"]
    else:
        lines = list(steps)
    return start, start, "".join(f"{indent}{line}{ending}" for line in lines)


def _apply(text: str, edits: Sequence[_Edit]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _check(text: str, found: ScriptLine, change: LineChange) -> str:
    """Say what the written line does not come to although it should; nothing where it is as planned."""
    _, lines = read_lines(text.encode("utf-8", "surrogateescape"))
    line = lines[found.index].line if found.index < len(lines) else None
    after = change.after
    same = line is not None and (line.image, line.command) == (after.image, after.command)
    if line is None or not same or sorted(line.option_words) != sorted(after.option_words):
        return "the line would not come to what was planned"
    return ""


def _by_hand(change: LineChange) -> str:
    line = parse_run_line(change.after.words)
    steps = [words[2] if words[:2] == ("sh", "-c") else shlex.join(words) for words in change.setup]
    return "\n".join([*steps, shlex.join(line.words), ""])

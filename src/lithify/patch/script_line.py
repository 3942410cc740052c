"""The `docker run` and `podman run` lines in a shell script."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from lithify.documents.shell import Command, Script, Word, parse_script
from lithify.engines.command_line.flags import helper_name
from lithify.engines.command_line.options import RUN_OPTIONS
from lithify.engines.command_line.runline import ENGINES, RunLine, parse_run_line
from lithify.errors import InvalidInput, UsageError
from lithify.model.path import printable

_WRAPPERS = frozenset(("sudo", "doas", "env", "exec", "command", "nohup", "time"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptLine:
    """One run line of a script."""

    index: int
    """Which of the script's run lines it is."""
    number: int
    """The line of the script, from 1, on which it begins."""
    command: Command
    words: tuple[Word, ...]
    """Those of the run line: without a shell builtin (`exec`), an array's where they stand."""
    line: RunLine | None
    """What is known of it; expansions stand in it as they are written. None where it can't be told."""
    trouble: str = ""
    """Why it can't be told."""

    @property
    def container(self) -> str:
        """What messages call it: the name it gives, else its image."""
        if self.line is None:
            return f"line {self.number}"
        return self.line.value("name") or self.line.image

    def certain(self, script: Script) -> RunLine:
        """Return the line as it would run, UsageError where a word's value is known to the script alone."""
        variables = script.variables(os.environ)
        words = []
        for word in self.words:
            value = word.value(variables, all_known=True)
            if value is None:
                raise UsageError(
                    f"line {self.number} of the script has {printable(word.shown)}, which only the script knows",
                    hint="give the line with its values instead: lithify harden -- docker run ...",
                )
            words.append(value)
        return parse_run_line(words)


def read_lines(data: bytes, path: str = "-") -> tuple[Script, list[ScriptLine]]:
    """Return a script and its run lines; InvalidInput where it is no shell script that can be read."""
    try:
        script = parse_script(data)
    except ValueError as error:
        raise InvalidInput(f"{printable(path)}: not a shell script that can be read: {error}") from error
    variables = script.variables()
    found: list[ScriptLine] = []
    for command in script.commands:
        words = script.spelt_out(_run_words(command))
        if words:
            number = script.text.count("\n", 0, words[0].start) + 1
            line, trouble = _read(words, variables)
            if line is not None and _prepares(line):
                continue
            found.append(
                ScriptLine(index=len(found), number=number, command=command, words=words, line=line, trouble=trouble)
            )
    return script, found


def _run_words(command: Command) -> tuple[Word, ...]:
    """Return the words of a command from what belongs to a run line on; nothing for other commands."""
    shown = [word.shown for word in command.words]
    begin = 0
    while begin < len(shown) and shown[begin] in ("exec", "command", "nohup"):
        begin += 1
    for index in range(begin, len(shown)):
        name = os.path.basename(shown[index])
        if name in ENGINES:
            rest = shown[index + 1 :]
            verb = next((at for at, word in enumerate(rest) if word in ("run", "create")), None)
            ours = verb is not None and all(
                word.startswith("-") or word == "container" or rest[at - 1].startswith("-")
                for at, word in enumerate(rest[:verb])
            )
            return command.words[begin:] if ours else ()
        wrapper = name in _WRAPPERS or shown[index].startswith("-") or "=" in shown[index]
        if not wrapper and not (index and shown[index - 1].startswith("-")):
            return ()
    return ()


def _prepares(line: RunLine) -> bool:
    """Tell whether a line is one of those that make a plan's volumes ready."""
    helper = (line.value("name") or "").endswith(helper_name("")) and line.verb[-1] == "create"
    as_root = (line.value("network"), line.value("user"), line.value("entrypoint")) == ("none", "0:0", "")
    return helper or (as_root and line.switch("rm") and not line.value("name"))


def _read(words: tuple[Word, ...], variables: Mapping[str, str | None]) -> tuple[RunLine | None, str]:
    values: list[str] = []
    doubtful: list[int] = []
    for index, word in enumerate(words):
        value = word.value(variables)
        values.append(word.shown if value is None else value)
        if value is None and not word.one:
            doubtful.append(index)
    try:
        line = parse_run_line(values)
    except UsageError as error:
        return None, str(error)
    image = len(values) - len(line.command) - 1
    for index in doubtful:
        # After the image everything is the container's; an option's value is one word or the script is wrong.
        if index > image or (index == image and not line.command) or _is_value(values, index, line):
            continue
        return None, f"{printable(words[index].shown)} may stand for any number of words"
    return line, ""


def _is_value(values: list[str], index: int, line: RunLine) -> bool:
    before = values[index - 1]
    grammar = RUN_OPTIONS[line.engine]
    name = before[2:] if before.startswith("--") else grammar.letters.get(before[-1:], "")
    return before.startswith("-") and name in grammar.values and "=" not in before

"""Takes a command line apart, importing only the module of the command it names."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from importlib import import_module

from lithify.errors import UsageError
from lithify.model.text import COLORS

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from typing import NoReturn


class _Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print and exit, so that errors look the same everywhere."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=self._near(message) or f"see {self.prog} --help")

    def print_help(self, _file: object = None) -> None:
        from lithify.cli.stdout import write_text  # argparse would pass over that nothing could be written

        write_text(self.format_help())

    def _near(self, message: str) -> str:
        """Return a question where an unknown option is almost one that there is."""
        what, _, words = message.partition(": --")
        if what != "unrecognized arguments":
            return ""
        import difflib

        option = f"--{words.split()[0].partition('=')[0]}" if words.split() else ""
        near = difflib.get_close_matches(option, self._option_string_actions, n=1)
        return f"did you mean {near[0]}? else see {self.prog} --help" if near else ""


class _Help(argparse.HelpFormatter):
    """Knows how wide a terminal is by itself: argparse would ask `shutil`, which brings every archive format along."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def parse(words: list[str], commands: Mapping[str, str]) -> argparse.Namespace:
    """Return the arguments of the command that `words` name; `run` is its function, `rest` what stood after `--`.

    `settings` are those that hold, None where neither a file nor a variable says anything.
    UsageError where the command or an option is unknown, or a setting can't be. Global options may stand before the
    command or after it.
    """
    words, rest = _split(words)
    before, name, after = _command(words, commands)
    description = f"{commands[name].capitalize()}."
    parser = _Parser(prog=f"lithify {name}", description=description, allow_abbrev=False, formatter_class=_Help)
    module = import_module(f"lithify.cli.{name}")
    module.configure(parser)
    shared = parser.add_argument_group("everywhere")
    shared.add_argument("--config", type=_path, metavar="FILE", help="read settings from FILE instead of lithify.toml")
    shared.add_argument("--color", choices=COLORS, help="colour on the terminal (default: auto)")
    shared.add_argument("--debug", action="store_true", default=None, help="show a traceback with an error")
    arguments = parser.parse_args([*after, *before])
    arguments.settings = None
    # Of the flags only this one can be what no setting may be.
    told = arguments.config or (getattr(arguments, "jobs", None) or 0) < 0
    if told or os.path.lexists("lithify.toml") or any(map(_is_ours, os.environ)):
        _configure(arguments)
    arguments.rest = rest
    arguments.run = module.run
    return arguments


def _is_ours(variable: str) -> bool:
    return variable.startswith("LITHIFY_")


def _configure(arguments: argparse.Namespace) -> None:
    """Take what no flag says from the variables and the file; UsageError where one of them holds what can't be."""
    from lithify.settings import read_settings  # only where there is something to read

    arguments.settings = read_settings(vars(arguments), file=arguments.config)
    arguments.color, arguments.debug = arguments.settings.color, arguments.settings.debug


def _path(text: str) -> object:
    from pathlib import Path  # only for those who give one: `audit` of a small file is over before it is imported

    return Path(text)


def _split(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Part the words at the first `--`, which belongs to neither side."""
    words = list(words)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def _command(words: list[str], commands: Mapping[str, str]) -> tuple[list[str], str, list[str]]:
    """Return the global options before the command, the command, and what follows it."""
    takes_value = ("--config", "--color")
    index = 0
    while index < len(words) and words[index].startswith("-"):
        index += 2 if words[index] in takes_value else 1
    if index >= len(words):
        raise UsageError("no command", hint="see lithify --help")
    name = words[index]
    if name not in commands:
        import difflib

        near = difflib.get_close_matches(name, commands, n=1)
        raise UsageError(f"no command {name!r}", hint=f"did you mean {near[0]}?" if near else "see lithify --help")
    return words[:index], name, words[index + 1 :]

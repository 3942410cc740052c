"""A `docker run` or `podman run` line: read as its engine reads it, and written back word for word.

Both programs take their options before the image (what follows it belongs to the container), long ones as
`--flag value` or `--flag=value`, switches as `--flag` or `--flag=false`, short ones bundled: `-it`, `-p80:80`, `-eA=1`.
"""

import csv
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath

from lithify.engines.command_line.options import PROGRAM_OPTIONS, RUN_OPTIONS, WRAPPER_OPTIONS, Grammar
from lithify.errors import UsageError
from lithify.model.path import container_path, printable

ENGINES = ("docker", "podman")

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What stands in one word of the line, or in two where the value follows; `-it` holds two flags."""

    words: tuple[str, ...]
    flags: tuple[tuple[str, str], ...]
    """Long names without dashes, each with its value; `true` or `false` for a switch."""


class MountKind(StrEnum):
    """What a mount option mounts."""

    BIND = "bind"
    VOLUME = "volume"
    """A named volume, or an anonymous one where there is no source."""
    TMPFS = "tmpfs"
    OTHER = "other"
    """An image, a device, a named pipe: nothing that holds what a container writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineMount:
    """One mount that the line asks for."""

    path: PurePosixPath
    kind: MountKind
    source: str = ""
    """A host path or a volume's name; nothing for tmpfs and anonymous volumes."""
    read_only: bool = False
    options: tuple[str, ...] = ()
    option: Option


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """A run line in its parts; `words` puts them together again."""

    prefix: tuple[str, ...] = ()
    """What stands before the engine's program: `sudo -E`, `env DOCKER_HOST=...`."""
    program: str
    globals: tuple[str, ...] = ()
    """Options of the program itself, which hold for every other command of the engine too."""
    verb: tuple[str, ...] = ("run",)
    options: tuple[Option, ...] = ()
    separator: bool = False
    """A `--` stands before the image."""
    image: str
    command: tuple[str, ...] = ()

    @property
    def engine(self) -> str:
        """`docker` or `podman`."""
        return _engine_of(self.program) or self.program

    @property
    def base(self) -> tuple[str, ...]:
        """What comes before any command of the engine, as the user calls it."""
        return (*self.prefix, self.program, *self.globals)

    @property
    def option_words(self) -> tuple[str, ...]:
        """The options alone."""
        return tuple(word for option in self.options for word in option.words)

    @property
    def words(self) -> tuple[str, ...]:
        """The whole line as an argument list."""
        separator = ("--",) if self.separator else ()
        return (*self.base, *self.verb, *self.option_words, *separator, self.image, *self.command)

    def values(self, *flags: str) -> tuple[str, ...]:
        """Return every value given for `flags`, in order."""
        return tuple(value for option in self.options for flag, value in option.flags if flag in flags)

    def value(self, *flags: str) -> str | None:
        """Return the value that counts: the last one given for any of `flags`."""
        return next(reversed(self.values(*flags)), None)

    def switch(self, flag: str) -> bool:
        """Tell whether a switch is on."""
        return (self.value(flag) or "false").lower() in ("true", "1", "t")

    def environment(self) -> dict[str, str | None]:
        """Return what `--env` sets; None for a variable that is taken from the caller's environment."""
        pairs = (text.partition("=") for text in self.values("env"))
        return {name: value if separator else None for name, separator, value in pairs}

    def mounts(self) -> tuple[LineMount, ...]:
        """Return what `--volume`, `--mount` and `--tmpfs` mount; UsageError where one can't be read."""
        readers = {"volume": _parse_volume, "mount": _parse_mount, "tmpfs": _parse_tmpfs}
        flags = ((option, flag, value) for option in self.options for flag, value in option.flags)
        return tuple(readers[flag](value, option) for option, flag, value in flags if flag in readers)

    def ports(self) -> dict[int, int]:
        """Return the TCP ports published on the host, each with the port of the container behind it; no ranges."""
        found = {}
        for value in self.values("publish"):
            address, _, protocol = value.partition("/")
            published = address.rsplit(":", 2)[-2:]
            if protocol in ("", "tcp") and len(published) == 2 and all(port.isdigit() for port in published):
                found[int(published[0])] = int(published[1])
        return found

    def adding(self, *words: str) -> "RunLine":
        """Return the line with options after those it has."""
        added, rest = _parse_options(list(words), RUN_OPTIONS[self.engine])
        assert not rest, rest
        return replace(self, options=(*self.options, *added))

    def without(self, *flags: str) -> "RunLine":
        """Return the line without `flags`; what shares a word with one of them (`-it`) is kept, spelt out."""
        return replace(self, options=tuple(_strip(self.options, flags)))

    def with_command(self, command: Sequence[str]) -> "RunLine":
        """Return the line with another command after the image."""
        return replace(self, command=tuple(command))

    def without_separator(self) -> "RunLine":
        """Return the line without the `--` before the image, where the image can't be taken for an option."""
        return self if self.image.startswith("-") else replace(self, separator=False)

    def called(self, base: Sequence[str]) -> "RunLine":
        """Return the line for a program that is called by other words before its command."""
        return replace(self, prefix=tuple(base[: len(base) - 1 - len(self.globals)]))

    def replacing(self, option: Option, *words: str) -> "RunLine":
        """Return the line with `words` in the place of `option`, or without it where there are none."""
        added, rest = _parse_options(list(words), RUN_OPTIONS[self.engine])
        assert not rest, rest
        at = next(index for index, candidate in enumerate(self.options) if candidate is option)
        return replace(self, options=(*self.options[:at], *added, *self.options[at + 1 :]))


def parse_run_line(words: Sequence[str]) -> RunLine:
    """Return a run line in its parts; one word alone is split as a shell would. UsageError where it is none."""
    if len(words) == 1:
        try:
            # shlex does not know that a backslash at the end of a line goes on with the next
            words = shlex.split(words[0].replace("\\\n", ""))
        except ValueError as error:
            raise UsageError(f"can't read the run line: {error}", hint="is a quote left open?") from error
    prefix, rest = _split_prefix(list(words))
    engine = _engine_of(rest[0]) if rest else None
    if engine is None:
        raise UsageError("not a docker or podman run line", hint="write: docker run [OPTIONS] IMAGE [COMMAND]")
    program = rest[0]
    program_options, rest = _parse_options(rest[1:], PROGRAM_OPTIONS[engine])
    verb, rest = _split_verb(rest, program)
    options, rest = _parse_options(rest, RUN_OPTIONS[engine])
    separator = rest[:1] == ["--"]
    rest = rest[1:] if separator else rest
    if not rest or not rest[0]:
        raise UsageError(f"the {engine} line names no image", hint=f"write: {engine} run [OPTIONS] IMAGE [COMMAND]")
    line = RunLine(
        prefix=tuple(prefix),
        program=program,
        globals=tuple(word for option in program_options for word in option.words),
        verb=tuple(verb),
        options=tuple(options),
        separator=separator,
        image=rest[0],
        command=tuple(rest[1:]),
    )
    if line.switch("rootfs"):
        raise UsageError("--rootfs runs a directory", hint=f"name it instead of the line: lithify ... {line.image}")
    return line


def mount_value(*fields: str) -> str:
    """Return a value for `--mount`: fields joined by commas, quoted where they hold one."""
    return ",".join('"' + field.replace('"', '""') + '"' if set(field) & set(',"\r\n') else field for field in fields)


def _engine_of(program: str) -> str | None:
    name = os.path.basename(program)
    return name if name in ENGINES else None


def _split_prefix(words: list[str]) -> tuple[list[str], list[str]]:
    """Split off sudo, env and variables; variables alone get an `env`, so that the list can be run without a shell."""
    prefix = ["env"] if words and _ASSIGNMENT.match(words[0]) else []
    while words and _engine_of(words[0]) is None:
        word = words.pop(0)
        prefix.append(word)
        wrapper = WRAPPER_OPTIONS.get(os.path.basename(word))
        if wrapper is not None:
            options, words = _parse_options(words, wrapper)
            prefix += [word for option in options for word in option.words]
            if words[:1] == ["--"]:
                prefix.append(words.pop(0))
        elif not _ASSIGNMENT.match(word):
            raise UsageError(
                f"not a docker or podman run line: {printable(word)} stands where docker or podman should",
                hint="give the line as it is typed, from docker or podman (or sudo) on",
            )
    return prefix, words


def _split_verb(words: list[str], program: str) -> tuple[list[str], list[str]]:
    taken = words[:2] if words[:1] == ["container"] else words[:1]
    if taken[-1:] not in (["run"], ["create"]):
        raise UsageError(
            f"{printable(' '.join([program, *taken]))} starts no container",
            hint="write: docker run [OPTIONS] IMAGE [COMMAND]",
        )
    return taken, words[len(taken) :]


def _parse_options(words: list[str], grammar: Grammar) -> tuple[list[Option], list[str]]:
    """Read options until the first word that is none (or is `--`); return them and what is left."""
    options: list[Option] = []
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] not in ("-", "--"):
        option = (_long if words[at].startswith("--") else _short)(words, at, grammar)
        options.append(option)
        at += len(option.words)
    return options, words[at:]


def _long(words: list[str], at: int, grammar: Grammar) -> Option:
    word = words[at]
    name, separator, value = word[2:].partition("=")
    if separator:
        # Nothing can be misread here, so that an option newer than the tables passes.
        return Option(words=(word,), flags=((name, value),))
    if name in grammar.switches:
        return Option(words=(word,), flags=((name, "true"),))
    if name not in grammar.values:
        raise UsageError(
            f"the run line has an option that lithify does not know: {printable(word)}",
            hint=f"write it with its value in one word: {printable(word)}=VALUE ({printable(word)}=true for a switch)",
        )
    value = _following(words, at)
    return Option(words=(word, value), flags=((name, value),))


def _short(words: list[str], at: int, grammar: Grammar) -> Option:
    word = words[at]
    flags: list[tuple[str, str]] = []
    for index, letter in enumerate(word[1:], start=1):
        name = grammar.letters.get(letter)
        if name is None:
            raise UsageError(
                f"the run line has an option that lithify does not know: -{printable(letter)} in {printable(word)}",
                hint="write it in its long form, with its value in the same word: --flag=value",
            )
        rest = word[index + 1 :]
        if rest.startswith("=") and len(rest) > 1:
            return Option(words=(word,), flags=(*flags, (name, rest[1:])))
        if name in grammar.switches:
            flags.append((name, "true"))
        elif rest:
            return Option(words=(word,), flags=(*flags, (name, rest)))
        else:
            value = _following(words, at)
            return Option(words=(word, value), flags=(*flags, (name, value)))
    return Option(words=(word,), flags=tuple(flags))


def _following(words: list[str], at: int) -> str:
    if at + 1 >= len(words):
        raise UsageError(f"{printable(words[at])} has no value", hint="the run line ends too early")
    return words[at + 1]


def _strip(options: Iterable[Option], flags: Sequence[str]) -> Iterator[Option]:
    for option in options:
        kept = [(flag, value) for flag, value in option.flags if flag not in flags]
        if len(kept) == len(option.flags):
            yield option
        else:
            for flag, value in kept:
                yield Option(words=(f"--{flag}={value}",), flags=((flag, value),))


def _parse_volume(text: str, option: Option) -> LineMount:
    parts = text.split(":")
    if len(parts) > 3:
        raise _unreadable(option)
    source = parts[0] if len(parts) > 1 else ""
    options = tuple(parts[2].split(",")) if len(parts) == 3 else ()
    return LineMount(
        path=_mount_path(parts[1] if len(parts) > 1 else parts[0], option),
        kind=MountKind.BIND if source.startswith(("/", ".", "~")) else MountKind.VOLUME,
        source=source,
        read_only="ro" in options,
        options=options,
        option=option,
    )


def _parse_tmpfs(text: str, option: Option) -> LineMount:
    path, _, options = text.partition(":")
    listed = tuple(filter(None, options.split(",")))
    return LineMount(
        path=_mount_path(path, option), kind=MountKind.TMPFS, read_only="ro" in listed, options=listed, option=option
    )


def _parse_mount(text: str, option: Option) -> LineMount:
    try:
        fields = next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration) as error:
        raise _unreadable(option) from error
    # A key may come more than once (volume-opt); those that matter here come once.
    pairs = {key.strip().lower(): value for key, _, value in (field.partition("=") for field in fields)}
    target = next((pairs[key] for key in ("target", "dst", "destination") if key in pairs), "")
    kind = pairs.get("type", "volume")
    return LineMount(
        path=_mount_path(target, option),
        kind=MountKind(kind) if kind in ("bind", "volume", "tmpfs") else MountKind.OTHER,
        source=pairs.get("source", pairs.get("src", "")),
        read_only=any(pairs.get(key, "false").lower() in ("", "true", "1") for key in ("readonly", "ro")),
        options=tuple(fields),
        option=option,
    )


def _mount_path(text: str, option: Option) -> PurePosixPath:
    try:
        return container_path(os.path.normpath(text))
    except ValueError as error:
        raise _unreadable(option) from error


def _unreadable(option: Option) -> UsageError:
    return UsageError(
        f"can't read the mount {printable(' '.join(option.words))}", hint="is the path in the container absolute?"
    )

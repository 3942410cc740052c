"""Unit files of systemd and Quadlet: read as Quadlet reads them, and edited line by line.

What is not touched keeps its bytes: comments, order, indentation, line ends, a byte order mark, an open last line.
"""

import re
from dataclasses import dataclass, field

_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitEntry:
    """One `Key=value`, continued lines joined."""

    section: str
    key: str
    value: str
    first: int
    """Index of its first line."""
    end: int
    """Index of the line after it."""


@dataclass(slots=True)
class Unit:
    """A unit file, as lines with their ends, and the entries that they come to."""

    lines: list[str]
    """Bytes that are not UTF-8 are kept as lone surrogates."""
    entries: list[UnitEntry] = field(default_factory=list)
    sections: dict[str, int] = field(default_factory=dict)
    """Index of the line with which each section last begins."""
    malformed: list[int] = field(default_factory=list)
    """Lines that are neither section, entry nor comment: Quadlet refuses the whole file for one."""

    def all(self, section: str, key: str) -> list[UnitEntry]:
        """Return the entries of a list; an empty value takes back what came before."""
        found: list[UnitEntry] = []
        for entry in self.entries:
            if entry.section == section and entry.key == key:
                found = [*found, entry] if entry.value else []
        return found

    def last(self, section: str, key: str) -> UnitEntry | None:
        """Return the entry that counts where one value is meant."""
        return next((e for e in reversed(self.entries) if e.section == section and e.key == key), None)

    def value(self, section: str, key: str) -> str:
        """Return that entry's value without quotes around the whole of it; nothing where there is none."""
        entry = self.last(section, key)
        value = entry.value if entry else ""
        return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value

    def boolean(self, section: str, key: str) -> bool | None:
        """Return whether a switch is on; None where nothing is said. What is no boolean counts as off."""
        entry = self.last(section, key)
        return self.value(section, key).lower() in ("1", "yes", "true", "on") if entry else None

    def words(self, section: str, key: str) -> list[str]:
        """Return the words of every entry of a key; ValueError where a quote is left open."""
        return [word for entry in self.all(section, key) for word in split_words(entry.value)]

    @property
    def end_of_line(self) -> str:
        """What lines of this file end with."""
        return "\r\n" if self.lines and self.lines[0].endswith("\r\n") else "\n"

    def render(self) -> bytes:
        """Return the file's bytes."""
        return "".join(self.lines).encode("utf-8", "surrogateescape")


def parse_unit(data: bytes) -> Unit:
    """Return a unit file in its parts; nothing is refused here."""
    # at line feeds alone, as Quadlet does: str.splitlines knows more line ends
    unit = Unit(re.findall(r"[^\n]*\n|[^\n]+", data.decode("utf-8", "surrogateescape")))
    section, pending, begun = "", "", 0
    for index, line in enumerate(unit.lines):
        text = (line.removeprefix("\ufeff") if index == 0 else line).strip()
        if not text or text[0] in "#;":
            continue  # comments may stand within a continued line
        begun = begun if pending else index
        if text.endswith("\\") and index < len(unit.lines) - 1:
            pending += text[:-1]
            continue
        text, pending = pending + text, ""
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1]
            unit.sections[section] = index
            continue
        key, separator, value = text.partition("=")
        if separator and section:
            unit.entries.append(
                UnitEntry(section=section, key=key.strip(), value=value.strip(), first=begun, end=index + 1)
            )
        else:
            unit.malformed.append(index)
    return unit


def replace_entry(unit: Unit, entry: UnitEntry, value: str) -> Unit:
    """Return the unit with another value in the place of `entry`, on one line and indented as it was."""
    first = unit.lines[entry.first]
    head = first[: len(first) - len(first.removeprefix("\ufeff").lstrip())]
    last = unit.lines[entry.end - 1]
    tail = last[len(last.rstrip("\r\n")) :]
    line = f"{head}{entry.key}={value}{tail}"
    return _again([*unit.lines[: entry.first], line, *unit.lines[entry.end :]])


def add_entry(unit: Unit, section: str, key: str, value: str) -> Unit:
    """Return the unit with one more entry: after those of its key, else after the section's last, else in a new one."""
    own = [entry for entry in unit.entries if entry.section == section]
    same = [entry for entry in own if entry.key == key]
    ending = unit.end_of_line
    added = [f"{key}={value}{ending}"]
    at = len(unit.lines)
    if own:
        at = (same or own)[-1].end
    elif section in unit.sections:
        at = unit.sections[section] + 1
    else:
        added = [*([ending] if unit.lines and unit.lines[-1].strip() else []), f"[{section}]{ending}", *added]
    lines = [*unit.lines[:at], *added, *unit.lines[at:]]
    if at == len(unit.lines) and unit.lines and not unit.lines[-1].endswith("\n"):
        lines[at - 1] += ending
        lines[-1] = lines[-1].removesuffix(ending)  # the file has no line end at its end, and keeps none
    return _again(lines)


def _again(lines: list[str]) -> Unit:
    return parse_unit("".join(lines).encode("utf-8", "surrogateescape"))


def split_words(text: str) -> list[str]:
    """Return `text` as systemd and Quadlet split it: blanks separate, quotes join, C escapes hold within both kinds.

    ValueError where a quote is left open.
    """
    words: list[str] = []
    word: str | None = None
    quote = ""
    position = 0
    while position < len(text):
        letter = text[position]
        position += 1
        if letter == "\\" and position < len(text):
            piece, position = _unescape(text, position)
            word = (word or "") + piece
        elif quote:
            if letter == quote:
                quote = ""
            else:
                word = (word or "") + letter
        elif letter in "\"'":
            quote, word = letter, word or ""
        elif letter.isspace():
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + letter
    if quote:
        raise ValueError("a quote is left open")
    return words if word is None else [*words, word]


def _unescape(text: str, position: int) -> tuple[str, int]:
    letter = text[position]
    digits = {"x": 2, "u": 4, "U": 8}.get(letter)
    if digits is not None:
        code = text[position + 1 : position + 1 + digits]
        if len(code) == digits and all(c in "0123456789abcdefABCDEF" for c in code) and int(code, 16) < 0x110000:
            return chr(int(code, 16)), position + 1 + digits
        return "\\" + letter, position + 1
    octal = text[position : position + 3]
    if re.fullmatch("[0-3][0-7]{2}", octal):
        return chr(int(octal, 8)), position + 3
    return _ESCAPES.get(letter, letter), position + 1


def quote_word(word: str) -> str:
    """Return a word that systemd reads as one, specifiers taken literally."""
    word = word.replace("%", "%%")
    if _PLAIN.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'

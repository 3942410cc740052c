"""Variables in Compose files: `$NAME`, `${NAME}`, `${NAME:-default}`, and where their values come from."""

import os
import re
from collections import ChainMap
from collections.abc import Mapping

from lithify.sources.base import read_bytes

_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(:?[-?+])?)")
"""What a variable begins with; where one in braces ends is counted."""
_SETTING = re.compile(
    r"""(?:\s|\#[^\n]*(?:\n|\Z))*(?:export[^\S\n]+)?([\w.\-\[\]]+)[^\S\n]*
    (?:[=:][^\S\n]*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|(?!['"])([^\n]*))|(?=\n|\Z))""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_C_ESCAPE = re.compile(r'\\([abcfnrtv$"\\]|0[0-7]{0,3})')
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

_BRACES = re.compile(r"\$\$|\$?\{|\}")
_DEEPEST = 8
_LONGEST = 1 << 16
"""Letters that variables may add to one text: where one is made of many others, a short file could fill memory."""

_MOST = 1 << 24
"""Letters that the values of one file may have together."""


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with its variables replaced as Compose does; a variable that nobody sets is empty."""
    if "$" not in text:
        return text
    ends = _ends(text)
    left = _LONGEST

    def read(position: int, end: int, depth: int) -> str:
        parts: list[str] = []
        while (start := text.find("$", position, end)) >= 0:
            parts.append(text[position:start])
            match = _VARIABLE.match(text, start, end)
            dollar, plain, braced, operator = match.groups() if match else ("$", None, None, None)
            position = match.end() if match else start + 1
            if braced:
                word, close = position, ends.get(start, -1)
                if close < 0 or (not operator and close != word):
                    parts.append("$")
                    position = start + 1
                    continue
                position = close + 1
                parts.append(chosen(braced, operator or "", word, close, depth))
            else:
                parts.append(dollar or bounded(values.get(plain or "")))
        return "".join([*parts, text[position:end]])

    def chosen(name: str, operator: str, word: int, close: int, depth: int) -> str:
        value = values.get(name)
        unset = value is None or (operator.startswith(":") and not value)
        if operator.endswith(("+", "-")) and unset == operator.endswith("-"):
            return read(word, close, depth + 1) if depth < _DEEPEST else text[word:close]
        return "" if operator.endswith("+") else bounded(value)  # `?`: Compose would stop here

    def bounded(value: str | None) -> str:
        nonlocal left
        left -= len(value or "")
        return value if value and left >= 0 else ""

    return read(0, len(text), 0)


def _ends(text: str) -> dict[int, int]:
    """Return where each variable in braces ends, by where it begins: others may stand in it, and other braces."""
    ends: dict[int, int] = {}
    begun: list[int] = []
    for match in _BRACES.finditer(text):
        if match[0] == "}":
            if begun:
                ends[begun.pop()] = match.start()
        elif match[0] == "${" or (match[0] == "{" and begun):
            begun.append(match.start())
    return ends


def read_variables(folder: str, names: tuple[str, ...] = (".env",)) -> dict[str, str]:
    """Return the variables of the environment files in `folder`, and over them those of our own environment."""
    values: dict[str, str] = {}
    for name in names:
        data = read_bytes(os.path.join(folder, name))
        if isinstance(data, bytes):
            _parse_variables(data[: 1 << 20].decode("utf-8-sig", "replace").replace("\r\n", "\n"), values)
    return {**values, **os.environ}


def _parse_variables(text: str, values: dict[str, str]) -> None:
    """Put what an environment file sets into `values`; what comes after a line that is no setting is left out.

    Values may name variables that were set before, as Compose has it: not within single quotes.
    """
    known = ChainMap(os.environ, values)
    position, left = 0, _MOST
    while left > 0 and (match := _SETTING.match(text, position)):
        position = match.end()
        key, raw, quoted, plain = match.groups()
        if raw is not None:
            values[key] = _ESCAPED.sub(lambda found: "'" if found[1] == "'" else found[0], raw)
        elif quoted is not None or plain is not None:
            word = plain.partition(" #")[0].rstrip() if quoted is None else _C_ESCAPE.sub(_unescaped, quoted)
            values[key] = interpolate(word, known)
            left -= len(values[key])


def _unescaped(match: re.Match[str]) -> str:
    letter = match[1]
    if letter.startswith("0"):
        return chr(int(letter, 8)) if len(letter) == 4 and int(letter, 8) < 256 else "\\" + letter[1:]
    return {"$": "$$", '"': '"', "\\": "\\", "c": match[0]}.get(letter) or _LETTERS[letter]

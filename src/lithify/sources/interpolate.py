"""Variables in Compose files: `$NAME`, `${NAME}`, `${NAME:-default}`, and where their values come from."""

import os
import re
from collections import ChainMap
from collections.abc import Mapping

_VARIABLE = re.compile(
    r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-?+])(.*?))?\})", re.DOTALL
)

_SETTING = re.compile(
    r"""(?:\s|\#[^\n]*(?:\n|\Z))*(?:export[^\S\n]+)?([\w.\-\[\]]+)[^\S\n]*
    (?:[=:][^\S\n]*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|(?!['"])([^\n]*))|(?=\n|\Z))""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_C_ESCAPE = re.compile(r'\\([abcfnrtv$"\\]|0[0-7]{0,3})')
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

_LONGEST = 1 << 16
"""Letters that variables may add to one text: where one is made of many others, a short file could fill memory."""


def interpolate(text: str, values: Mapping[str, str], *, depth: int = 0) -> str:
    """Return `text` with its variables replaced as Compose does; a variable that nobody sets is empty."""
    if "$" not in text:
        return text

    left = _LONGEST

    def replacement(match: re.Match[str]) -> str:
        nonlocal left
        found = chosen(match)
        left -= len(found)
        return found if left >= 0 else ""

    def chosen(match: re.Match[str]) -> str:
        dollar, plain, braced, operator, word = match.groups()
        if dollar:
            return "$"
        name = plain or braced
        value = values.get(name)
        if not operator:
            return value or ""
        unset = value is None or (operator.startswith(":") and not value)
        if operator.endswith("+"):
            return "" if unset else inner(word)
        if operator.endswith("-"):
            return inner(word) if unset else value or ""
        return value or ""  # `?`: Compose would stop here

    def inner(word: str) -> str:
        word = word.replace("\0", "}")
        return interpolate(word, values, depth=depth + 1) if depth < 8 else word

    return _VARIABLE.sub(replacement, _protect_nested(text)).replace("\0", "}")


def _protect_nested(text: str) -> str:
    """Mark the closing braces of `${A:-${B}}` that belong inside, which the expression can't count."""
    depth, result, position = 0, [], 0
    while position < len(text):
        if depth == 0 and text.startswith("$$", position):
            result.append("$$")
            position += 2
            continue
        if text.startswith("${", position):
            depth += 1
            result.append("${")
            position += 2
            continue
        if text[position] == "}" and depth:
            depth -= 1
            result.append("}" if depth == 0 else "\0")
        else:
            result.append(text[position])
        position += 1
    return "".join(result)


def read_variables(folder: str, names: tuple[str, ...] = (".env",)) -> dict[str, str]:
    """Return the variables of the environment files in `folder`, and over them those of our own environment."""
    values: dict[str, str] = {}
    for name in names:
        try:
            with open(os.path.join(folder, name), encoding="utf-8-sig", errors="replace") as file:
                text = file.read(1 << 20)
        except OSError:
            continue
        _parse_variables(text, values)
    return {**values, **os.environ}


def _parse_variables(text: str, values: dict[str, str]) -> None:
    """Put what an environment file sets into `values`; what comes after a line that is no setting is left out.

    Values may name variables that were set before, as Compose has it: not within single quotes.
    """
    known = ChainMap(os.environ, values)
    position = 0
    while match := _SETTING.match(text, position):
        position = match.end()
        key, raw, quoted, plain = match.groups()
        if raw is not None:
            values[key] = _ESCAPED.sub(lambda found: "'" if found[1] == "'" else found[0], raw)
        elif quoted is not None or plain is not None:
            word = plain.partition(" #")[0].rstrip() if quoted is None else _C_ESCAPE.sub(_unescaped, quoted)
            values[key] = interpolate(word, known)


def _unescaped(match: re.Match[str]) -> str:
    letter = match[1]
    if letter.startswith("0"):
        return chr(int(letter, 8)) if len(letter) == 4 and int(letter, 8) < 256 else "\\" + letter[1:]
    return {"$": "$$", '"': '"', "\\": "\\", "c": match[0]}.get(letter) or _LETTERS[letter]

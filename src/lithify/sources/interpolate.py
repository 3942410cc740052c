"""Variables in Compose files: `$NAME`, `${NAME}`, `${NAME:-default}`, and where their values come from."""

import os
import re
from collections.abc import Mapping

_VARIABLE = re.compile(
    r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-?+])(.*?))?\})", re.DOTALL
)


def interpolate(text: str, values: Mapping[str, str], *, depth: int = 0) -> str:
    """Return `text` with its variables replaced as Compose does; a variable that nobody sets is empty."""
    if "$" not in text:
        return text

    def replacement(match: re.Match[str]) -> str:
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
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                text = file.read(1 << 20)
        except OSError:
            continue
        for line in text.splitlines():
            line = line.strip().removeprefix("export ")
            key, separator, value = line.partition("=")
            if separator and not line.startswith("#"):
                values[key.strip()] = _unquoted(value.strip())
    return {**values, **os.environ}


def _unquoted(value: str) -> str:
    if value[:1] in ("'", '"') and (end := value.find(value[0], 1)) > 0:
        return value[1:end]
    return re.split(r"\s#", value, maxsplit=1)[0].strip()

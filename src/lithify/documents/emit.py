"""New YAML and JSON text for plain data, written as a person would and read the same by every parser.

A string stays plain only where YAML 1.1, YAML 1.2 and kubectl all take it for that string.
"""

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from lithify.documents.scalar import WORDS, read_plain

_WORD = r"[A-Za-z0-9/._@+=%~-]"
_COLONS = re.compile(rf"{_WORD}+(?::{_WORD}+)+")
_PLAIN = re.compile(rf"(?:[A-Za-z0-9/._]|-(?=[A-Za-z0-9/-])){_WORD}*(?: (?:{_WORD}|[()])+)*")
_NUMBER_LIKE = re.compile(r"[-+.]?[0-9][-+.0-9_a-fA-FxXoO:eETtZz ]*|[-+]?\.(?:inf|nan)", re.IGNORECASE)
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_NOT_LITERAL = re.compile("[^\\S\n]+(?:\n|\\Z)|[\x00-\x08\x0b-\x1f]|\\A\\s|\n\n\\Z")
"""What a literal block can't hold, or would not show: spaces at a line's end, and line ends at its own but for one."""


def render_scalar(value: Any, *, flow: bool = True) -> str:
    """Return a scalar as it stands in YAML, on one line; outside of flow style colons need no quotes."""
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int | float):
        return json.dumps(value)
    return value if is_plain(value, flow=flow) else render_json(value)


@lru_cache(maxsize=4096)
def is_plain(text: str, *, flow: bool = True) -> bool:
    """Tell whether a string may stand without quotes."""
    return (
        bool(_PLAIN.fullmatch(text) or (not flow and text[:1].isalpha() and _COLONS.fullmatch(text)))
        and not text.endswith(":")
        and text not in WORDS
        and text not in ("=", "<<", "---", "...")
        and not _NUMBER_LIKE.fullmatch(text)
        and read_plain(text) == text
    )


def render_json(value: Any, *, indent: str | None = None, compact: bool = False) -> str:
    """Return data as JSON, which YAML reads too; characters that either could stumble over are escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=(",", ":") if compact else None)
    if text.isascii() and "\x7f" not in text:
        return text
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def render_flow(value: Any, pad: str = "", scalar: Callable[[Any], str] = render_scalar) -> str:
    """Return data in flow style, on one line; `pad` stands within braces, `scalar` writes keys and what has no parts.

    With `render_json` for that it is JSON.
    """
    if isinstance(value, dict) and value:
        entries = ", ".join(f"{scalar(key)}: {render_flow(item, pad, scalar)}" for key, item in value.items())
        return f"{{{pad}{entries}{pad}}}"
    if isinstance(value, list):
        return "[" + ", ".join(render_flow(item, pad, scalar) for item in value) + "]"
    return "{}" if isinstance(value, dict) else scalar(value)


def render_entry(key: str, value: Any, *, step: int, listed: int, gap: int = 2) -> list[str]:
    """Return `key: value` in block style, as lines without their common indentation.

    `step` is how far a mapping below a key is indented, `listed` how far a list is, `gap` how far an item is from its
    dash.
    """
    head = f"{render_scalar(key)}:"
    if isinstance(value, dict) and value:
        return [head, *_indented(render_block(value, step=step, listed=listed, gap=gap), step)]
    if isinstance(value, list) and value:
        return [head, *_indented(render_block(value, step=step, listed=listed, gap=gap), listed)]
    if isinstance(value, str) and _is_literal(value):
        return [f"{head} {_header(value)}", *_literal_lines(value, step)]
    return [f"{head} {_on_line(value)}"]


def render_block(value: Any, *, step: int, listed: int, gap: int = 2) -> list[str]:
    """Return a mapping or list in block style, as lines without their common indentation."""
    if isinstance(value, dict):
        entries = (render_entry(key, item, step=step, listed=listed, gap=gap) for key, item in value.items())
        return [line for lines in entries for line in lines]
    return [line for item in value for line in render_item(item, step=step, listed=listed, gap=gap)]


def render_item(value: Any, *, step: int, listed: int, gap: int = 2) -> list[str]:
    """Return `- value` in block style, as lines without their common indentation."""
    dash = "-" + " " * (gap - 1)
    if isinstance(value, str) and _is_literal(value):
        return [f"{dash}{_header(value)}", *_literal_lines(value, gap)]
    if isinstance(value, dict | list) and value:
        first, *rest = render_block(value, step=step, listed=listed, gap=gap)
        return [f"{dash}{first}", *_indented(rest, gap)]
    return [f"{dash}{_on_line(value)}"]


def _on_line(value: Any) -> str:
    return render_flow(value) if isinstance(value, dict | list) else render_scalar(value, flow=False)


def _is_literal(text: str) -> bool:
    return "\n" in text.rstrip("\n") and not _NOT_LITERAL.search(text) and not _ESCAPED.search(text)


def _header(text: str) -> str:
    return "|" if text.endswith("\n") else "|-"


def _literal_lines(text: str, indent: int) -> list[str]:
    return _indented(text.removesuffix("\n").split("\n"), indent)


def _indented(lines: list[str], columns: int) -> list[str]:
    return [" " * columns + line if line else line for line in lines]

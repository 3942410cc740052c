"""What a plain YAML scalar means to kubectl and the API server.

They decode with sigs.k8s.io/yaml, whose go-yaml v2 follows YAML 1.1 with its own exceptions: `yes` and `on` are true,
`0o644` and `0644` are 420, a sexagesimal or a date is a string. Recorded answers are in tests/cases/yaml.
"""

import re
from functools import lru_cache

TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"))
FALSE = frozenset(("n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"))
NULL = frozenset(("", "~", "null", "Null", "NULL"))
EVERYWHERE = frozenset(("true", "True", "TRUE", "false", "False", "FALSE"))
"""Booleans that YAML 1.1 and 1.2 agree on; the others are strings to half of the tools."""

Scalar = str | int | float | bool | None

WORDS: dict[str, bool | None] = {**dict.fromkeys(TRUE, True), **dict.fromkeys(FALSE, False), **dict.fromkeys(NULL)}
"""What is no text though it is no number either."""

_SPECIAL: dict[str, float] = {
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_INTEGER = r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))"
_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"


def read_plain(text: str) -> Scalar:
    """Return what kubectl reads in the plain (unquoted) scalar `text`."""
    if text in WORDS:
        return WORDS[text]
    first = text[0]
    if first in "+-.0123456789":
        if text in _SPECIAL:
            return _SPECIAL[text]
        return _known_number(text) if len(text) < _SHORT else _read_number(text)
    return text


_SHORT = 32
"""Characters of what is looked up rather than read again: a file has few numbers, and each many times."""


def _read_number(text: str) -> Scalar:
    digits = text.replace("_", "")
    whole = re.fullmatch(_INTEGER, digits)
    if whole:
        sign, hexadecimal, binary, octal, decimal = whole.groups()
        if hexadecimal:
            value = int(hexadecimal, 16)
        elif binary:
            value = int(binary, 2)
        elif octal:
            value = int(octal, 8)
        else:
            # Past 4,300 digits Python refuses; no field of interest holds one.
            value = int(decimal) if len(decimal) < 20 else 1 << 64
        if -(1 << 63) <= value < 1 << 64:
            return -value if sign == "-" else value
    if re.fullmatch(_FLOAT, digits):
        number = float(digits)
        return int(number) if number.is_integer() and abs(number) < 1 << 53 else number
    return text


_known_number = lru_cache(maxsize=4096)(_read_number)

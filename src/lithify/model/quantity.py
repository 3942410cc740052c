"""Takes quantities such as "64Mi" or "64m" to bytes and back."""

import re
from functools import lru_cache

_UNITS = {
    "": 1, "b": 1,
    "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip
_ENGINE_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_quantity(text: str) -> int:
    """Return a Kubernetes quantity ("64Mi", "1e6", "100m") in whole units, rounded up; ValueError if it is none."""
    value = _value(text)
    return int(value) if value == int(value) else int(value) + 1


def parse_thousandths(text: str) -> int:
    """Return a Kubernetes quantity ("250m", "1.5", "64Mi") in thousandths; ValueError if it is none."""
    return round(_value(text) * 1000)


def render_thousandths(value: int) -> str:
    """Return thousandths as a Kubernetes quantity."""
    return f"{value}m" if value % 1000 else render_quantity(value // 1000)


@lru_cache(maxsize=1024)  # there are few, and each is said many times
def _value(text: str) -> float:
    match = re.fullmatch(r"\+?(\d+(?:\.\d*)?|\.\d+)(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)", text.strip())
    if not match:
        raise ValueError(f"not a quantity: {text!r}")
    number, exponent, unit = match.groups()
    value = float(number + (exponent or ""))
    small = {"n": 1e-9, "u": 1e-6, "m": 1e-3}
    return value * (small[unit] if unit in small else _UNITS[unit or ""])


def parse_engine_size(text: str) -> int:
    """Return a size as engines and tmpfs options write it ("64m", "1g", "4096") in bytes; ValueError if it is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)b?", text.strip().lower())
    if not match:
        raise ValueError(f"not a size: {text!r}")
    return int(float(match[1]) * _ENGINE_UNITS[match[2]])


def render_quantity(size: int) -> str:
    """Return `size` bytes as the shortest exact Kubernetes quantity."""
    for unit in ("Gi", "Mi", "Ki"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)


def render_engine_size(size: int) -> str:
    """Return `size` bytes as the shortest exact size that Docker, Podman and tmpfs options read."""
    for unit in ("g", "m", "k"):
        if size and size % _ENGINE_UNITS[unit] == 0:
            return f"{size // _ENGINE_UNITS[unit]}{unit}"
    return str(size)


def render_human(size: int) -> str:
    """Return `size` bytes for a person to read, in binary units, rounded."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError

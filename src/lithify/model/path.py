"""Container paths: normalise, contain, and name what may never be made writable."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from lithify.model.directories import CODE_DIRECTORIES, SYSTEM_DIRECTORIES
from lithify.model.text import printable as printable

ROOT = PurePosixPath("/")

PSEUDO = tuple(PurePosixPath(p) for p in ("/proc", "/sys", "/dev"))
"""The kernel's own filesystems: mounted by the engine, never part of the root filesystem."""

SYSTEM = tuple(PurePosixPath(p) for p in SYSTEM_DIRECTORIES)
"""Directories of the system itself: a mount may lie somewhere below them, never on them."""

CODE = tuple(PurePosixPath(p) for p in CODE_DIRECTORIES)
"""Directories that hold programs all the way down: nothing below them may be mounted either."""


_SYSTEM_SET = frozenset(SYSTEM)
_PSEUDO_PARTS = frozenset(path.parts for path in PSEUDO)
_CODE_PARTS = frozenset(path.parts for path in CODE)
_LENGTHS = range(2, max(map(len, _CODE_PARTS)) + 1)


def container_path(text: str) -> PurePosixPath:
    """Return `text` as an absolute container path; ValueError where it is relative, climbs, or holds a NUL."""
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or "\0" in text:
        raise ValueError(f"not an absolute path without '..': {printable(text)}")
    # PurePosixPath keeps a leading '//' as POSIX allows; a container has one root.
    return PurePosixPath("/" + str(path).lstrip("/"))


def is_pseudo(path: PurePosixPath) -> bool:
    """Tell whether `path` lies on a kernel filesystem and so never needs a place of its own."""
    return path.parts[:2] in _PSEUDO_PARTS


def is_code(path: PurePosixPath) -> bool:
    """Tell whether `path` is, or lies in, a directory that holds programs all the way down."""
    # Asked for each of many paths: is_relative_to parses both sides anew each time.
    parts = path.parts
    return any(parts[:length] in _CODE_PARTS for length in _LENGTHS)


def is_system(path: PurePosixPath) -> bool:
    """Tell whether `path` is a directory of the system itself, which must never be writable as a whole."""
    return path == ROOT or path in _SYSTEM_SET or is_code(path)


def outermost(paths: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """Return the fewest of `paths` that contain all of them, sorted."""
    kept: list[PurePosixPath] = []
    for path in sorted(set(paths), key=lambda p: p.parts):
        if not (kept and path.is_relative_to(kept[-1])):
            kept.append(path)
    return kept

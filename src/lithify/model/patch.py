"""A patch: a user's file with mount plans written into it, and what could not be written."""

import re
from dataclasses import dataclass

from lithify.model.image import ImageFacts
from lithify.model.location import Route
from lithify.model.mount import MountPlan
from lithify.model.text import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A container at a place of a file, with its plan."""

    document: int
    """Index of the document in its file, empty ones not counted."""
    route: Route
    """The keys that lead to the container: `spec`, `template`, `spec`, `containers`, 0; or `services`, `web`."""
    container: str
    """What the file calls it."""
    plan: MountPlan
    image: ImageFacts | None = None
    """What is known of its image; without it a seed is believed to find a shell there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that a patch says anew."""

    container: str
    document: int
    route: Route
    """What was set or added, in the file as it was."""
    text: str
    """What was done, in a sentence without subject: `sets readOnlyRootFilesystem`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A container that the file was not changed for, why, and what to write there by hand."""

    container: str
    reason: str
    by_hand: str = ""
    """The patch in the file's language, for a person to apply; nothing where none would do."""
    remedy: str = ""
    """What would let the patch be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchedFile:
    """One file of several that a patch writes."""

    path: str
    before: bytes | None
    """None where there is no such file yet."""
    after: bytes
    executable: bool = False

    @property
    def changed(self) -> bool:
        """Tell whether anything is written."""
        return self.before != self.after

    @property
    def diff(self) -> str:
        """What changes, as `diff -u` has it."""
        diff = unified_diff(self.path, self.before or b"", self.after)
        return diff if self.before is not None else f"--- /dev/null\n{diff.partition(chr(10))[2]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patched:
    """A file after patching; the same bytes where nothing had to change."""

    text: bytes
    changes: tuple[Change, ...] = ()
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()
    """What the file's format can't say or the reader should know, in sentences."""
    files: tuple[PatchedFile, ...] = ()
    """What is written instead of `text`, where the input is a folder and `text` what it comes to, or where other files
    change than the one that was named."""
    folder: bool = False
    """The input is a folder; no file of it where nothing had to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchedFiles:
    """What a patch of a chart or kustomization writes; no file where nothing had to change."""

    files: tuple[PatchedFile, ...] = ()
    changes: tuple[Change, ...] = ()
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    """What a person runs from now on, with these files; nothing where it is what it was."""
    manifests: bytes = b""
    """What comes out with these files, as it was checked; nothing where nothing could be."""


_CONTEXT = 3
_HUNK = re.compile(r"@@ -(\d+)((?:,\d+)?) \+(\d+)((?:,\d+)?) @@")


def unified_diff(name: str, before: bytes, after: bytes) -> str:
    """Return what changed as `diff -u` has it; nothing where nothing did.

    Bytes that are not UTF-8 become lone surrogates.
    """
    import difflib  # only for those who look at a diff

    if before == after:
        return ""
    old, new = (data.decode("utf-8", "surrogateescape").split("\n") for data in (before, after))
    first = next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), 0)
    first = max(min(first, len(old) - 1, len(new) - 1) - _CONTEXT, 0)
    last = 0
    # difflib takes time with the square of what it is given, and most of a file is the same.
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    last = max(last - _CONTEXT, 0)
    shown = printable(name).lstrip("/")
    lines = difflib.unified_diff(
        _ended(old, first, last), _ended(new, first, last), f"a/{shown}", f"b/{shown}", n=_CONTEXT
    )
    return "".join(_moved(line, first) for line in lines)


def _ended(lines: list[str], first: int, last: int) -> list[str]:
    """Return a stretch of lines with their ends; the last of a file has none where the file ends without."""
    stretch = [f"{line}\n" for line in lines[first : len(lines) - last]]
    if last == 0:
        stretch[-1] = stretch[-1][:-1]
        if not stretch[-1]:
            stretch.pop()
        else:
            stretch[-1] += "\n\\ No newline at end of file\n"
    return stretch


def _moved(line: str, by: int) -> str:
    hunk = _HUNK.match(line) if by and line.startswith("@@") else None
    if hunk is None:
        return line
    return f"@@ -{int(hunk[1]) + by}{hunk[2]} +{int(hunk[3]) + by}{hunk[4]} @@\n"

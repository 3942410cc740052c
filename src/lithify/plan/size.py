"""Bounds the bytes and names of a place.

What is there at the end says little about what a place needs: stores allocate ahead, sort files come and go, caches
grow. So a place gets what was seen at most, times a factor, and never less than a floor that depends on what it is for.
Too small a floor breaks the program on its first busy day; too large a one only lets a fault use more of the budget.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from lithify.model.mount import PathClass
from lithify.model.quantity import render_human
from lithify.model.writes import Write
from lithify.plan.settings import PlanSettings

MIB = 1 << 20
FLOORS = {
    PathClass.RUNTIME: 4 * MIB,  # pid files, sockets, small registers of a supervisor
    PathClass.CONFIG: 4 * MIB,  # rendered text
    PathClass.SCRATCH: 64 * MIB,  # an upload, a sort, a spilled body: seldom met while learning
    PathClass.CACHE: 64 * MIB,  # empty at the first start, full at the hundredth
    PathClass.LOG: 256 * MIB,  # a minute of learning against weeks of running
    PathClass.STATE: 1024 * MIB,  # stores allocate ahead: 256 MiB were too few for one that used 1 MiB
    PathClass.IDENTITY: 4 * MIB,
    PathClass.CODE: 64 * MIB,
}
"""Bytes that a place of a class gets at least."""
NAMES_FLOOR = {PathClass.RUNTIME: 1024, PathClass.CONFIG: 1024}
"""Inodes that a memory-backed place of a class gets at least."""
NAMES_FLOOR_ELSEWHERE = 16384
_NAMES_UNIT = 1024
_PAGE = 4096
"""Bytes that a file of a single one takes in a tmpfs, and on most disks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What was seen in a place at most."""

    size: int = 0
    entries: int = 0
    watched: bool = False
    """Something watched it grow, instead of looking at what was left."""

    @property
    def room(self) -> int:
        """Bytes that were taken up, about: 20,000 files of one byte are 80 MiB."""
        return max(self.size, self.entries * _PAGE)


def extent(writes: Iterable[Write]) -> Extent:
    """Return the bytes and entries that `writes` took up; what a directory sums up counts once."""
    totals: list[tuple[tuple[str, ...], int, int]] = []  # an open branch: path, bytes, bytes seen below it
    size = entries = 0
    watched = False

    def close() -> None:
        nonlocal size
        _, own, below = totals.pop()
        if totals:
            parts, outer, inner = totals[-1]
            totals[-1] = (parts, outer, inner + max(own, below))
        else:
            size += max(own, below)

    for write in sorted(writes, key=lambda w: w.path.parts):
        parts = write.path.parts
        while totals and parts[: len(totals[-1][0])] != totals[-1][0]:
            close()
        watched |= write.peak is not None
        entries += max(1, write.entries, len(write.names))
        totals.append((parts, max(write.size, write.peak or 0), 0))
    while totals:
        close()
    return Extent(size=size, entries=entries, watched=watched)


def bound_size(
    classes: Iterable[PathClass], seen: Extent, *, seed_bytes: int, larger: int | None, settings: PlanSettings
) -> tuple[int, str]:
    """Return the bytes that a place gets, in whole MiB, and why."""
    floor = max((FLOORS[c] for c in classes), default=FLOORS[PathClass.SCRATCH])
    wanted = int(seen.room * settings.size_factor) + seed_bytes
    size = _round_up(max(floor, wanted, larger or 0), MIB)
    how = "at most, as it was watched" if seen.watched else "at the end"
    seed = f" and {render_human(seed_bytes)} from the image" if seed_bytes else ""
    pages = f" in {seen.entries} entries of a page or more" if seen.room > max(seen.size, MIB) else ""
    why = (
        f"{render_human(size)}: {render_human(seen.size)}{pages} were seen {how}{seed}, times {settings.size_factor:g}"
    )
    if larger is not None and larger >= max(floor, wanted):
        return size, f"{why}; a run showed that it needs more."
    if floor > wanted:
        return size, f"{why}, but never less than {render_human(floor)} for what it is for."
    return size, f"{why}."


def bound_names(classes: Iterable[PathClass], seen: Extent, seed_entries: int, settings: PlanSettings) -> int:
    """Return the inodes that a memory-backed place gets."""
    floor = max((NAMES_FLOOR.get(c, NAMES_FLOOR_ELSEWHERE) for c in classes), default=NAMES_FLOOR_ELSEWHERE)
    return _round_up(max(floor, int(seen.entries * settings.size_factor) + seed_entries), _NAMES_UNIT)


def larger_for(path: PurePosixPath, settings: PlanSettings, nested: Iterable[PurePosixPath]) -> int | None:
    """Return the bytes that runs showed the place at `path` to need; None where none did."""
    inner = tuple(nested)
    asked = (
        size
        for place, size in settings.larger.items()
        if place.is_relative_to(path) and not any(place.is_relative_to(other) for other in inner)
    )
    return max(asked, default=None)


def _round_up(number: int, unit: int) -> int:
    return -(-number // unit) * unit

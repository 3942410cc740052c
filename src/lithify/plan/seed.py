"""Decides how the image's content below a place comes back, and counts what a place exposes and hides.

A mount starts empty, and what the image has there is gone for the program. Hiding is the riskier side: a program that
misses a file fails in its own way, often late; one that finds a file it does not need does not notice. So content is
put back wherever that is cheap, or where the program was seen to use it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from lithify.model.image import EntryType, ImageEntry
from lithify.model.mount import PathClass, Seed
from lithify.model.quantity import render_human
from lithify.model.text import counted
from lithify.plan.settings import PlanSettings

CHEAP_SEED = 16 << 20
"""Bytes that are copied at each start without being noticed (tens of milliseconds), so nobody has to ask for them."""
_MADE_AGAIN = frozenset({PathClass.SCRATCH, PathClass.RUNTIME, PathClass.LOG, PathClass.CACHE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What the image has below a place, places of their own below it taken off."""

    entries: int = 0
    files: int = 0
    size: int = 0
    executables: int = 0

    @property
    def directories(self) -> int:
        """Entries that are directories."""
        return self.entries - self.files


def footprint(entry: ImageEntry | None, nested: Iterable[ImageEntry] = ()) -> Footprint:
    """Return what the image has below `entry`, or at it for a file, without what `nested` hold."""
    if entry is None:
        return Footprint()
    if entry.type is not EntryType.DIRECTORY:
        return Footprint(entries=1, files=1, size=entry.size, executables=entry.executables)
    parts = list(nested)
    if not parts:
        return Footprint(entries=entry.entries, files=entry.files, size=entry.size, executables=entry.executables)
    inner = [part for part in parts if part.type is EntryType.DIRECTORY]
    return Footprint(
        entries=max(0, entry.entries - len(parts) - sum(part.entries for part in inner)),
        files=max(0, entry.files - (len(parts) - len(inner)) - sum(part.files for part in inner)),
        size=max(0, entry.size - sum(part.size for part in parts)),
        executables=max(0, entry.executables - sum(part.executables for part in parts)),
    )


def choose_seed(
    path: PurePosixPath, print_: Footprint, classes: frozenset[PathClass], *, used: bool, settings: PlanSettings
) -> Seed:
    """Return the cheapest way to bring back what is below `path` that is safe.

    `used` says that files of the image were seen opened or changed there.
    """
    if print_.entries == 0:
        return Seed.NONE
    if print_.files == 0:
        return Seed.SKELETON
    if any(missed.is_relative_to(path) for missed in settings.needs_seed):
        return Seed.CONTENT
    if path in settings.no_seed:
        return Seed.SKELETON
    if used or print_.size <= CHEAP_SEED or not classes <= _MADE_AGAIN:
        return Seed.CONTENT
    return Seed.SKELETON


def counts(print_: Footprint, seed: Seed) -> tuple[int, int, int]:
    """Return the image entries that become writable, those that are hidden for good, and the bytes to copy."""
    match seed:
        case Seed.CONTENT:
            return print_.entries, 0, print_.size
        case Seed.SKELETON:
            return print_.directories, print_.files, 0
    return 0, print_.entries, 0


def explain_seed(path: PurePosixPath, print_: Footprint, seed: Seed, *, used: bool, settings: PlanSettings) -> str:
    """Say why the image's content comes back as `seed` says."""
    if seed is Seed.NONE:
        return "The image has nothing here, so nothing is hidden and nothing has to be put back."
    if seed is Seed.SKELETON and print_.files == 0:
        return f"The image has {counted(print_.directories, 'directory')} here and no files: made again, empty."
    if seed is Seed.SKELETON:
        why = (
            "a run did without them" if path in settings.no_seed else "they are large and nothing was seen to use them"
        )
        return (
            f"Of what the image has here it gets {counted(print_.directories, 'directory')}, and not "
            f"{counted(print_.files, 'file')} ({render_human(print_.size)}): {why}."
        )
    if print_.entries == print_.files == 1:
        content = f"one file ({render_human(print_.size)})"
    else:
        content = f"{counted(print_.entries, 'entry')} ({render_human(print_.size)})"
    missed = any(path_.is_relative_to(path) for path_ in settings.needs_seed)
    why = "a run missed it" if missed else "the program uses it" if used else "hiding it would be the greater risk"
    return f"The image's content here, {content}, is put back: {why}."

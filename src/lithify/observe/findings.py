"""What a walk over written files has found so far: bounded, cheap to send between processes, and turned into writes."""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

from lithify.model.image import EntryType
from lithify.model.path import printable
from lithify.model.writes import Change, Source, Write
from lithify.observe import content
from lithify.observe.entries import LOOKS, TELLING_NAME, Entry, owner_and_mode
from lithify.observe.layers import OPEN_DIRECTORY
from lithify.observe.merge import strongest

DEEPEST = 320
"""Levels of directories that are read; deeper ones are counted and noted."""
_FOLD = 256
_COARSE = 2000
_KINDS = 512
_COMPARED_FILE = 1 << 20
_COMPARED = 16 << 20
"""Bytes of one file, and of all, that are held against the image's: what starts rewrite is configuration."""
_NAMES_COME_AND_GO = frozenset((Change.CREATED, Change.DELETED, Change.REPLACED))


@dataclass(slots=True)
class Inside:
    """What the entries of one directory of the image tell of the directory itself."""

    entries: int = 0
    explained: bool = False
    """Names came or went that are still to be seen, which accounts for its modification time."""
    engine_time: int = 0
    """When the engine last made something of its own in it (ns); 0 where it did not."""
    kinds: dict[Change, int] = field(default_factory=dict)
    folded: dict[Change, Entry] = field(default_factory=dict)


def _folded_change(change: Change) -> Change:
    """Return what is said of a directory in which more entries than can be named had `change`."""
    if change in _NAMES_COME_AND_GO:
        return Change.CAME_AND_WENT
    return Change.CHANGED if change is Change.OPENED else change


def _sort_key(path: str) -> list[str]:
    return path.split("/")


@dataclass(slots=True)
class Findings:
    """What has been found so far.

    Of one directory a few hundred entries of a kind are named, the rest is folded into one write of the directory; of a
    new directory, everything below it is. What exceeds the budget goes to the directories above.
    """

    source: Source
    budget: int
    found: dict[str, Entry] = field(default_factory=dict)
    coarse: dict[str, Entry] = field(default_factory=dict)
    kinds_left: int = _KINDS
    bytes_left: int = _COMPARED
    vanished: int = 0
    unreadable: list[str] = field(default_factory=list)
    too_deep: list[str] = field(default_factory=list)
    remarks: set[str] = field(default_factory=set)

    def failed(self, path: str, error: OSError) -> None:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            self.vanished += 1
        elif len(self.unreadable) < 8:
            self.unreadable.append(f"{printable(path or '/')}: {error.strerror}")

    def fold(self, descriptor: int, path: str, top: str) -> None:
        """Count everything below an open directory for the new directory `top` that it lies in or is."""
        self._fold(descriptor, path, top, path.count("/"))

    def _fold(self, descriptor: int, path: str, top: str, depth: int) -> None:
        try:
            names = self.fold_one(descriptor, path, top)
        except OSError as error:
            self.failed(path, error)
            return
        if names and depth > DEEPEST:
            self.too_deep.append(path)
            return
        for name in names:
            try:
                child = os.open(name, OPEN_DIRECTORY, dir_fd=descriptor)
            except OSError as error:
                self.failed(f"{path}/{name}", error)
                continue
            try:
                self._fold(child, f"{path}/{name}", top, depth + 1)
            finally:
                os.close(child)

    def fold_one(self, descriptor: int, path: str, top: str) -> list[str]:
        """Count the entries of one open directory for the new directory `top`; return the names of directories."""
        # This loop sees every entry of a large layer: it is kept lean, at the price of looks.
        total = self._total(top)
        prefix = f"{path}/"[len(top) + 1 :]
        below: list[str] = []
        count = size = 0
        looks = min(total.looks, _FOLD)
        with os.scandir(descriptor) as listing:
            for entry in listing:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.name)
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    self.vanished += 1
                    continue
                count += 1
                length = status.st_size
                stored = status.st_blocks << 9
                size += length if length < stored else stored
                if looks:
                    looks -= 1
                    total.looks -= 1
                    self._look(descriptor, entry.name, status, total, prefix)
        total.entries += count + len(below)
        total.size += size
        return below

    def _total(self, top: str) -> Entry:
        """Return what counts the entries below `top`, which another process may have found to be new."""
        total = self.coarse.get(top) or self.found.get(top)
        if total is None:
            total = self.found[top] = Entry(Change.CREATED, EntryType.DIRECTORY, entries=0)
        return total

    def _look(self, descriptor: int, name: str, status: os.stat_result, total: Entry, prefix: str) -> None:
        """Take the name of an entry below a new directory as a sample, and what its first bytes tell."""
        total.add_name(prefix + name)
        if stat.S_ISSOCK(status.st_mode):
            total.content = content.more_telling(total.content, "socket")
        elif total.looks > LOOKS - 64 or TELLING_NAME.search(name):
            total.content = content.more_telling(total.content, self.kind(descriptor, name, status))

    def kind(self, directory: int, name: str, status: os.stat_result) -> str | None:
        """Return what the first bytes of a file tell; None where it is no regular file, or enough were looked at."""
        if not self.kinds_left or not stat.S_ISREG(status.st_mode):
            return None
        self.kinds_left -= 1
        return content.read_kind(directory, name)

    def is_as_before(self, directory: int, holder: int, name: str, status: os.stat_result, old: os.stat_result) -> bool:
        """Tell whether a file is what the image's of its name is; False where it is large, or enough were read."""
        size = status.st_size
        alike = size == old.st_size and owner_and_mode(status) == owner_and_mode(old)
        if not alike or size > min(_COMPARED_FILE, self.bytes_left):
            return False
        self.bytes_left -= size
        return content.same_content(directory, holder, name, size)

    def add(self, inside: Inside, path: str, entry: Entry) -> None:
        """Keep an entry of a directory; beyond a few hundred of a kind, as part of the directory's."""
        inside.explained = inside.explained or entry.change in _NAMES_COME_AND_GO
        seen = inside.kinds[entry.change] = inside.kinds.get(entry.change, 0) + 1
        if seen <= _FOLD:
            self.put(path, entry)
            return
        key = _folded_change(entry.change)
        folded = inside.folded.setdefault(key, Entry(key, EntryType.DIRECTORY, entries=0))
        folded.size += entry.size
        folded.entries += 1
        folded.content = content.more_telling(folded.content, entry.content)
        if folded.looks:
            folded.looks -= 1
            folded.add_name(path.rpartition("/")[2])

    def close_directory(self, path: str, inside: Inside) -> None:
        """Keep what was folded of a directory's entries as a write of the directory itself."""
        for change, entry in inside.folded.items():
            entry.change, entry.type = change, EntryType.DIRECTORY
            self.put(path, entry)

    def put(self, path: str, entry: Entry) -> None:
        """Keep an entry by its own path, or beyond the budget as part of a directory above it."""
        other = self.found.get(path)
        if other is not None:
            entry.change = strongest((entry.change, other.change))
            entry.add(other)
            entry.entries -= 1
        elif len(self.found) >= self.budget:
            self.coarsen(path, entry)
            return
        self.found[path] = entry

    def coarsen(self, path: str, entry: Entry) -> None:
        """Keep an entry that is beyond the budget as part of a directory above it."""
        top = self.coarse_top(path)
        folded = self.coarse.setdefault(top, Entry(_folded_change(entry.change), EntryType.DIRECTORY, entries=0))
        if entry.change in _NAMES_COME_AND_GO or entry.change is Change.CAME_AND_WENT:
            folded.change = Change.CAME_AND_WENT
        folded.size += entry.size
        folded.entries += entry.entries
        if folded.looks:
            folded.looks -= 1
            folded.add_name(path[len(top) + 1 :])

    def coarse_top(self, path: str) -> str:
        parent = path.rpartition("/")[0]
        if parent in self.coarse or len(self.coarse) < _COARSE:
            return parent
        return "/".join(parent.split("/")[:4])

    def absorb(self, others: "Iterable[Findings]") -> None:
        """Take in what other processes found."""
        for other in others:
            for path, entry in other.found.items():
                mine = self.coarse.get(path) or self.found.get(path)
                if mine is not None:
                    mine.add(entry)
                elif len(self.found) < self.budget:
                    self.found[path] = entry
                else:
                    self.coarsen(path, entry)
            for path, entry in other.coarse.items():
                mine = self.coarse.setdefault(path, entry)
                if mine is not entry:
                    mine.add(entry)
            self.vanished += other.vanished
            self.unreadable = (self.unreadable + other.unreadable)[:8]
            self.too_deep += other.too_deep
            self.remarks |= other.remarks

    def writes(self) -> tuple[Write, ...]:
        """Return everything found, sorted by path."""
        for path, entry in self.coarse.items():
            other = self.found.get(path)
            if other is not None:
                other.add(entry)
                other.change = strongest((other.change, entry.change))
            else:
                self.found[path] = entry
        return tuple(self.found[path].write(path, self.source) for path in sorted(self.found, key=_sort_key))

    def notes(self) -> tuple[str, ...]:
        """Return, in sentences, what was not read, and why."""
        notes = sorted(self.remarks)
        if self.vanished:
            notes.append(f"{self.vanished} entries vanished while the layer was read")
        if self.unreadable:
            notes.append("could not be read: " + "; ".join(self.unreadable))
        if self.too_deep:
            notes.append(f"not read below {printable(self.too_deep[0][:200])}...: more than {DEEPEST} directories deep")
        if self.coarse:
            notes.append(f"more than {self.budget} writes: the rest is folded into {len(self.coarse)} directories")
        return tuple(notes)

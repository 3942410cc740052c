"""Reads from an overlay's upper layer, entry by entry, what a container wrote.

The kernel's documentation (filesystems/overlayfs.rst) says what the layer holds; what it tells beyond that:

- A directory of the image that overlayfs copies up as the parent of something deeper keeps the times it had below. One
  whose modification time is another had entries made, removed or renamed in it, even where nothing is left of them.
- A directory copied up with nothing under it was itself the goal: of a mode, owner or attribute, or of O_TMPFILE, which
  changes no name and no time.
- A file that was copied up bears the mark `origin`; one without it is a new inode under an old name: renamed over the
  image's file, or made after that was removed. (Files with several links bear no mark.)
- The upper directory of `/` is made by the engine, not copied up: its birth time stands for the time it had below.

Reading never follows a link, goes by descriptors only, and takes what vanishes or changes meanwhile as it comes.
"""

import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from lithify.engines.base import UpperLayer
from lithify.errors import NothingToExamine, NotPermitted
from lithify.model.image import EntryType
from lithify.model.path import printable
from lithify.model.writes import Change, Source, Write, WriterStyle
from lithify.observe import content, forked, kernel
from lithify.observe.entries import LOOKS, TELLING_NAME, Entry, entry_type, same_time
from lithify.observe.layers import OPEN_DIRECTORY, MergedDirectory, is_whiteout, mark_name, read_mark
from lithify.observe.merge import strongest

_SHARE = 256
"""Directories that must be waiting before a second process pays off."""
_FOLD = 256
"""Entries of one directory and kind that are named one by one; the rest is folded into one write of the directory."""
_COARSE = 2000
_KINDS = 512
_DEEPEST = 320
_SLACK = 20_000_000
"""Nanoseconds within which two times count as one event: timestamps advance by the timer tick, up to 10 ms."""
_NAMES_COME_AND_GO = frozenset((Change.CREATED, Change.DELETED, Change.REPLACED))


def read_upper_layer(
    layer: UpperLayer, *, budget: int = 20_000, processes: int | None = None
) -> tuple[tuple[Write, ...], tuple[str, ...]]:
    """Return what `layer` says was written, sorted by path, and notes on what could not be read.

    A directory that is new stands for all below it. No more than about `budget` writes are named; more are folded into
    writes of the directories that hold them, with a note. `processes` (by default as many as may run, two at most)
    share the reading of a large layer; a process with threads reads alone, since it can't fork safely. Raises
    NothingToExamine where the layer is gone, NotPermitted where it may not be read.
    """
    reading = _Reading(_Config.of(layer, budget))
    with _opened(layer) as (upper, lower):
        reading.note_rights(upper)
        waiting = _spread(reading, upper, lower)
        workers = forked.usable(processes) if len(waiting) >= _SHARE else 1
        if workers > 1:
            reading.absorb(_share(reading, waiting, upper, lower, workers))
        else:
            for unit in waiting:
                reading.read_all(unit, upper, lower)
    return reading.writes(), reading.notes()


@dataclass(frozen=True, slots=True)
class _Config:
    """What a reading goes by."""

    user_xattr: bool
    noise: dict[str, frozenset[str]]
    """Names the engine makes, by directory."""
    noise_parents: frozenset[str]
    budget: int
    source: Source = Source.LAYER

    @classmethod
    def of(cls, layer: UpperLayer, budget: int) -> "_Config":
        names: dict[str, set[str]] = {}
        parents: set[str] = set()
        for path in layer.noise:
            names.setdefault(_text(path.parent), set()).add(path.name)
            parents.update(_text(parent) for parent in path.parents)
        return cls(layer.user_xattr, {k: frozenset(v) for k, v in names.items()}, frozenset(parents), budget)


def _text(path: PurePosixPath) -> str:
    """Return `path` with `/` as the empty string, so that a name can be joined by a slash."""
    return "" if str(path) == "/" else str(path)


class _opened:  # noqa: N801 - a context manager, used as a function
    """Opens the upper directory and the merged lower root, and closes both."""

    def __init__(self, layer: UpperLayer) -> None:
        self._layer = layer

    def __enter__(self) -> tuple[int, MergedDirectory]:
        try:
            self._upper = os.open(self._layer.upper, OPEN_DIRECTORY)
        except OSError as error:
            raise _gone(error) from error
        try:
            self._lower = MergedDirectory.open_root(self._layer.lowers, user_xattr=self._layer.user_xattr)
        except OSError as error:
            os.close(self._upper)
            raise _gone(error) from error
        return self._upper, self._lower

    def __exit__(self, *_: object) -> None:
        self._lower.close()
        os.close(self._upper)


def _gone(error: OSError) -> NothingToExamine | NotPermitted:
    where = printable(error.filename)
    if isinstance(error, PermissionError):
        return NotPermitted(f"may not read the layer {where}", hint="run lithify as root, or as the engine's user")
    return NothingToExamine(
        f"the layer {where} can't be opened: {error.strerror}", hint="is the container still there?"
    )


@dataclass(frozen=True, slots=True)
class _Unit:
    """A directory that is still to be read."""

    path: str
    lower: str | None = None
    """Where its lower twin lies in the image (redirects move it); None where it has none."""
    top: str | None = None
    """The new directory that it lies in or is; None for a directory of the image."""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def _spread(reading: "_Reading", upper: int, lower: MergedDirectory) -> list[_Unit]:
    """Read the uppermost directories, level by level; return what waits then: nothing, or enough to share."""
    waiting = deque([_Unit(path="", lower="")])
    while waiting and len(waiting) < _SHARE:
        waiting.extend(reading.read_one(waiting.popleft(), upper, lower))
    return list(waiting)


def _share(
    reading: "_Reading", waiting: list[_Unit], upper: int, lower: MergedDirectory, workers: int
) -> "list[_Reading]":
    """Have `workers` processes read what waits; return what each of them found."""

    def work(indices: Iterator[int]) -> _Reading:
        own = _Reading(reading.config, marks_seen=reading.marks_seen)
        for index in indices:
            own.read_all(waiting[index], upper, lower)
        return own

    return forked.share(work, len(waiting), workers)


@dataclass(slots=True)
class _Reading:
    """What has been found so far."""

    config: _Config
    found: dict[str, Entry] = field(default_factory=dict)
    coarse: dict[str, Entry] = field(default_factory=dict)
    kinds_left: int = _KINDS
    marks_seen: bool = False
    """Marks of copied-up entries can be read here."""
    vanished: int = 0
    unreadable: list[str] = field(default_factory=list)
    too_deep: list[str] = field(default_factory=list)
    remarks: set[str] = field(default_factory=set)

    # -- the walk -----------------------------------------------------------------------------------------------------

    def read_one(self, unit: _Unit, upper: int, lower: MergedDirectory) -> list[_Unit]:
        """Read one directory, opened from the roots; return those below it."""
        if unit.path.count("/") > _DEEPEST:
            self.too_deep.append(unit.path)
            return []
        try:
            descriptor = _open_below(upper, unit.path)
        except OSError as error:
            self._failed(unit.path, error)
            return []
        try:
            if unit.top is not None:
                return [_below(unit, name) for name in self._fold_one(descriptor, unit)]
            twin = lower.descend(unit.lower) if unit.lower is not None else None
            try:
                return self._compare(descriptor, twin, unit)
            finally:
                if twin is not None:
                    twin.close()
        except OSError as error:
            self._failed(unit.path, error)
            return []
        finally:
            os.close(descriptor)

    def read_all(self, unit: _Unit, upper: int, lower: MergedDirectory) -> None:
        """Read a directory, opened from the roots, and everything below it."""
        if unit.top is None:
            for each in self.read_one(unit, upper, lower):
                self.read_all(each, upper, lower)
            return
        try:
            descriptor = _open_below(upper, unit.path)
        except OSError as error:
            self._failed(unit.path, error)
            return
        try:
            self._fold(descriptor, unit, unit.path.count("/"))
        finally:
            os.close(descriptor)

    def _failed(self, path: str, error: OSError) -> None:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            self.vanished += 1
        elif len(self.unreadable) < 8:
            self.unreadable.append(f"{printable(path or '/')}: {error.strerror}")

    # -- a directory that is new, with all below it -------------------------------------------------------------------

    def _fold(self, descriptor: int, unit: _Unit, depth: int) -> None:
        try:
            names = self._fold_one(descriptor, unit)
        except OSError as error:
            self._failed(unit.path, error)
            return
        if names and depth > _DEEPEST:
            self.too_deep.append(unit.path)
            return
        for name in names:
            try:
                child = os.open(name, OPEN_DIRECTORY, dir_fd=descriptor)
            except OSError as error:
                self._failed(f"{unit.path}/{name}", error)
                continue
            try:
                self._fold(child, _below(unit, name), depth + 1)
            finally:
                os.close(child)

    def _fold_one(self, descriptor: int, unit: _Unit) -> list[str]:
        """Add the entries of one directory to the new directory it lies in; return the names of directories."""
        # This loop sees every entry of a large layer: it is kept lean, at the price of looks.
        assert unit.top is not None
        total = self._total(unit.top)
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
                    self._look(descriptor, entry.name, status, total, unit)
        total.entries += count + len(below)
        total.size += size
        return below

    def _total(self, top: str) -> Entry:
        """Return what counts the entries below `top`, which another process may have found to be new."""
        total = self.coarse.get(top) or self.found.get(top)
        if total is None:
            total = self.found[top] = Entry(Change.CREATED, EntryType.DIRECTORY, entries=0)
        return total

    def _look(self, descriptor: int, name: str, status: os.stat_result, total: Entry, unit: _Unit) -> None:
        """Take the name of an entry below a new directory as a sample, and what its first bytes tell."""
        assert unit.top is not None
        total.add_name(f"{unit.path}/{name}"[len(unit.top) + 1 :])
        if stat.S_ISSOCK(status.st_mode):
            total.content = content.more_telling(total.content, "socket")
        elif (
            stat.S_ISREG(status.st_mode) and self.kinds_left and (total.looks > LOOKS - 64 or TELLING_NAME.search(name))
        ):
            self.kinds_left -= 1
            total.content = content.more_telling(total.content, content.read_kind(descriptor, name))

    # -- a directory of the image -------------------------------------------------------------------------------------

    def _compare(self, descriptor: int, twin: MergedDirectory | None, unit: _Unit) -> list[_Unit]:
        """Hold one directory of the upper layer against its lower twin; return the directories below it."""
        noise = self.config.noise.get(unit.path, frozenset())
        inside = _Inside()
        below: list[_Unit] = []
        with os.scandir(descriptor) as listing:
            for entry in listing:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    self.vanished += 1
                    continue
                if entry.name in noise:
                    inside.engine_time = max(inside.engine_time, status.st_ctime_ns)
                    continue
                inside.entries += 1
                holder, old = (twin.find(entry.name) if twin is not None else None) or (None, None)
                path = f"{unit.path}/{entry.name}"
                if stat.S_ISDIR(status.st_mode):
                    child = self._directory(descriptor, path, status, old, unit, inside)
                    if child is not None:
                        below.append(child)
                elif is_whiteout(status):
                    if old is not None:
                        self._add(inside, path, Entry(Change.DELETED, entry_type(old)))
                else:
                    self._add(inside, path, self._file(descriptor, entry.name, status, old, holder))
        self._close_directory(descriptor, twin, unit, inside)
        return below

    def _directory(
        self, parent: int, path: str, status: os.stat_result, old: os.stat_result | None, unit: _Unit, inside: "_Inside"
    ) -> _Unit | None:
        """Judge a directory of the upper layer; return it where it must be read itself."""
        name = path.rpartition("/")[2]
        try:
            descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
        except OSError as error:
            self._failed(path, error)
            return None
        try:
            opaque = read_mark(descriptor, mark_name("opaque", self.config.user_xattr)) == b"y"
            redirect = read_mark(descriptor, mark_name("redirect", self.config.user_xattr))
            self.marks_seen = self.marks_seen or opaque or self._has_origin(parent, name)
            if old is None and path in self.config.noise_parents and self._only_noise(descriptor, path):
                inside.entries -= 1
                inside.engine_time = max(inside.engine_time, status.st_ctime_ns)
                return None
        finally:
            os.close(descriptor)
        if redirect is not None:
            return self._renamed(path, status, old, os.fsdecode(redirect), unit, inside)
        if old is None and path in self.config.noise_parents:
            inside.entries -= 1
            inside.engine_time = max(inside.engine_time, status.st_ctime_ns)
            return _Unit(path=path)  # the engine made it for something of its own; the rest in it is the program's
        if old is not None and stat.S_ISDIR(old.st_mode) and not opaque:
            return _Unit(path=path, lower=f"{unit.lower}/{name}")
        inside.explained = True
        entry = Entry.of(Change.CREATED if old is None else Change.REPLACED, status)
        if len(self.found) >= self.config.budget:
            self._coarsen(path, entry)
            return _Unit(path=path, top=self._coarse_top(path))
        self.found[path] = entry
        return _Unit(path=path, top=path)

    def _renamed(
        self,
        path: str,
        status: os.stat_result,
        old: os.stat_result | None,
        target: str,
        unit: _Unit,
        inside: "_Inside",
    ) -> _Unit:
        """A directory of the image that was renamed: overlayfs leaves a redirect to where its content still lies."""
        entry = Entry.of(Change.CREATED if old is None else Change.REPLACED, status)
        entry.style = WriterStyle.RENAME
        entry.names = [target.rpartition("/")[2]]
        self._add(inside, path, entry)
        lower = target if target.startswith("/") else f"{unit.lower}/{target}"
        return _Unit(path=path, lower=lower)

    def _file(
        self, directory: int, name: str, status: os.stat_result, old: os.stat_result | None, holder: int | None
    ) -> Entry:
        """Judge an entry that is no directory, against what the image has under its name."""
        entry = Entry.of(Change.CREATED, status)
        if old is None or holder is None:
            entry.content = self._kind(directory, name, status)
            return entry
        if stat.S_IFMT(status.st_mode) != stat.S_IFMT(old.st_mode):
            entry.change = Change.REPLACED
            entry.content = self._kind(directory, name, status)
        elif stat.S_ISREG(status.st_mode):
            self._regular(entry, directory, name, status, old, holder)
        elif stat.S_ISLNK(status.st_mode) and _link(directory, name) == _link(holder, name):
            entry.change = Change.METADATA
        else:
            entry.change = Change.METADATA if self._has_origin(directory, name) else Change.REPLACED
        return entry

    def _regular(
        self, entry: Entry, directory: int, name: str, status: os.stat_result, old: os.stat_result, holder: int
    ) -> None:
        marks = _attributes(directory, name)
        origin = marks.get(mark_name("origin", self.config.user_xattr))
        if mark_name("metacopy", self.config.user_xattr) in marks:
            entry.change, entry.style = Change.METADATA, WriterStyle.IN_PLACE
            return
        self.marks_seen = self.marks_seen or origin is not None
        if self._is_other_inode(origin, old, holder, name):
            entry.change, entry.style = Change.REPLACED, WriterStyle.RENAME
            entry.content = self._kind(directory, name, status)
            return
        if origin is not None:
            entry.style = WriterStyle.IN_PLACE
        if status.st_size != old.st_size or not same_time(status.st_mtime_ns, old.st_mtime_ns):
            entry.change = Change.CHANGED
            entry.content = self._kind(directory, name, status)
        elif _metadata(status) != _metadata(old) or not _same_attributes(marks, _attributes(holder, name)):
            entry.change = Change.METADATA
        else:
            entry.change = Change.OPENED

    def _is_other_inode(self, origin: bytes | None, old: os.stat_result, holder: int, name: str) -> bool:
        """Tell whether a file is not the copy of the image's file under its name."""
        if origin is None:
            # Files with several links are copied up without the mark, and so is everything where marks can't be kept.
            return self.marks_seen and old.st_nlink == 1
        # struct ovl_fb: version, magic, length, flags, type (1 byte each), uuid (16), then the lower file's handle.
        if len(origin) <= 21:
            return False
        handle = kernel.file_handle(holder, name)
        return handle is not None and len(origin) == 21 + len(handle) and origin[21:] != handle

    def _close_directory(self, descriptor: int, twin: MergedDirectory | None, unit: _Unit, inside: "_Inside") -> None:
        """Say what happened to a directory of the image itself, once its entries are known."""
        for key, entry in inside.folded.items():
            entry.change, entry.type = key, EntryType.DIRECTORY
            self._put(unit.path, entry)
        if twin is None:
            return
        status = os.fstat(descriptor)
        old = twin.status
        if unit.path == "":
            self._close_root(descriptor, status, inside)
            return
        moved = not same_time(status.st_mtime_ns, old.st_mtime_ns)
        by_engine = inside.engine_time and status.st_mtime_ns <= inside.engine_time + _SLACK
        other_metadata = _metadata(status) != _metadata(old)
        untouched_inside = not inside.entries and not inside.engine_time
        if moved and not inside.explained and not by_engine:
            self._put(unit.path, Entry.of(Change.CAME_AND_WENT, status))
        elif other_metadata or (untouched_inside and not moved and _other_attributes(descriptor, twin)):
            self._put(unit.path, Entry.of(Change.METADATA, status))
        elif untouched_inside and not moved:
            # Copied up for itself, and nothing about it is new: O_TMPFILE, or a chown or chmod to what it had.
            self._put(unit.path, Entry.of(Change.CAME_AND_WENT, status))

    def _close_root(self, descriptor: int, status: os.stat_result, inside: "_Inside") -> None:
        born = kernel.birth_time(descriptor)
        if born is None or inside.explained:
            return
        if status.st_mtime_ns > max(born, inside.engine_time) + _SLACK:
            self._put("", Entry.of(Change.CAME_AND_WENT, status))

    # -- small judgements ---------------------------------------------------------------------------------------------

    def note_rights(self, upper: int) -> None:
        """See whether marks can be read here at all."""
        prefix = mark_name("", self.config.user_xattr)
        with suppress(OSError):
            self.marks_seen = any(name.startswith(prefix) for name in os.listxattr(upper))
        if not self.config.user_xattr and os.geteuid() != 0:
            self.remarks.add("without root the marks of overlayfs can't be read: replaced files count as changed")

    def _has_origin(self, directory: int, name: str) -> bool:
        return mark_name("origin", self.config.user_xattr) in _attributes(directory, name)

    def _only_noise(self, descriptor: int, path: str) -> bool:
        """Tell whether a new directory holds nothing but what the engine makes."""
        noise = self.config.noise.get(path, frozenset())
        with os.scandir(descriptor) as listing:
            for entry in listing:
                if entry.name in noise:
                    continue
                child = f"{path}/{entry.name}"
                if child not in self.config.noise_parents or not entry.is_dir(follow_symlinks=False):
                    return False
                try:
                    below = os.open(entry.name, OPEN_DIRECTORY, dir_fd=descriptor)
                except OSError:
                    return False
                try:
                    if not self._only_noise(below, child):
                        return False
                finally:
                    os.close(below)
        return True

    def _kind(self, directory: int, name: str, status: os.stat_result) -> str | None:
        if not self.kinds_left or not stat.S_ISREG(status.st_mode):
            return None
        self.kinds_left -= 1
        return content.read_kind(directory, name)

    # -- what was found -----------------------------------------------------------------------------------------------

    def _add(self, inside: "_Inside", path: str, entry: Entry) -> None:
        """Keep an entry of a directory; beyond a few hundred of a kind, as part of the directory's."""
        inside.explained = inside.explained or entry.change in _NAMES_COME_AND_GO
        seen = inside.kinds[entry.change] = inside.kinds.get(entry.change, 0) + 1
        if seen <= _FOLD:
            self._put(path, entry)
            return
        key = _folded_change(entry.change)
        folded = inside.folded.setdefault(key, Entry(key, EntryType.DIRECTORY, entries=0))
        folded.size += entry.size
        folded.entries += 1
        folded.content = content.more_telling(folded.content, entry.content)
        if folded.looks:
            folded.looks -= 1
            folded.add_name(path.rpartition("/")[2])

    def _put(self, path: str, entry: Entry) -> None:
        other = self.found.get(path)
        if other is not None:
            entry.change = strongest((entry.change, other.change))
            entry.add(other)
            entry.entries -= 1
        elif len(self.found) >= self.config.budget:
            self._coarsen(path, entry)
            return
        self.found[path] = entry

    def _coarsen(self, path: str, entry: Entry) -> None:
        """Keep an entry that is beyond the budget as part of a directory above it."""
        top = self._coarse_top(path)
        folded = self.coarse.setdefault(top, Entry(_folded_change(entry.change), EntryType.DIRECTORY, entries=0))
        if entry.change in _NAMES_COME_AND_GO or entry.change is Change.CAME_AND_WENT:
            folded.change = Change.CAME_AND_WENT
        folded.size += entry.size
        folded.entries += entry.entries
        if folded.looks:
            folded.looks -= 1
            folded.add_name(path[len(top) + 1 :])

    def _coarse_top(self, path: str) -> str:
        parent = path.rpartition("/")[0]
        if parent in self.coarse or len(self.coarse) < _COARSE:
            return parent
        return "/".join(parent.split("/")[:4])

    def absorb(self, others: "Iterable[_Reading]") -> None:
        """Take in what other processes found."""
        for other in others:
            for path, entry in other.found.items():
                mine = self.coarse.get(path) or self.found.get(path)
                if mine is not None:
                    mine.add(entry)
                elif len(self.found) < self.config.budget:
                    self.found[path] = entry
                else:
                    self._coarsen(path, entry)
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
        return tuple(self.found[path].write(path, self.config.source) for path in sorted(self.found, key=_sort_key))

    def notes(self) -> tuple[str, ...]:
        """Return, in sentences, what was not read, and why."""
        notes = sorted(self.remarks)
        if self.vanished:
            notes.append(f"{self.vanished} entries vanished while the layer was read")
        if self.unreadable:
            notes.append("could not be read: " + "; ".join(self.unreadable))
        if self.too_deep:
            notes.append(
                f"not read below {printable(self.too_deep[0][:200])}...: more than {_DEEPEST} directories deep"
            )
        if self.coarse:
            notes.append(
                f"more than {self.config.budget} writes: the rest is folded into {len(self.coarse)} directories"
            )
        return tuple(notes)


@dataclass(slots=True)
class _Inside:
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


def _below(unit: _Unit, name: str) -> _Unit:
    return _Unit(path=f"{unit.path}/{name}", top=unit.top)


def _open_below(root: int, path: str) -> int:
    """Open the directory at `path` below a descriptor, one name at a time, no link followed."""
    current = os.dup(root)
    for name in path.split("/"):
        if not name:
            continue
        try:
            below = os.open(name, OPEN_DIRECTORY, dir_fd=current)
        finally:
            os.close(current)
        current = below
    return current


def _metadata(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid


def _link(directory: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        return None


def _attributes(directory: int, name: str) -> dict[str, bytes]:
    """Return the extended attributes of an entry, links not followed; nothing where they can't be read."""
    # /proc/self/fd/N is the directory itself, so only the last name is looked up, and that one is not followed.
    path = f"/proc/self/fd/{directory}/{name}"
    try:
        return {key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)}
    except OSError:
        return {}


def _same_attributes(one: dict[str, bytes], other: dict[str, bytes]) -> bool:
    def of_the_file(attributes: dict[str, bytes]) -> dict[str, bytes]:
        return {k: v for k, v in attributes.items() if not k.startswith(("trusted.overlay.", "user.overlay."))}

    return of_the_file(one) == of_the_file(other)


def _other_attributes(descriptor: int, twin: MergedDirectory) -> bool:
    return not _same_attributes(_attributes(descriptor, "."), twin.attributes())

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
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from lithify.engines.base import UpperLayer
from lithify.errors import NothingToExamine, NotPermitted
from lithify.model.path import printable
from lithify.model.writes import Change, Source, Write, WriterStyle
from lithify.observe import forked, kernel
from lithify.observe.entries import Entry, entry_type, owner_and_mode, same_time
from lithify.observe.findings import DEEPEST, Findings, Inside
from lithify.observe.layers import OPEN_DIRECTORY, MergedDirectory, is_whiteout, mark_name, open_below, read_mark
from lithify.observe.volumes import read_volume as read_volume

_SHARE = 256
"""Directories that must be waiting before a second process pays off."""
_SLACK = 20_000_000
"""Nanoseconds within which two times count as one event: timestamps advance by the timer tick, up to 10 ms."""


def read_upper_layer(
    layer: UpperLayer, *, budget: int = 20_000, processes: int | None = None
) -> tuple[tuple[Write, ...], tuple[str, ...]]:
    """Return what `layer` says was written, sorted by path, and notes on what could not be read.

    A directory that is new stands for all below it. No more than about `budget` writes are named; more are folded into
    writes of the directories that hold them, with a note. `processes` (by default as many as may run, two at most)
    share the reading of a large layer; a process with threads reads alone, since it can't fork safely. Raises
    NothingToExamine where the layer is gone, NotPermitted where it may not be read.
    """
    reading = _Reading(Source.LAYER, budget, config=_Config.of(layer))
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

    user_xattr: bool = False
    noise: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Names the engine makes, by directory."""
    noise_parents: frozenset[str] = frozenset()

    @classmethod
    def of(cls, layer: UpperLayer) -> "_Config":
        names: dict[str, set[str]] = {}
        parents: set[str] = set()
        for path in layer.noise:
            names.setdefault(_text(path.parent), set()).add(path.name)
            parents.update(_text(parent) for parent in path.parents)
        return cls(layer.user_xattr, {k: frozenset(v) for k, v in names.items()}, frozenset(parents))


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
        own = _Reading(Source.LAYER, reading.budget, config=reading.config, marks_seen=reading.marks_seen)
        for index in indices:
            own.read_all(waiting[index], upper, lower)
        return own

    return forked.share(work, len(waiting), workers)


@dataclass(slots=True)
class _Reading(Findings):
    """What has been found so far, and how the layer is read."""

    config: _Config = field(default_factory=_Config)
    marks_seen: bool = False
    """Marks of copied-up entries can be read here."""

    # -- the walk -----------------------------------------------------------------------------------------------------

    def read_one(self, unit: _Unit, upper: int, lower: MergedDirectory) -> list[_Unit]:
        """Read one directory, opened from the roots; return those below it."""
        if unit.path.count("/") > DEEPEST:
            self.too_deep.append(unit.path)
            return []
        try:
            descriptor = open_below(upper, unit.path)
        except OSError as error:
            self.failed(unit.path, error)
            return []
        try:
            if unit.top is not None:
                return [
                    _Unit(path=f"{unit.path}/{name}", top=unit.top)
                    for name in self.fold_one(descriptor, unit.path, unit.top)
                ]
            twin = lower.descend(unit.lower) if unit.lower is not None else None
            try:
                return self._compare(descriptor, twin, unit)
            finally:
                if twin is not None:
                    twin.close()
        except OSError as error:
            self.failed(unit.path, error)
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
            descriptor = open_below(upper, unit.path)
        except OSError as error:
            self.failed(unit.path, error)
            return
        try:
            self.fold(descriptor, unit.path, unit.top)
        finally:
            os.close(descriptor)

    # -- a directory of the image -------------------------------------------------------------------------------------

    def _compare(self, descriptor: int, twin: MergedDirectory | None, unit: _Unit) -> list[_Unit]:
        """Hold one directory of the upper layer against its lower twin; return the directories below it."""
        noise = self.config.noise.get(unit.path, frozenset())
        inside = Inside()
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
                        self.add(inside, path, Entry(Change.DELETED, entry_type(old)))
                else:
                    self.add(inside, path, self._file(descriptor, entry.name, status, old, holder))
        self._close_directory(descriptor, twin, unit, inside)
        return below

    def _directory(
        self, parent: int, path: str, status: os.stat_result, old: os.stat_result | None, unit: _Unit, inside: Inside
    ) -> _Unit | None:
        """Judge a directory of the upper layer; return it where it must be read itself."""
        name = path.rpartition("/")[2]
        try:
            descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
        except OSError as error:
            self.failed(path, error)
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
        if len(self.found) >= self.budget:
            self.coarsen(path, entry)
            return _Unit(path=path, top=self.coarse_top(path))
        self.found[path] = entry
        return _Unit(path=path, top=path)

    def _renamed(
        self,
        path: str,
        status: os.stat_result,
        old: os.stat_result | None,
        target: str,
        unit: _Unit,
        inside: Inside,
    ) -> _Unit:
        """A directory of the image that was renamed: overlayfs leaves a redirect to where its content still lies."""
        entry = Entry.of(Change.CREATED if old is None else Change.REPLACED, status)
        entry.style = WriterStyle.RENAME
        entry.names = [target.rpartition("/")[2]]
        self.add(inside, path, entry)
        lower = target if target.startswith("/") else f"{unit.lower}/{target}"
        return _Unit(path=path, lower=lower)

    def _file(
        self, directory: int, name: str, status: os.stat_result, old: os.stat_result | None, holder: int | None
    ) -> Entry:
        """Judge an entry that is no directory, against what the image has under its name."""
        entry = Entry.of(Change.CREATED, status)
        if old is None or holder is None:
            entry.content = self.kind(directory, name, status)
            return entry
        if stat.S_IFMT(status.st_mode) != stat.S_IFMT(old.st_mode):
            entry.change = Change.REPLACED
            entry.content = self.kind(directory, name, status)
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
        origin = _read_attribute(directory, name, mark_name("origin", self.config.user_xattr))
        self.marks_seen = self.marks_seen or origin is not None
        same = status.st_size == old.st_size and same_time(status.st_mtime_ns, old.st_mtime_ns)
        if self._is_other_inode(origin, old, holder, None if same else name):
            entry.change, entry.style = Change.REPLACED, WriterStyle.RENAME
            entry.content = self.kind(directory, name, status)
            entry.as_before = self.is_as_before(directory, holder, name, status, old)
            return
        if origin is not None:
            entry.style = WriterStyle.IN_PLACE
        if same and owner_and_mode(status) != owner_and_mode(old):  # of thousands of files, after a chown -R
            entry.change = Change.METADATA
            return
        marks = _attributes(directory, name)
        if mark_name("metacopy", self.config.user_xattr) in marks:
            entry.change = Change.METADATA
        elif not same:
            entry.change = Change.CHANGED
            entry.content = self.kind(directory, name, status)
            entry.as_before = self.is_as_before(directory, holder, name, status, old)
        elif _same_attributes(marks, _attributes(holder, name)):
            entry.change = Change.OPENED
        else:
            entry.change = Change.METADATA

    def _is_other_inode(self, origin: bytes | None, old: os.stat_result, holder: int, name: str | None) -> bool:
        """Tell whether a file is not the copy of the image's file under its name; None for one that looks like it."""
        if origin is None:
            # Files with several links are copied up without the mark, and so is everything where marks can't be kept.
            return self.marks_seen and old.st_nlink == 1
        # struct ovl_fb: version, magic, length, flags, type (1 byte each), uuid (16), then the lower file's handle.
        if len(origin) <= 21 or name is None:
            return False
        handle = kernel.file_handle(holder, name)
        return handle is not None and len(origin) == 21 + len(handle) and origin[21:] != handle

    def _close_directory(self, descriptor: int, twin: MergedDirectory | None, unit: _Unit, inside: Inside) -> None:
        """Say what happened to a directory of the image itself, once its entries are known."""
        self.close_directory(unit.path, inside)
        if twin is None:
            return
        status = os.fstat(descriptor)
        old = twin.status
        if unit.path == "":
            self._close_root(descriptor, status, inside)
            return
        moved = not same_time(status.st_mtime_ns, old.st_mtime_ns)
        by_engine = inside.engine_time and status.st_mtime_ns <= inside.engine_time + _SLACK
        other_metadata = owner_and_mode(status) != owner_and_mode(old)
        untouched_inside = not inside.entries and not inside.engine_time
        if moved and not inside.explained and not by_engine:
            self.put(unit.path, Entry.of(Change.CAME_AND_WENT, status))
        elif other_metadata or (untouched_inside and not moved and _other_attributes(descriptor, twin)):
            self.put(unit.path, Entry.of(Change.METADATA, status))
        elif untouched_inside and not moved:
            # Copied up for itself, and nothing about it is new: O_TMPFILE, or a chown or chmod to what it had.
            self.put(unit.path, Entry.of(Change.CAME_AND_WENT, status))

    def _close_root(self, descriptor: int, status: os.stat_result, inside: Inside) -> None:
        born = kernel.birth_time(descriptor)
        if born is None or inside.explained:
            return
        if status.st_mtime_ns > max(born, inside.engine_time) + _SLACK:
            self.put("", Entry.of(Change.CAME_AND_WENT, status))

    # -- small judgements ---------------------------------------------------------------------------------------------

    def note_rights(self, upper: int) -> None:
        """See whether marks can be read here at all."""
        prefix = mark_name("", self.config.user_xattr)
        with suppress(OSError):
            self.marks_seen = any(name.startswith(prefix) for name in os.listxattr(upper))
        if not self.config.user_xattr and os.geteuid() != 0:
            self.remarks.add("without root the marks of overlayfs can't be read: replaced files count as changed")

    def _has_origin(self, directory: int, name: str) -> bool:
        return _read_attribute(directory, name, mark_name("origin", self.config.user_xattr)) is not None

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


def _link(directory: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        return None


def _read_attribute(directory: int, name: str, key: str) -> bytes | None:
    """Return one extended attribute of an entry, links not followed; None where it has none."""
    try:
        return os.getxattr(f"/proc/self/fd/{directory}/{name}", key, follow_symlinks=False)
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

"""Turns writes into needs: the directories in which names must come and go, and the files that are opened in place.

What a write asks of its surroundings follows from what happened. A name that was made, removed or renamed needs its
directory. A directory that the program made needs itself only: a mount point there makes the `mkdir` unnecessary, and
its parent stays read-only. Content that was changed in place needs the file, and is served by a place at its directory.
Opened and unchanged, or touched in its metadata only, asks for nothing until a run shows otherwise.
"""

import re
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import itemgetter
from pathlib import PurePosixPath

from lithify.model.image import EntryType, ImageEntry
from lithify.model.mount import PathClass
from lithify.model.path import ROOT, is_pseudo
from lithify.model.writes import Change, Source, Write, WriterStyle, WriteSet
from lithify.plan.classify import Classified, Surroundings, classify, deepest_holding, surroundings
from lithify.plan.ground import Ground
from lithify.plan.settings import PlanSettings, StateDecision

_WITHIN = frozenset({Change.CHANGED, Change.OPENED, Change.METADATA, Change.ATTEMPTED})
"""Changes that, where a directory stands for what is folded below it, happened in it."""
_STAYED = frozenset({Change.CREATED, Change.CHANGED, Change.REPLACED})
_JOINTS = "-._~"
"""What stands between the name of a file and that of its side file."""
_STICKY_FOR_ALL = 0o1002
MANY_ENTRIES = 150
"""Image entries from which on a place at a directory is weighed against mounts of its single files."""
_MOST_FILES = 4
"""Single files of one directory that may be mounted; more of them are a directory in disguise."""
_SQLITE = ("sqlite", "sqlite-wal")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where engines look for a program when the image says nothing."""
_SQLITE_SIDES = ("-wal", "-shm")
"""Files that SQLite needs beside a database in WAL mode. It goes on when it can't remove them, as on a mount point; it
does not when that happens to `-journal`, which is how a database that is new, or not in WAL mode, commits (tried)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A write, its path resolved, and what it is for."""

    write: Write
    classified: Classified

    @property
    def path_class(self) -> PathClass:
        """What the written path is for."""
        return self.classified.path_class


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one directory, or one file with its side files, must allow."""

    path: PurePosixPath
    """The directory in which names come and go; with `single` the file that is written."""
    seen: tuple[Seen, ...]
    classes: frozenset[PathClass]
    """Everything it is for."""
    single: bool = False
    """It is about one file and what belongs to it, not about all names of a directory."""
    files: tuple[PurePosixPath, ...] = ()
    """The files that would have to be mounted one by one to serve it; empty where that can't work."""
    made: bool = False
    """The program made this directory itself."""
    persistent: bool = False
    """Its content must survive the container."""
    optional: bool = False
    """Image entries are removed, nothing else: worth no place of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spared:
    """A write that is left without a place unless one happens to cover it."""

    seen: Seen
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Everything that the writes of a container ask for."""

    needs: tuple[Need, ...]
    spared: tuple[Spared, ...]
    barred: tuple[Seen, ...]
    """Code and identity: no place may serve them."""
    metadata: dict[PurePosixPath, Write]
    """Directories with the mode and owner they were given."""
    executed: tuple[PurePosixPath, ...]
    """Paths from which code was run or mapped."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Directory:
    """A directory, and what was written there."""

    path: PurePosixPath
    entry: ImageEntry | None
    where: Surroundings
    mounted: bool
    names: list[Seen] = field(default_factory=list)
    """What happened to names in it."""
    made: list[Seen] = field(default_factory=list)
    """The writes that made it."""


class _Gatherer:
    def __init__(self, write_set: WriteSet, settings: PlanSettings, ground: Ground) -> None:
        self.image = write_set.image
        self.resident = _started_directly(write_set, ground)
        self.settings = settings
        self.ground = ground
        self.mounted = tuple(ground.resolve(path, follow=True) for path in write_set.mounted)
        self.widened = {ground.resolve(path, follow=False): why for path, why in settings.widened.items()}
        self.paths = {path.parts: path for path in write_set.image.entries}
        self.directories: dict[tuple[str, ...], _Directory] = {}  # a path's own hash and comparison are slow
        self.common: dict[frozenset[PathClass], frozenset[PathClass]] = {}
        self.spared: list[Spared] = []
        self.barred: list[Seen] = []
        self.metadata: dict[PurePosixPath, Write] = {}
        self.executed: list[PurePosixPath] = []

    def directory(self, parts: tuple[str, ...]) -> _Directory:
        found = self.directories.get(parts)
        if found is None:
            path = self.paths.get(parts)
            entry = None if path is None else self.image.entry(path)
            path = path or PurePosixPath(*parts)
            mounted = is_pseudo(path) or deepest_holding(path, self.mounted) is not None
            found = _Directory(path=path, entry=entry, where=surroundings(path, self.image), mounted=mounted)
            self.directories[path.parts] = found
        return found

    def take(self, write: Write) -> None:
        is_directory = write.change is Change.CAME_AND_WENT or write.type is EntryType.DIRECTORY
        path = self.ground.resolve(write.path, follow=is_directory)
        if path is not write.path:
            write = replace(write, path=path)
        parts = path.parts
        directory = self.directory(parts if is_directory else _above(parts))
        if directory.mounted or path in self.mounted or is_pseudo(path):
            return
        demanded = bool(self.widened) and path in self.widened
        if demanded:
            write = self.confirmed(write)
        if write.executed:
            self.executed.append(path)
        seen = Seen(write=write, classified=classify(write, directory.where, self.image, self.resident))
        if write.type is EntryType.DIRECTORY and write.change in (Change.METADATA, Change.CREATED):
            self.metadata[path] = write
        if seen.path_class in (PathClass.CODE, PathClass.IDENTITY) and write.change is not Change.ATTEMPTED:
            self.barred.append(seen)
            return
        reason = None if demanded else self.harmless(seen)
        if reason is not None:
            self.spared.append(Spared(seen=seen, reason=reason))
        else:
            self.place(seen, directory)

    def confirmed(self, write: Write) -> Write:
        """Return what a write that failed, or seemed to do nothing, would have done."""
        if write.change is not Change.ATTEMPTED:
            return write
        entry = self.image.entry(write.path)
        if entry is None:
            return replace(write, change=Change.CREATED)
        directory = entry.type is EntryType.DIRECTORY
        return replace(write, change=Change.CAME_AND_WENT if directory else Change.CHANGED, type=entry.type)

    def harmless(self, seen: Seen) -> str | None:
        """Say why a write may fail without harm, as far as is known before a run; None where it may not."""
        write = seen.write
        if write.change is Change.ATTEMPTED:
            return "the write failed on the writable root already"
        if why := tolerated_by_its_program(write):
            return why
        if write.change is Change.OPENED and seen.path_class in (PathClass.CACHE, PathClass.CONFIG):
            return "it was opened for writing and not changed"
        if write.change is Change.METADATA:
            entry = self.image.entry(write.path)
            if not changes_metadata(write, entry):
                # O_TMPFILE leaves a directory's name and times as they were, and looks the same in the upper layer.
                for_all = entry is not None and entry.type is EntryType.DIRECTORY and _is_for_all(entry)
                return None if for_all else "owner and mode were set to what the image has already"
            return "only its owner, mode or times were set: with the final user from the start nothing is left to do"
        return None

    def place(self, seen: Seen, directory: _Directory) -> None:
        write = seen.write
        volume = directory.where.volume
        if volume is not None and self.ground.objection(volume, written=True) is None:
            self.directory(volume.parts).names.append(seen)
        elif write.change is Change.CAME_AND_WENT or write.type is not EntryType.DIRECTORY or write.change in _WITHIN:
            directory.names.append(seen)
        elif self.stands_alone(write):
            directory.made.append(seen)
        else:
            self.directory(_above(write.path.parts)).names.append(seen)

    def stands_alone(self, write: Write) -> bool:
        """Tell whether a mount at the directory `write` is about serves it, so that its parent can stay read-only."""
        parent = write.path.parent
        if write.change is Change.CREATED and write.path in self.settings.state_decisions:
            return True  # the user told it apart
        if write.change in (Change.DELETED, Change.REPLACED):
            # A mount point can't be removed (EBUSY), so what is made anew needs the parent where there is a way.
            return write.change is Change.REPLACED and self.ground.objection(parent, written=True) is not None
        above = self.image.entry(parent)
        if above is not None and above.type is EntryType.DIRECTORY:
            if _is_for_all(above) or looks_random(write.path.name):
                return False
            if above.entries == 0 and self.ground.objection(parent, written=True) is None:
                return False  # an empty directory of the image was made for this
        return not looks_random(write.path.name)


def _started_directly(write_set: WriteSet, ground: Ground) -> frozenset[str]:
    """Return the program that the container is started with, where that is also what runs.

    A script that ends in `exec` is looked at too late: what it wrote shows as written by the program it became.
    """
    command = write_set.key.command or write_set.image.command
    if not command:
        return frozenset()
    search = write_set.image.environment.get("PATH", _PATH).split(":") if "/" not in command[0] else [""]
    started = {ground.resolve(PurePosixPath(ROOT, place, command[0]), follow=True) for place in search}
    programs = {process.program for process in write_set.processes}
    return frozenset(one for one in programs if ground.resolve(PurePosixPath(one), follow=True) in started)


def gather(write_set: WriteSet, settings: PlanSettings, ground: Ground) -> Demand:
    """Return what the writes of `write_set` need, with what needs nothing and what must not be served."""
    gatherer = _Gatherer(write_set, settings, ground)
    for write in _in_order(write_set.writes):
        gatherer.take(write)
    if gatherer.widened:
        taken = {write.path for write in write_set.writes}
        for path in sorted(gatherer.widened):
            if path not in taken:
                gatherer.take(_missed(path, ground.entry(path)))
    needs: list[Need] = []
    for _, directory in sorted(gatherer.directories.items(), key=itemgetter(0)):
        needs.extend(_needs_of(directory, gatherer))
    return Demand(
        needs=tuple(needs),
        spared=tuple(sorted(gatherer.spared, key=lambda s: s.seen.write.path.parts)),
        barred=tuple(sorted(gatherer.barred, key=lambda s: s.write.path.parts)),
        metadata=gatherer.metadata,
        executed=tuple(sorted(gatherer.executed)),
    )


def _in_order(writes: Iterable[Write]) -> Iterator[Write]:
    """Yield `writes` in an order that depends on nothing but themselves."""
    same: list[Write] = []
    for write in sorted(writes, key=_order):
        if same and (write.change is not same[0].change or write.path.parts != same[0].path.parts):
            yield from sorted(same, key=repr) if len(same) > 1 else same
            same = []
        same.append(write)
    yield from sorted(same, key=repr) if len(same) > 1 else same


def _order(write: Write) -> tuple[tuple[str, ...], Change]:
    return write.path.parts, write.change


def _above(parts: tuple[str, ...]) -> tuple[str, ...]:
    return parts[:-1] or parts


def _missed(path: PurePosixPath, entry: ImageEntry | None) -> Write:
    """Return a write that learning missed and a failed run confirmed."""
    change, kind = Change.CREATED, EntryType.UNKNOWN
    if entry is not None:
        kind = entry.type
        change = Change.CAME_AND_WENT if kind is EntryType.DIRECTORY else Change.CHANGED
    elif not path.suffix:
        kind = EntryType.DIRECTORY
    return Write(path=path, change=change, type=kind, evidence=(Source.PROOF,))


def _needs_of(directory: _Directory, gatherer: _Gatherer) -> Iterator[Need]:
    made, names = directory.made, directory.names
    if not made and names and _is_awkward(directory, gatherer.ground):
        groups, names = _single_files(names, gatherer)
        for base, group in groups.items():
            yield _need(base, group, gatherer, single=True, files=_mountable(base, group, gatherer.ground))
    together = [*made, *_with_what_stayed(names)]
    if together:
        optional = all(_only_removes(seen, gatherer) for seen in together)
        yield _need(directory.path, together, gatherer, made=bool(made), optional=optional)


def _need(
    path: PurePosixPath,
    seen: Sequence[Seen],
    gatherer: _Gatherer,
    *,
    single: bool = False,
    files: tuple[PurePosixPath, ...] = (),
    made: bool = False,
    optional: bool = False,
) -> Need:
    ordered = tuple(sorted(seen, key=lambda s: _order(s.write)) if len(seen) > 1 else seen)
    classes = frozenset(one.path_class for one in distinct(ordered))
    persistent = PathClass.STATE in classes
    if gatherer.settings.state_decisions:
        decisions = [(gatherer.settings.decision(s.write.path), s.path_class) for s in ordered]
        persistent = any(d is StateDecision.VOLUME or (d is None and c is PathClass.STATE) for d, c in decisions)
    return Need(
        path=path,
        seen=ordered,
        classes=gatherer.common.setdefault(classes, classes),
        single=single,
        files=files,
        made=made,
        persistent=persistent,
        optional=optional,
    )


def distinct(seen: Iterable[Seen]) -> Collection[Classified]:
    """Return what writes are for, each once: there are few, for very many writes."""
    return {id(one.classified): one.classified for one in seen}.values()


def _only_removes(seen: Seen, gatherer: _Gatherer) -> bool:
    return seen.write.change is Change.DELETED and seen.write.path not in gatherer.widened


def _is_awkward(directory: _Directory, ground: Ground) -> bool:
    if directory.entry is not None and directory.entry.entries > MANY_ENTRIES:
        return True
    return ground.objection(directory.path, written=True) is not None


def _single_files(names: list[Seen], gatherer: _Gatherer) -> tuple[dict[PurePosixPath, list[Seen]], list[Seen]]:
    """Split what happened in a directory into single files, each with its side files, and the rest."""
    files = sorted(
        {
            s.write.path
            for s in names
            if s.write.change in (Change.CREATED, Change.CHANGED, Change.OPENED, Change.REPLACED)
        }
    )
    directories = {s.write.path for s in names if s.write.type is EntryType.DIRECTORY}
    bases: dict[PurePosixPath, PurePosixPath] = {}
    last: PurePosixPath | None = None
    for path in files:
        own = gatherer.directories.get(path.parts)
        if path in directories or (own is not None and (own.names or own.made)):
            continue
        if last is None or not _belongs(path.name, last.name):
            last = path
        bases[path] = last
    groups: dict[PurePosixPath, list[Seen]] = {}
    rest: list[Seen] = []
    for seen in names:
        base = bases.get(seen.write.path)
        if base is None and seen.write.change is Change.CAME_AND_WENT:
            owners = {_owner_of(name, bases.values()) for name in seen.write.names}
            base = owners.pop() if len(owners) == 1 else None
        if base is None:
            rest.append(seen)
        else:
            groups.setdefault(base, []).append(seen)
    return groups, rest


def _with_what_stayed(names: list[Seen]) -> list[Seen]:
    """Have temporary names of files that stayed be for what those are: `key.tmp`, then renamed to `key`."""
    stayed: dict[str, Classified] = {}
    if any(map(_passes, names)):
        stayed = {s.write.path.name: s.classified for s in names if s.write.change in _STAYED}
    return [_as_owner(seen, stayed) if _passes(seen) else seen for seen in names] if stayed else names


def _passes(seen: Seen) -> bool:
    """Tell whether all that is known of a write is that nothing of it was left."""
    unsure = seen.path_class is PathClass.SCRATCH and not seen.classified.certain
    return unsure and seen.write.change is Change.CAME_AND_WENT


def _as_owner(seen: Seen, stayed: dict[str, Classified]) -> Seen:
    owners = {_base_of(name, stayed) for name in seen.write.names}
    known = {stayed[owner] for owner in owners if owner is not None}
    return replace(seen, classified=known.pop()) if None not in owners and len(known) == 1 else seen


def _base_of(name: str, stayed: Container[str]) -> str | None:
    """Return the name of a file that stayed of which `name` is a side file, or a temporary one; None where it is not.

    Like `_owner_of`, for directories of very many files.
    """
    if name in stayed:
        return name
    for cut in range(1, len(name)):
        if name[cut] in _JOINTS and name[:cut] in stayed:
            return name[:cut]
        if name[cut:] in stayed:
            return name[cut:]
    return None


def _belongs(name: str, base: str) -> bool:
    return name == base or (name.startswith(base) and name[len(base)] in _JOINTS)


def _owner_of(name: str, bases: Iterable[PurePosixPath]) -> PurePosixPath | None:
    """Return the file that a passing name is about: a side file, or a temporary one that bears its whole name."""
    return next((base for base in sorted(set(bases)) if _belongs(name, base.name) or name.endswith(base.name)), None)


def _mountable(base: PurePosixPath, group: list[Seen], ground: Ground) -> tuple[PurePosixPath, ...]:
    """Return the files that mounts would have to serve; nothing where their writers would not live with that."""
    files = {seen.write.path for seen in group if seen.write.change is not Change.CAME_AND_WENT}
    came = {name for seen in group if seen.write.change is Change.CAME_AND_WENT for name in seen.write.names}
    if any(seen.write.content in _SQLITE for seen in group):
        if ground.entry(base) is None or f"{base.name}-journal" in came | {f.name for f in files}:
            return ()
        files |= {base.parent / f"{base.name}{side}" for side in _SQLITE_SIDES}
        came -= {f"{base.name}{side}" for side in _SQLITE_SIDES}
    if came or len(files) > _MOST_FILES or any(ground.file_objection(path) for path in files):
        return ()
    if not all(_in_place(seen.write) for seen in group if seen.write.change is not Change.CAME_AND_WENT):
        return ()
    return tuple(sorted(files))


def _in_place(write: Write) -> bool:
    if write.type not in (EntryType.FILE, EntryType.UNKNOWN) or looks_random(write.path.name):
        return False
    if write.style is WriterStyle.IN_PLACE:
        return write.change in (Change.CREATED, Change.CHANGED, Change.OPENED)
    # A file of the image that was renamed over would be a replaced one.
    return write.style is WriterStyle.UNKNOWN and write.change in (Change.CHANGED, Change.OPENED)


def changes_metadata(write: Write, entry: ImageEntry | None) -> bool:
    """Tell whether mode or owner of an image entry differ after the write; True where that is not known."""
    if entry is None or write.mode is None:
        return True
    same_owner = write.uid in (None, entry.uid) and write.gid in (None, entry.gid)
    return not (same_owner and write.mode & 0o7777 == entry.mode & 0o7777)


def _is_for_all(entry: ImageEntry) -> bool:
    return entry.mode & _STICKY_FOR_ALL == _STICKY_FOR_ALL


_TELLING = re.compile(r"__pycache__|\.py[co]|hsperfdata_|_history|\.lesshst")
_BYTECODE = re.compile(r".*\.py[co](\.\d+)?")
_PERFORMANCE_DATA = re.compile(r"hsperfdata_.+")
_HISTORY = re.compile(r"\.(ba|z)?sh_history|\.python_history|\.node_repl_history|\.lesshst|\.rediscli_history")


def tolerated_by_its_program(write: Write) -> str | None:
    """Say why a program is known to go on without a write; None where that is not known."""
    parts = write.path.parts
    names = write.names if write.change is Change.CAME_AND_WENT else parts[-1:]
    if not _TELLING.search("/".join((*parts, *names[:1]))):
        return None
    if "__pycache__" in parts or (names and all(_BYTECODE.fullmatch(_name(name)) for name in names)):
        return "Python goes on without saving compiled modules"
    under = any(part.startswith("hsperfdata_") and _PERFORMANCE_DATA.fullmatch(part) for part in parts)
    if under or (names and all(_PERFORMANCE_DATA.match(name) for name in names)):
        return "a JVM goes on without its performance data file"
    if names and all(_HISTORY.fullmatch(_name(name)) for name in names):
        return "the tool goes on without saving its history"
    return None


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def looks_random(name: str) -> bool:
    """Tell whether a name seems made up at run time, so that the next start takes another: `tmpab12x9`, a date."""
    if re.search(r"\d{4,}", name):
        return True
    for token in re.split(r"[^A-Za-z0-9]+", name):
        if len(token) < 6:
            continue
        turns = sum(a.isdigit() != b.isdigit() for a, b in pairwise(token))
        capitals = sum(a.islower() and b.isupper() for a, b in pairwise(token))
        if turns >= 2 or capitals >= 2:
            return True
    return False


def leaves_as_before(seen: Iterable[Seen]) -> bool:
    """Tell whether files of the image were written and hold what they held, and nothing else of it is left."""
    lasting = [s.write for s in seen if s.write.change not in (Change.CAME_AND_WENT, Change.OPENED, Change.METADATA)]
    return bool(lasting) and all(write.as_before for write in lasting)


def directory_of(need: Need) -> PurePosixPath:
    """Return the directory whose names `need` is about."""
    return need.path.parent if need.single and need.path != ROOT else need.path

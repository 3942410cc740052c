"""Listens to the kernel as names come and go in upper layers, and tells who did it.

See `events` for what the kernel reports. It sees the whole filesystem: what the engine, other containers and lithify
itself do there is left out, early and by directory. Nothing is written while it listens, and the watched programs never
wait for it.
"""

import os
import re
import select
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType

from lithify.engines.base import UpperLayer
from lithify.engines.ids import IdMap
from lithify.engines.mounts import split_view
from lithify.errors import NotPermitted
from lithify.model.image import EntryType
from lithify.model.path import ROOT, is_pseudo, printable
from lithify.model.writes import Change, Source, Write, Writer, WriterStyle
from lithify.observe import events, kernel
from lithify.observe.entries import SAMPLE
from lithify.observe.events import CREATE, DELETE, ON_DIRECTORY, OVERFLOW, RENAME, Event, Place
from lithify.observe.lineage import Life, Lineage
from lithify.observe.merge import MAX_WRITERS, UNKNOWN_PROGRAM
from lithify.observe.processes import read_credentials, read_program

_TEMPORARY = re.compile(rb"#[0-9a-f]+")
_MAX_DIRECTORIES = 50_000
_MAX_NAMES = 1000
_MAX_AGAIN = 10_000
_READ = 1 << 18
_QUIET, _STREAK = 0.005, 20
"""Seconds without an event that end a streak of them, and after how many reads in a streak each read waits.

An event is read at once, while its process can still be looked at. Where the same processes go on and on, that would
wake this thread thousands of times a second for nothing new, and what waits together and is equal becomes one event.
"""
_PAUSE, _LONGEST_PAUSE = 0.2, 1.0
"""Seconds that a read waits first, and at most, doubled from read to read: making and freeing events is what watching
costs the program, and the longer they wait, the more of them are one."""
_MOST_PARENTS = 32
_FRESH = 2.0
"""Seconds for which what was read of a process stands for it once it is gone."""


def available(path: Path) -> str | None:
    """Return why names can't be watched on the filesystem that holds `path`; None where they can."""
    try:
        descriptor = events.open_watch()
    except OSError as error:
        return events.reason_of(error)
    try:
        events.mark_filesystem(descriptor, path)
        return None
    except OSError as error:
        return events.reason_of(error)
    finally:
        os.close(descriptor)


def _open_mount(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


class LiveNames:
    """Watches names come and go while it is entered; afterwards, or meanwhile, tells what it saw.

    `storage` are directories under which upper layers lie or will lie: the storage of an engine, or upper directories
    themselves. What happens there counts from the start, also for layers that `watch` names only later. Raises
    NotPermitted on entering where the kernel refuses: see `available`.
    """

    def __init__(self, storage: Sequence[Path], *, kinds: Sequence[int] = events.KINDS) -> None:
        self._storage = tuple(storage)
        self._kinds = kinds
        self._uppers: dict[str, PurePosixPath] = {}
        self._prefixes: tuple[str, ...] = ()
        self._mounts: dict[bytes, int] = {}
        self._views: dict[bytes, str] = {}
        """Under which root the paths of a filesystem are found, where that is not ours."""
        self._seen = _Seen(self._locate, self._key_of)
        self._joins = events.JoinRenames()
        self._notes: set[str] = set()
        self._lock = threading.Lock()
        self._descriptor = -1
        self._wake = -1
        self._lineage: Lineage | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "LiveNames":
        try:
            self._descriptor = events.open_watch()
            for place in self._storage:
                self._mark(place)
            self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        except OSError as error:
            self._close()
            raise NotPermitted(
                f"names can't be watched as they come and go: {events.reason_of(error)}",
                hint="go without: the upper layer tells the rest",
            ) from error
        try:
            self._lineage = self._seen.people.lineage = Lineage()
        except OSError as error:
            self._seen.people.unnamed = f"the kernel does not tell of starts: {error.strerror}"
        self._thread = threading.Thread(target=self._listen, name="live-names", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            os.eventfd_write(self._wake, 1)
            self._thread.join()
            self._thread = None
        with self._lock:
            self._drain()
        self._close()

    def watch(self, upper: Path, at: PurePosixPath = ROOT) -> None:
        """Tell of the layer in `upper` too; `at` is where its container has it, another than `/` for a volume."""
        real = _shown(upper)
        with self._lock:
            self._uppers[real] = at
            if not any(_is_below(real, prefix) for prefix in self._prefixes):
                try:
                    self._mark(upper)
                except OSError as error:
                    self._notes.add(f"names were not watched in {printable(real)}: {events.reason_of(error)}")

    def count(self, upper: Path) -> int:
        """Return how many events were seen so far in the layer `upper`: it never goes down."""
        real = _shown(upper)
        with self._lock:
            self._drain()
            return sum(d.events for d in self._seen.kept if _is_below(d.path, real))

    def writes(self, layer: UpperLayer | None = None) -> tuple[tuple[Write, ...], tuple[str, ...]]:
        """Return what was seen in the watched layers, in the order in which it began, and notes on what was not.

        With `layer`, what its engine makes there itself is left out.
        """
        noise = layer.noise if layer is not None else frozenset()
        # where the image lacks a directory that an engine's file lies in, the engine makes that too
        noise |= {parent for path in noise for parent in path.parents}
        with self._lock:
            self._drain()
            found = [
                (order, write)
                for upper, at in self._uppers.items()
                for directory in self._seen.kept
                if _is_below(directory.path, upper)
                for order, write in directory.writes(at / directory.path[len(upper) + 1 :], noise)
            ]
            notes = sorted(self._notes | self._seen.notes | self._seen.people.notes)
        return tuple(write for _, write in sorted(found, key=lambda item: item[0])), tuple(notes)

    # -- the listener -------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        _hurry(True)
        pausing = select.poll()
        pausing.register(self._wake, select.POLLIN)
        listening = select.poll()
        listening.register(self._wake, select.POLLIN)
        listening.register(self._descriptor, select.POLLIN)
        if self._lineage is not None:
            self._lineage.register(pausing)
            self._lineage.register(listening)
        streak, pause = 0, _PAUSE
        while True:
            asked = time.monotonic()
            if self._wake in self._wait(listening):
                return
            with self._lock:
                strangers = self._seen.strangers
                self._drain()
                calm = self._seen.strangers > strangers or time.monotonic() - asked > _QUIET
            streak = 0 if calm else streak + 1
            if streak in (0, _STREAK):
                _hurry(not streak)
                pause = _PAUSE
            if streak >= _STREAK:
                if self._wait(pausing, pause):
                    return
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _wait(self, poll: "select.poll", seconds: float | None = None) -> set[int]:
        """Return which descriptors are ready, none after so many seconds; what is recorded of starts is read meanwhile.

        It would be lost where the buffers run full.
        """
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            ready = {each for each, _ in poll.poll(None if end is None else max(0, end - time.monotonic()) * 1000)}
            others = ready - self._lineage.descriptors if self._lineage is not None else ready
            if others or not ready:
                return others
            if self._lineage is not None:
                with self._lock:
                    self._lineage.read()

    def _drain(self) -> None:
        """Take what waits; to be called with the lock held."""
        taken = 0
        self._seen.new_batch()
        while self._descriptor >= 0 and taken < 100_000:
            try:
                raw = os.read(self._descriptor, _READ)
            except (BlockingIOError, InterruptedError):
                break
            for record in events.split_events(raw):
                taken += 1
                if self._seen.take_again(record):
                    continue
                event = events.parse_event(record)
                whole = self._joins.join(event) if event is not None else None
                if whole is not None:
                    self._seen.take(whole, record)

    def _mark(self, place: Path) -> None:
        events.mark_filesystem(self._descriptor, place, self._kinds)
        identity = events.filesystem_id(place)
        if identity not in self._mounts:
            self._mounts[identity] = _open_mount(place)
            self._views[identity] = split_view(place)[0]
        self._prefixes = (*self._prefixes, _shown(place))

    def _locate(self, key: bytes) -> str | None:
        """Return the host path of a directory; None where it is gone, and nothing where it is none of ours."""
        identity, handle = events.split_key(key)
        mount = self._mounts.get(identity)
        if mount is None:
            return ""
        descriptor = kernel.open_by_handle(mount, handle)
        if descriptor is None:
            return None
        try:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if not any(_is_below(path, prefix) for prefix in self._prefixes):
                return ""
            # Through a bind mount, a directory outside of it can show under a path that means another one.
            there = os.stat(self._views[identity] + path, follow_symlinks=False)
            return path if os.path.samestat(there, os.fstat(descriptor)) else ""
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _key_of(self, place: Place) -> bytes | None:
        """Return by what a directory is known that has just been made; None where it is gone already."""
        identity, handle = events.split_key(place.directory)
        parent = kernel.open_by_handle(self._mounts.get(identity, -1), handle)
        if parent is None:
            return None
        try:
            packed = kernel.packed_handle(parent, os.fsdecode(place.name))
        finally:
            os.close(parent)
        return None if packed is None else identity + packed

    def _close(self) -> None:
        if self._lineage is not None:
            self._lineage.close()
        for descriptor in (self._descriptor, self._wake, *self._mounts.values()):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._wake = -1
        self._mounts.clear()


def _hurry(now: bool) -> None:
    """Have this thread run before others, so that it meets processes that live for a millisecond, or after them."""
    with suppress(OSError):  # without the right to, it takes its turn
        if now:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        else:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _shown(place: Path) -> str:
    """Return the path that the kernel shows for a descriptor of a directory."""
    view, path = split_view(place)
    return path if view else os.path.realpath(path)


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")


@dataclass(slots=True)
class _Name:
    """What happened under one name of a directory."""

    order: int
    copied: bool = False
    """Overlayfs moved it in from its own work directory: a copy-up, a whiteout, or an entry made over one."""
    renamed: bool = False
    directory: bool = False
    writers: dict[Writer, None] = field(default_factory=dict)

    def write(self, path: PurePosixPath) -> Write:
        style = WriterStyle.RENAME if self.renamed else WriterStyle.IN_PLACE
        return Write(
            path=path,
            change=Change.OPENED if self.copied and not self.renamed else Change.CREATED,
            type=EntryType.DIRECTORY if self.directory else EntryType.UNKNOWN,
            evidence=(Source.LIVE,),
            style=WriterStyle.UNKNOWN if self.directory else style,
            writers=tuple(self.writers),
        )


@dataclass(slots=True)
class _Directory:
    """What happened in one directory; bounded, however much it was."""

    path: str
    """On the host."""
    events: int = 0
    names: dict[bytes, _Name] = field(default_factory=dict)
    gone: dict[bytes, None] = field(default_factory=dict)
    """Some of the names that are no longer there."""
    gone_order: int = -1
    gone_writers: dict[Writer, None] = field(default_factory=dict)

    def add(self, name: bytes, order: int, writer: Writer, *, directory: bool) -> _Name:
        """Return the record of a name that is there now."""
        record = self.names.get(name)
        if record is None:
            record = _Name(order)
            if len(self.names) < _MAX_NAMES:
                self.names[name] = record
        record.directory = directory
        if len(record.writers) < MAX_WRITERS:
            record.writers[writer] = None
        return record

    def remove(self, name: bytes, order: int, writer: Writer) -> None:
        """Note that a name is gone: what is left of it is that it was."""
        record = self.names.pop(name, None)
        if self.gone_order < 0:
            self.gone_order = order
        if len(self.gone) < SAMPLE:
            self.gone[name] = None
        for each in (*(record.writers if record else ()), writer):
            if len(self.gone_writers) < MAX_WRITERS:
                self.gone_writers[each] = None

    def writes(self, path: PurePosixPath, noise: frozenset[PurePosixPath]) -> Iterable[tuple[int, Write]]:
        """Yield what to tell of it, each with its place in the order of events."""
        if is_pseudo(path):
            return
        for name, record in self.names.items():
            whole = path / os.fsdecode(name)
            # A directory that was copied up is the parent of something, or the layer tells why.
            if whole not in noise and not (record.copied and record.directory and not record.renamed):
                yield record.order, record.write(whole)
        gone = tuple(os.fsdecode(name) for name in self.gone if path / os.fsdecode(name) not in noise)
        if gone:
            yield (
                self.gone_order,
                Write(
                    path=path,
                    change=Change.CAME_AND_WENT,
                    type=EntryType.DIRECTORY,
                    evidence=(Source.LIVE,),
                    writers=tuple(self.gone_writers),
                    names=gone,
                ),
            )


class _Seen:
    """Everything that was seen, by directory."""

    def __init__(self, locate: Callable[[bytes], str | None], key_of: Callable[[Place], bytes | None]) -> None:
        self.kept: list[_Directory] = []
        self.notes: set[str] = set()
        self._locate = locate
        self._key_of = key_of
        self._by_key: dict[bytes, _Directory | None] = {}
        self._by_path: dict[str, _Directory] = {}
        self._again: dict[bytes, tuple[_Directory, bytes]] = {}
        self._ways: set[str] = set()
        """Every kept directory and those above it."""
        self._order = 0
        self.people = _People()

    @property
    def strangers(self) -> int:
        """How many processes were seen for the first time."""
        return self.people.strangers

    def new_batch(self) -> None:
        """Have processes looked at anew: one that ran a shell a moment ago may run a server now."""
        self.people.new_batch()

    def take_again(self, record: bytes) -> bool:
        """Take in an event equal to an earlier one of a name that came and went; tell whether it was one.

        Under load most are: a temporary file is made and removed under a few names, over and over.
        """
        known = self._again.get(record)
        if known is None:
            return False
        directory, name = known
        directory.events += 1
        if name in directory.names:
            del directory.names[name]
        return True

    def take(self, event: Event, record: bytes) -> None:
        """Take in one event, and its record as it was."""
        if event.mask & OVERFLOW:
            self.notes.add("the kernel dropped names that came and went: there were too many")
            return
        here = self._directory(event.place.directory)
        there = self._directory(event.old.directory) if event.old is not None else None
        if here is None and there is None:
            return
        writer = self.people.look(event.pid)
        if writer is None:
            return
        self._order += 1
        if event.mask & ON_DIRECTORY and event.mask & (CREATE | RENAME):
            self._note_directory(event, here, there)
        if event.mask & RENAME:
            self._rename(event, here, there, writer)
            return
        if here is None:
            return
        here.events += 1
        if event.mask & DELETE:
            here.remove(event.place.name, self._order, writer)
            if event.mask == CREATE | DELETE and len(self._again) < _MAX_AGAIN:
                self._again[record] = here, event.place.name
        elif event.mask & CREATE:
            here.add(event.place.name, self._order, writer, directory=bool(event.mask & ON_DIRECTORY))

    def _rename(self, event: Event, here: _Directory | None, there: _Directory | None, writer: Writer) -> None:
        from_work = event.old is None or _is_temporary(there, event.old.name)
        to_work = _is_temporary(here, event.place.name)
        if there is not None and event.old is not None and not from_work:
            there.events += 1
            if to_work:  # an image directory on its way out, which the layer shows
                there.names.pop(event.old.name, None)
            else:
                there.remove(event.old.name, self._order, writer)
        if here is not None and not to_work:
            here.events += 1
            record = here.add(event.place.name, self._order, writer, directory=bool(event.mask & ON_DIRECTORY))
            record.copied = record.copied or from_work
            record.renamed = record.renamed or not from_work

    def _note_directory(self, event: Event, here: _Directory | None, there: _Directory | None) -> None:
        """Learn by what a new directory is known, for the time when it is gone; forget where a moved one was."""
        if event.old is not None and there is not None:
            before = f"{there.path}/{os.fsdecode(event.old.name)}"
            if before in self._ways:
                self._again.clear()
                stale = [k for k, d in self._by_key.items() if d is not None and _is_below(d.path, before)]
                for key in stale:
                    del self._by_key[key]
        if here is not None and not _is_temporary(here, event.place.name):
            known_by = self._key_of(event.place)
            if known_by is not None:
                self._by_key[known_by] = self._keep(f"{here.path}/{os.fsdecode(event.place.name)}")

    def _directory(self, key: bytes) -> _Directory | None:
        """Return what is known of a directory of interest; None of any other."""
        if key in self._by_key:
            return self._by_key[key]
        path = self._locate(key)
        found = self._keep(path) if path else None
        if len(self._by_key) >= 4 * _MAX_DIRECTORIES:
            self._by_key = {k: d for k, d in self._by_key.items() if d is not None}
        self._by_key[key] = found
        return found

    def _keep(self, path: str) -> _Directory | None:
        found = self._by_path.get(path)
        if found is None:
            if len(self.kept) >= _MAX_DIRECTORIES:
                self.notes.add(f"names came and went in more than {_MAX_DIRECTORIES} directories: not all were kept")
                return None
            found = self._by_path[path] = _Directory(path)
            self.kept.append(found)
            while path and path not in self._ways:
                self._ways.add(path)
                path = path.rpartition("/")[0]
        return found


def _is_temporary(directory: _Directory | None, name: bytes) -> bool:
    """Tell whether a name is one that overlayfs gives in its work directory: `#` and a hexadecimal number."""
    if not _TEMPORARY.fullmatch(name):
        return False
    return directory is None or directory.path.endswith(("/work", "/index"))


class _People:
    """Who a pid is: read at once, kept for as long as it can be believed."""

    def __init__(self) -> None:
        self._now: dict[int, Writer | None] = {}
        self._known: dict[int, tuple[float, Writer | None, IdMap | None]] = {}
        self._maps: dict[int, IdMap] = {}
        self._root = os.stat("/")
        self._own = os.getpid()
        self.strangers = 0
        self.lineage: Lineage | None = None
        self.unnamed = ""
        """Why processes that are gone at once can't be named."""
        self.notes: set[str] = set()

    def new_batch(self) -> None:
        self._now.clear()

    def look(self, pid: int) -> Writer | None:
        """Return the program and user of a process of a container; None for one of the host's, which is not told of."""
        if pid == self._own:
            return None
        if pid not in self._now:
            self._now[pid] = self._read(pid)
        return self._now[pid]

    def _read(self, pid: int) -> Writer | None:
        self.strangers += pid not in self._known
        writer = None
        try:
            ids = self._ids(pid)
        except OSError:
            return self._recall(pid)
        if ids is not None:
            program, credentials = read_program(pid), read_credentials(pid)
            if program is None or credentials is None:
                return self._recall(pid)
            writer = Writer(program=program, uid=ids.uid(credentials[0]), gid=ids.gid(credentials[1]))
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[pid] = (time.monotonic(), writer, ids)
        return writer

    def _ids(self, pid: int) -> IdMap | None:
        """Return the users of the container that a process is in; None of one of the host's. OSError if it is gone."""
        if os.path.samestat(os.stat(f"/proc/{pid}/root"), self._root):
            return None
        namespace = os.stat(f"/proc/{pid}/ns/user").st_ino
        ids = self._maps.get(namespace)
        if ids is None:
            ids = self._maps[namespace] = IdMap.read(pid)
        return ids

    def _recall(self, pid: int) -> Writer | None:
        """Return who a process was that is gone."""
        life = self.lineage.of(pid) if self.lineage is not None else None
        seen, writer, _ = self._known.get(pid, (0.0, None, None))
        fresh = time.monotonic() - seen < _FRESH
        if life is not None and (life.since > seen or not fresh):  # it has become another since, or was never met
            return self._was(life)
        if fresh:
            return writer
        if self.unnamed:
            self.notes.add(f"some of what came and went has no process to it: {self.unnamed}")
        return Writer(program=UNKNOWN_PROGRAM)

    def _was(self, life: Life) -> Writer:
        if life.program is None:
            return Writer(program=UNKNOWN_PROGRAM)
        ids = self._ids_around(life.parent)
        if ids is None or life.uid is None or life.gid is None:
            return Writer(program=life.program)
        return Writer(program=life.program, uid=ids.uid(life.uid), gid=ids.gid(life.gid))

    def _ids_around(self, pid: int) -> IdMap | None:
        """Return the users of the container that a process or one of its parents is in; None where none can tell."""
        for _ in range(_MOST_PARENTS):
            with suppress(OSError):
                return self._ids(pid)
            ids = self._known[pid][2] if pid in self._known else None
            life = self.lineage.of(pid) if self.lineage is not None else None
            if ids is not None or life is None:
                return ids
            pid = life.parent
        return None

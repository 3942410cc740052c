"""Collects the evidence of one container's life, on the host that it runs on."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from lithify.engines.base import UpperLayer
from lithify.engines.ids import IdMap
from lithify.engines.mounts import read_mounts
from lithify.model.image import ImageEntry, ImageFacts
from lithify.model.path import PSEUDO, ROOT
from lithify.model.writes import Process, Source, Write
from lithify.observe.diff import writes_of_diff
from lithify.observe.image import directories_of, find_code_roots, has_shell, read_image_entries
from lithify.observe.merge import merge_writes
from lithify.observe.overlay import read_upper_layer
from lithify.observe.processes import read_open_files, read_processes
from lithify.observe.volumes import read_volume

if TYPE_CHECKING:
    from lithify.observe.live import LiveNames
    from lithify.observe.trace import Trace

_ENGINE_FILES = frozenset(PurePosixPath(p) for p in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf"))

Volumes = tuple[tuple[PurePosixPath, Path], ...]
"""Where a container has each volume that nobody asked for, and the directory behind it."""
Owned = TypeVar("Owned", Write, ImageEntry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What was seen in a container's life."""

    image: ImageFacts
    """With the entries that were written, where the container's layers were seen."""
    writes: tuple[Write, ...]
    """A path once."""
    processes: tuple[Process, ...]
    mounted: tuple[PurePosixPath, ...]
    """Places that were mounted writable because somebody asked for them."""
    sources: tuple[Source, ...]
    notes: tuple[str, ...]


class Collector:
    """Follows one container from before its first start until it has stopped and is still there."""

    def __init__(self, image: ImageFacts, storage: Path | None, *, live: bool = True, trace: bool = False) -> None:
        self._image = image
        self._layer: UpperLayer | None = None
        self._groups: list[Iterable[Write]] = []
        self._notes: list[str] = []
        self._sources: set[Source] = set()
        self._processes: dict[tuple[str, int], Process] = {}
        self._mounted: tuple[PurePosixPath, ...] = ()
        self._ids = IdMap()
        """The container's users on this host, where layers and volumes have them."""
        self._stack = ExitStack()
        self._traces: list[Trace] | None = [] if trace else None
        self._live: LiveNames | None = None
        reason = self._listen(storage) if live else "it was switched off"
        if reason:
            self._notes.append(f"names that came and went were not watched live: {reason}")

    def _listen(self, storage: Path | None) -> str | None:
        """Start to watch live, or return why that can't be had."""
        from lithify.observe.live import LiveNames, available

        reason = available(storage) if storage else "the layers are not on this host"
        if not reason and storage:
            self._live = self._stack.enter_context(LiveNames([storage]))
        return reason

    def follow(self, layer: UpperLayer | None) -> None:
        """Take down which layer it has: a kubelet that starts a container again gives it a new one."""
        if layer is not None and (self._layer is None or layer.upper != self._layer.upper):
            self._layer = layer
            if layer.ids.changes:
                self._ids = layer.ids
            if self._live is not None:
                self._live.watch(layer.upper)

    def start(self, pid: int, layer: UpperLayer | None, volumes: Volumes) -> None:
        """Follow it from a start on: `pid` is its first process."""
        self.follow(layer)
        self._ids = IdMap.read(pid)
        self._follow_calls(pid)
        if self._live is not None:
            for path, directory in volumes:
                self._live.watch(directory, path)
        known = {path for path, _ in volumes}
        self._mounted = tuple(path for path in _users_mounts(pid) if path not in known)

    def _follow_calls(self, pid: int) -> None:
        """Trace the system calls of a container that has just been started, where that was asked for."""
        if self._traces is None:
            return
        from lithify.observe.trace import Trace, available

        reason = available(pid)
        if reason:
            self._notes.append(f"system calls were not traced: {reason}")
        else:
            self._traces.append(self._stack.enter_context(Trace(pid)))

    def look(self, pid: int) -> None:
        """Take down who runs in it, and has what open."""
        for process in read_processes(pid):
            self._processes.setdefault((process.program, process.uid), process)
        self._groups.append(read_open_files(pid))
        self._sources.add(Source.PROCESSES)

    def read(
        self, layer: UpperLayer | None, volumes: Volumes, diff: Sequence[tuple[str, PurePosixPath]] | None
    ) -> None:
        """Read what it has written so far; `diff` is its engine's word, for where there is no layer to be read."""
        self.follow(layer)
        if self._layer is not None:
            writes, notes = read_upper_layer(self._layer)
            self._sources.add(Source.LAYER)
        elif diff is not None:
            writes, notes = writes_of_diff(diff)
            self._sources.add(Source.DIFF)
        else:
            self._notes.append("the container's layer could not be read")
            return
        self._groups.append(self._as_inside(writes))
        self._notes += notes
        lowers = self._layer.lowers if self._layer else ()
        for path, directory in volumes:
            self._groups.append(self._as_inside(read_volume(path, directory, lowers)))
            self._sources.add(Source.VOLUME)

    def finish(self, *, there: bool) -> Collected:
        """Stop watching and return all that was seen; the container still holds its layers where it is `there`."""
        self._stack.close()
        for trace in self._traces or ():
            writes, notes = trace.writes(self._layer.lowers if self._layer and there else ())
            self._groups.append(writes)
            self._notes += notes
            self._sources.add(Source.TRACE)
        if self._live is not None:
            writes, notes = self._live.writes(self._layer)
            self._groups.append(writes)
            self._notes += notes
            self._sources.add(Source.LIVE)
        found = merge_writes(*self._groups)
        return Collected(
            image=self._image_beneath(found) if there else self._image,
            writes=found,
            processes=tuple(self._processes.values()),
            mounted=self._mounted,
            sources=tuple(sorted(self._sources)),
            notes=tuple(dict.fromkeys(self._notes)),
        )

    def _image_beneath(self, writes: Sequence[Write]) -> ImageFacts:
        """Return the image with what it has where something was written."""
        if self._layer is None:
            return self._image
        lowers, user_xattr = self._layer.lowers, self._layer.user_xattr
        paths = [write.path for write in writes] + [*self._image.volumes, self._image.working_directory]
        users = {self._image.uid, *(process.uid for process in self._processes.values())} - {0}
        theirs = {self._ids.host_uid(uid) for uid in users}
        paths += directories_of(lowers, theirs, user_xattr=user_xattr)  # where they may write and perhaps did not yet
        entries = read_image_entries(lowers, paths, user_xattr=user_xattr)
        return replace(
            self._image,
            entries=dict(zip(entries, self._as_inside(entries.values()), strict=True)),
            code_roots=find_code_roots(lowers, self._image, self._processes.values(), user_xattr=user_xattr),
            has_shell=has_shell(lowers, user_xattr=user_xattr),
        )

    def _as_inside(self, owned: Iterable[Owned]) -> list[Owned]:
        """Return writes or image entries with the owner's number in the container."""
        if not self._ids.changes:
            return list(owned)
        return [
            replace(
                one,
                uid=None if one.uid is None else self._ids.uid(one.uid),
                gid=None if one.gid is None else self._ids.gid(one.gid),
            )
            for one in owned
        ]


def _users_mounts(pid: int) -> tuple[PurePosixPath, ...]:
    """Return the places that were mounted writable because somebody asked for them."""
    return tuple(
        dict.fromkeys(
            mount.path
            for mount in read_mounts(pid)
            if not mount.read_only
            and mount.path != ROOT
            and mount.path not in _ENGINE_FILES
            and not any(mount.path.is_relative_to(pseudo) for pseudo in PSEUDO)
        )
    )

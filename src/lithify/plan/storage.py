"""Picks what lies under a place: memory, disk that goes with the container, or a volume that stays.

What must survive lies on a volume, always. What must not, such as pid files, lies in memory, which is empty at every
start. In between size decides: memory is charged to the container and can get it killed, so what is large, or grows by
nature, goes to disk.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from lithify.model.mount import PathClass, StorageKind
from lithify.model.quantity import render_human
from lithify.plan.settings import PlanSettings

LARGEST_IN_MEMORY = 128 << 20
"""Bytes of one place. Above this a tmpfs is a noticeable part of what small containers have."""
LARGEST_CACHE_IN_MEMORY = 8 << 20
"""Bytes seen. A cache that held this much after a short run will outgrow memory."""
MEMORY_SHARE = 0.5
"""Part of the container's memory limit that all its tmpfs may fill together: the pages are charged to that limit, and
the program needs the rest."""
DEFAULT_BUDGET = 512 << 20
"""Bytes for all memory-backed places of a container without a memory limit."""
_NAME_LIMIT = 200
"""Engines put the name into a path below their own directory; file names end at 255 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """What a place lies on, and why."""

    kind: StorageKind
    because: str


def choose_storage(
    path: PurePosixPath, classes: frozenset[PathClass], *, staying: bool, seen: int, size: int, settings: PlanSettings
) -> Storage:
    """Return the storage of the directory `path`, `seen` and `size` being the bytes met and planned."""
    if staying:
        return Storage(kind=StorageKind.VOLUME, because="what is written here must survive the container: a volume")
    if path in settings.on_disk:
        return Storage(kind=StorageKind.SCRATCH, because="a run showed that memory does not do: disk")
    if PathClass.STATE in classes:
        return Storage(
            kind=StorageKind.SCRATCH, because="it holds a store that may go with the container, as decided: disk"
        )
    if PathClass.LOG in classes and PathClass.RUNTIME not in classes:
        return Storage(kind=StorageKind.SCRATCH, because="logs grow with time and memory does not: disk")
    if PathClass.CACHE in classes and seen > LARGEST_CACHE_IN_MEMORY:
        return Storage(kind=StorageKind.SCRATCH, because="the cache is large already and will grow: disk")
    if size > LARGEST_IN_MEMORY:
        return Storage(kind=StorageKind.SCRATCH, because=f"{render_human(size)} are much for memory: disk")
    if PathClass.RUNTIME in classes:
        return Storage(kind=StorageKind.MEMORY, because="pid files and sockets must not outlive the container: memory")
    return Storage(kind=StorageKind.MEMORY, because="it is small and may go with the container: memory")


def memory_budget(limit: int | None, settings: PlanSettings) -> int:
    """Return the bytes that all memory-backed places may have together."""
    if settings.memory_budget is not None:
        return settings.memory_budget
    return int(limit * MEMORY_SHARE) if limit else DEFAULT_BUDGET


def exceeding(sizes: Iterable[tuple[PurePosixPath, int, bool]], budget: int) -> list[PurePosixPath]:
    """Return the places that must leave memory so that the rest fits `budget`: the largest first, run-time ones last.

    Each of `sizes` is a place, its bytes, and whether it holds run-time files, which disk would keep from one start in
    place to the next.
    """
    places = sorted(sizes, key=lambda item: (item[2], -item[1], item[0]))
    total = sum(size for _, size, _ in places)
    leaving = []
    for path, size, _ in places:
        if total <= budget:
            break
        leaving.append(path)
        total -= size
    return leaving


def volume_names(prefix: str, paths: Iterable[PurePosixPath]) -> dict[PurePosixPath, str]:
    """Return a name for the volume at each of `paths`, valid for Docker, Podman and Kubernetes, and the same each time.

    Where characters had to be replaced, or two paths would share a name, a hash of the path tells them apart.
    """
    start = _slug(prefix) or "lithify"
    names: dict[PurePosixPath, str] = {}
    for path in sorted(set(paths)):
        text = str(path).strip("/")
        slug = _slug(text)
        name = f"{start}-{slug}" if slug else f"{start}-root"
        lossless = re.fullmatch(r"[a-z0-9]+(/[a-z0-9]+)*", text) is not None
        if (not lossless and slug != text.replace("/", "-")) or name in names.values() or len(name) > _NAME_LIMIT:
            digest = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:8]
            name = f"{name[: _NAME_LIMIT - 9]}-{digest}"
        names[path] = name
    return names


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")

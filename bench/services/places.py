"""What a set of writable places costs, counted the same way for lithify's plan and for the naive one."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from bench.services.service import Service

if TYPE_CHECKING:
    from lithify.model.mount import MountPlan
    from lithify.model.writes import WriteSet

SYSTEM = tuple(map(PurePosixPath, ("/etc", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/boot")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Somewhere that a container may write."""

    path: PurePosixPath
    lasting: bool
    """What is written there is there in the next container."""
    memory: int | None = 0
    """Bytes of memory it may take; None for as much as it likes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a set of places leaves open."""

    places: int
    entries: int
    """Image entries that are made writable or hidden."""
    system: int
    """Places in /etc, /usr and their like, or that hold the program's own code."""
    dying: int
    """Directories of state that do not outlive the container."""
    memory: int | None
    """Bytes of memory reserved; None where a place has no limit."""


def planned_places(plan: "MountPlan") -> list[Place]:
    """Return the places of lithify's plan."""
    from lithify.model.mount import StorageKind

    return [
        Place(
            path=mount.path,
            lasting=mount.storage is StorageKind.VOLUME,
            memory=mount.size if mount.storage is StorageKind.MEMORY else 0,
        )
        for mount in plan.mounts
    ]


def naive_places(write_set: "WriteSet", rootfs: Path) -> list[Place]:
    """Return every directory that the layer names, each on a volume that starts with what the image has there.

    A directory that the program made itself counts as its first parent in the image. One inside another needs no
    volume of its own, which spares the naive plan places. The root directory, where the layer names it, can't be one.
    """
    from lithify.model.image import EntryType
    from lithify.model.writes import Change, Source

    named: set[PurePosixPath] = set()
    for write in write_set.writes:
        if Source.LAYER in write.evidence:
            itself = write.change is Change.METADATA and write.type is EntryType.DIRECTORY
            directory = write.path if itself else write.directory
            while not is_directory(rootfs, directory):
                directory = directory.parent
            named.add(directory)
    named.discard(PurePosixPath("/"))
    return [Place(path=path, lasting=True) for path in outermost(named)]


def is_directory(rootfs: Path, path: PurePosixPath) -> bool:
    """Tell whether the image has a directory at `path`, links not followed."""
    place = rootfs / path.relative_to("/")
    return place.is_dir() and not place.is_symlink()


def outermost(paths: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """Return those of `paths` that lie in no other, in order."""
    found: list[PurePosixPath] = []
    for path in sorted(set(paths)):
        if not any(path.is_relative_to(other) for other in found):
            found.append(path)
    return found


def count_entries(rootfs: Path, path: PurePosixPath) -> int:
    """Return how many entries the image has below a directory, 1 for a file, 0 for what it has not."""
    place = rootfs / path.relative_to("/")
    if not place.is_dir() or place.is_symlink():
        return int(os.path.lexists(place))
    return sum(len(directories) + len(files) for _, directories, files in os.walk(place))


def holds_program(service: Service, path: PurePosixPath) -> bool:
    """Tell whether a place lies where only the system or the program itself should be."""
    in_system = any(path.is_relative_to(system) for system in SYSTEM)
    return in_system or any(code.is_relative_to(path) for code in service.code)


def cost(service: Service, rootfs: Path, places: Sequence[Place], state: Iterable[PurePosixPath]) -> Cost:
    """Return what `places` leave open in the image at `rootfs`; `state` is where the service's data lies."""
    limits = [place.memory for place in places]
    lasting = [place.path for place in places if place.lasting]
    return Cost(
        places=len(places),
        entries=sum(count_entries(rootfs, path) for path in outermost(place.path for place in places)),
        system=sum(holds_program(service, place.path) for place in places),
        dying=sum(not any(path.is_relative_to(place) for place in lasting) for path in state),
        memory=None if None in limits else sum(filter(None, limits)),
    )


def state_under(plan: "MountPlan", service: Service) -> list[PurePosixPath]:
    """Return where the service's data lies once the plan's variables and options are set."""
    moved = []
    for path in service.state:
        for redirect in plan.redirects:
            if path.is_relative_to(redirect.old):
                path = redirect.new / path.relative_to(redirect.old)
        moved.append(path)
    return moved


def writable_and_executable(pid: int, places: Iterable[PurePosixPath]) -> int:
    """Return at how many of `places` the container of `pid` may both write and run programs, by its mount table."""
    options = {}
    for line in Path(f"/proc/{pid}/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        options[fields[4].replace("\\040", " ")] = fields[5].split(",")
    return sum("noexec" not in options.get(str(path), ["noexec"]) for path in places)


def accepting_directories(pid: int, rootfs: Path, places: Sequence[PurePosixPath]) -> list[PurePosixPath]:
    """Return the directories of the image, those in `places` left out, in which a file can be made from outside.

    Tried on each, through the container's own mounts; what is made is removed again.
    """
    given = [PurePosixPath(path) for path in ("/dev", "/proc", "/sys")]
    accepting = []
    for directory, _, _ in os.walk(rootfs):
        path = PurePosixPath("/") / Path(directory).relative_to(rootfs).as_posix()
        if not any(path.is_relative_to(other) for other in (*given, *places)) and accepts_file(pid, path):
            accepting.append(path)
    return accepting


def accepts_file(pid: int, path: PurePosixPath) -> bool:
    """Tell whether a file can be made in a directory of the container of `pid`."""
    name = f".lithify-bench-{os.getpid()}"
    try:
        directory = os.open(f"/proc/{pid}/root{path}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory))
        os.unlink(name, dir_fd=directory)
    except OSError:
        return False
    finally:
        os.close(directory)
    return True

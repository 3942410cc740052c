"""What an image holds and asks for, as far as a plan depends on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

from lithify.model.path import ROOT


class EntryType(StrEnum):
    """What stands at a path."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    SOCKET = "socket"
    FIFO = "fifo"
    DEVICE = "device"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntry:
    """One path as the image's layers have it, before any container wrote.

    For a directory the totals count everything below it, itself left out.
    """

    type: EntryType
    mode: int
    """Permission bits with setuid, setgid and sticky: 0o1777."""
    uid: int
    gid: int
    size: int = 0
    """Bytes of a file, or of all files below a directory."""
    entries: int = 0
    """Entries below a directory."""
    directories: int = 0
    """Those of `entries` that are directories."""
    executables: int = 0
    """Files below a directory that have an execute bit and are programs, scripts or libraries; 1 for such a file."""
    target: str | None = None
    """Where a symbolic link points, as it is written."""

    @property
    def files(self) -> int:
        """Entries below a directory that are not directories."""
        return self.entries - self.directories


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """An image's configuration and the entries that a plan asks about."""

    reference: str
    """What a person calls it: `nginx:1.27`, or the directory of a root filesystem."""
    digest: str | None = None
    user: str = ""
    """As configured: a name, a number, `name:group`, or nothing for root."""
    uid: int = 0
    gid: int = 0
    working_directory: PurePosixPath = field(default_factory=lambda: ROOT)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    volumes: tuple[PurePosixPath, ...] = ()
    """Paths that the image declares as VOLUME."""
    exposed: tuple[str, ...] = ()
    """Ports that the image declares, as `80/tcp`."""
    stop_signal: str = "SIGTERM"
    has_shell: bool = False
    entries: Mapping[PurePosixPath, ImageEntry] = field(default_factory=dict)
    """Each path that was written, and each directory on the way to it, as far as the image has them."""
    code_roots: tuple[PurePosixPath, ...] = ()
    """Directories that hold the program itself: of its main script, its binary, or a working directory with code."""

    def __post_init__(self) -> None:
        if any(isinstance(path, str) for path in self.entries):  # as JSON has them
            object.__setattr__(self, "entries", {PurePosixPath(path): found for path, found in self.entries.items()})

    def entry(self, path: PurePosixPath) -> ImageEntry | None:
        """Return what the image has at `path`, or None where it has nothing."""
        return self.entries.get(path)

    def directories(self, path: PurePosixPath) -> dict[PurePosixPath, ImageEntry] | None:
        """Return the directories below `path`, parents first; None where not all of them are known."""
        top = self.entry(path)
        below = {
            each: found
            for each, found in sorted(self.entries.items())
            if found.type is EntryType.DIRECTORY and each != path and each.is_relative_to(path)
        }
        return below if top is not None and top.directories == len(below) else None

"""Write sets written by hand, in few words."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.writes import Change, Observation, Process, RunKey, Write, Writer, WriterStyle, WriteSet

P = PurePosixPath
FILE, DIRECTORY, SOCKET = EntryType.FILE, EntryType.DIRECTORY, EntryType.SOCKET


def directory(
    *,
    mode: int = 0o755,
    uid: int = 0,
    gid: int | None = None,
    files: int = 0,
    dirs: int = 0,
    size: int = 0,
    exe: int = 0,
) -> ImageEntry:
    """Return a directory of an image with so many files and directories below it."""
    return ImageEntry(
        type=DIRECTORY, mode=mode, uid=uid, gid=uid if gid is None else gid, size=size, entries=files + dirs,
        directories=dirs, executables=exe,
    )  # fmt: skip


def file(*, mode: int = 0o644, uid: int = 0, size: int = 100, exe: int = 0) -> ImageEntry:
    """Return a file of an image."""
    return ImageEntry(type=FILE, mode=mode, uid=uid, gid=uid, size=size, executables=exe)


def link(target: str) -> ImageEntry:
    """Return a symbolic link of an image."""
    return ImageEntry(type=EntryType.SYMLINK, mode=0o777, uid=0, gid=0, target=target)


DEBIAN: Mapping[str, ImageEntry] = {
    "/etc": directory(files=300, dirs=80, size=2 << 20, exe=20),
    "/home": directory(),
    "/opt": directory(),
    "/root": directory(mode=0o700, files=2, size=700),
    "/run": directory(dirs=1),
    "/run/lock": directory(mode=0o1777),
    "/srv": directory(),
    "/tmp": directory(mode=0o1777),
    "/usr": directory(files=9000, dirs=800, size=300 << 20, exe=900),
    "/usr/lib": directory(files=3000, dirs=300, size=100 << 20, exe=400),
    "/usr/local": directory(dirs=9),
    "/usr/share": directory(files=5000, dirs=400, size=50 << 20),
    "/var": directory(files=600, dirs=60, size=9 << 20, exe=100),
    "/var/cache": directory(files=10, dirs=8, size=1 << 20),
    "/var/lib": directory(files=580, dirs=30, size=6 << 20, exe=100),
    "/var/log": directory(files=8, dirs=1, size=300 << 10),
    "/var/run": link("/run"),
    "/var/spool": directory(dirs=2),
    "/var/tmp": directory(mode=0o1777),
}
"""Directories of a small Debian image."""


def image(entries: Mapping[str, ImageEntry] | None = None, *, code: tuple[str, ...] = (), **more: Any) -> ImageFacts:
    """Return an image of Debian with `entries` more."""
    found = {P(path): entry for path, entry in {**DEBIAN, **(entries or {})}.items()}
    return ImageFacts(reference="example", entries=found, code_roots=tuple(P(path) for path in code), **more)


def write(path: str, change: Change = Change.CREATED, kind: EntryType = FILE, **more: Any) -> Write:
    """Return a write; `by` names the writer as `program:uid`, `at` the style."""
    by = more.pop("by", None)
    if by is not None:
        program, _, uid = by.partition(":")
        more["writers"] = (Writer(program=program, uid=int(uid or 0), gid=int(uid or 0)),)
    if more.pop("in_place", False):
        more["style"] = WriterStyle.IN_PLACE
    if kind is FILE:
        more.setdefault("size", 100)
    return Write(path=P(path), change=change, type=kind, **more)


def came_and_went(path: str, *names: str, **more: Any) -> Write:
    """Return a directory in which names came and went."""
    return write(path, Change.CAME_AND_WENT, DIRECTORY, names=names, **more)


def made(path: str, **more: Any) -> Write:
    """Return a directory that the program made."""
    return write(path, Change.CREATED, DIRECTORY, **more)


def write_set(
    *writes: Write,
    facts: ImageFacts | None = None,
    command: tuple[str, ...] = (),
    processes: tuple[Process, ...] = (),
    **more: Any,
) -> WriteSet:
    """Return what a container named `app` wrote while it was exercised and restarted once."""
    return WriteSet(
        key=RunKey(image="example", command=command),
        container=more.pop("container", "app"),
        image=facts or image(),
        writes=writes,
        observation=more.pop("observation", Observation(seconds=10, exercise="a client", restarts=1)),
        processes=processes,
        **more,
    )

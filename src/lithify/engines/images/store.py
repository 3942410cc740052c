"""Root filesystems that lithify made for itself, kept for the next run: STATE/images/IDENTITY, the oldest given up.

.IDENTITY.lock      locked while it is made or removed
.IDENTITY.used      locked, shared, by each lithify process that has it under a container
.IDENTITY.json      what was noted when it was made; its time is that of the last use
.IDENTITY.partial/  one that is being made
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lithify.engines.bundle.state import read_record, write_record
from lithify.engines.tree import remove_tree
from lithify.errors import NotPermitted
from lithify.model.path import printable

KEPT_IMAGES = 16
KEPT_BYTES = 20 << 30
"""What stays of root filesystems that no container uses; the one used last stays in any case."""

_in_use: dict[Path, int] = {}
"""A descriptor with a shared lock for each root filesystem that this process uses, for its whole life."""


def stored(state: Path, identity: str, make: Callable[[Path], Sequence[str]]) -> tuple[Path, tuple[str, ...]]:
    """Return the directory of `identity` and what was noted when it was made, now by `make` or before.

    `make` fills an empty directory, which appears under its name only when it is whole. What was not used for longest
    is removed where that is beyond KEPT_IMAGES or KEPT_BYTES. NotPermitted where the state directory can't be written.
    """
    directory = state / "images" / identity
    record = _beside(directory, "json")
    try:
        directory.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        with _locked(_beside(directory, "lock")):
            if not directory.exists():
                _make(directory, make)
            elif record.exists():
                os.utime(record)
            else:
                write_record(record, {"bytes": _size(directory)})
            if directory not in _in_use:
                _in_use[directory] = _shared(_beside(directory, "used"))
    except PermissionError as error:
        raise NotPermitted(f"may not write to {printable(state)}", hint="set LITHIFY_STATE") from error
    give_up(state)
    return directory, tuple(read_record(record).get("notes", ()))


def _make(directory: Path, make: Callable[[Path], Sequence[str]]) -> None:
    partial = _beside(directory, "partial")
    remove_tree(partial)
    partial.mkdir(mode=0o755)
    try:
        notes = make(partial)
        write_record(_beside(directory, "json"), {"bytes": _size(partial), "notes": list(notes)})
        partial.rename(directory)
    except BaseException:
        remove_tree(partial)
        raise


def give_up(state: Path, *, images: int = KEPT_IMAGES, size: int = KEPT_BYTES) -> None:
    """Remove what was not used for longest beyond `images` and `size`; nothing that a container stands on."""
    used = {str(read_record(found).get("image")) for found in (state / "runs").glob("*/containers/*/container.json")}
    total = 0
    for number, directory in enumerate(_latest_first(state / "images")):
        total += int(read_record(_beside(directory, "json")).get("bytes", 0))
        if number and (number >= images or total > size) and str(directory) not in used:
            _remove(directory)


def discard_partial(state: Path) -> Iterator[str]:
    """Remove root filesystems that nobody goes on making; say which."""
    for partial in sorted((state / "images").glob(".*.partial")):
        with _try_locked(partial.with_suffix(".lock")) as got:
            if got:
                remove_tree(partial)
                yield f"an image unpacked in part, {partial.stem[1:13]}"


def _latest_first(images: Path) -> list[Path]:
    def used(directory: Path) -> float:
        record = _beside(directory, "json")
        return (record if record.exists() else directory).stat().st_mtime

    try:
        return sorted((d for d in images.iterdir() if not d.name.startswith(".")), key=used, reverse=True)
    except FileNotFoundError:  # another process is doing the same
        return []


def _remove(directory: Path) -> None:
    with _try_locked(_beside(directory, "lock")) as mine, _try_locked(_beside(directory, "used")) as unused:
        if mine and unused and directory not in _in_use:
            partial = _beside(directory, "partial")
            remove_tree(partial)
            directory.rename(partial)
            remove_tree(partial)
            for kind in ("json", "used"):
                _beside(directory, kind).unlink(missing_ok=True)


def _beside(directory: Path, kind: str) -> Path:
    return directory.with_name(f".{directory.name}.{kind}")


def _size(directory: Path) -> int:
    """Return what a tree takes on disk, a file of several names once."""
    found: dict[tuple[int, int], int] = {}
    for _, directories, names, descriptor in os.fwalk(directory, follow_symlinks=False):
        for name in [*directories, *names]:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            found[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(found.values())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _try_locked(path: Path) -> Iterator[bool]:
    """Lock a file if nobody else has it; tell whether."""
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _shared(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor

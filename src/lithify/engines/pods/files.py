"""Fills a pod's volumes as a kubelet does: files by way of a link that can be swapped, group rights for an fsGroup."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from lithify.engines.images.rootfs import DIRECTORY, RootFilesystem
from lithify.errors import EngineRefused
from lithify.model.path import printable
from lithify.model.pod import VolumeFile

_DATA = "..data"
_FIRST = "..2000_01_01_00_00_00.000000001"
"""What the directory behind `..data` is called: a time, so that the next comes after it."""


def fill_files(directory: Path, files: Mapping[str, VolumeFile]) -> None:
    """Write `files` into a new directory as config maps and secrets are: `key -> ..data/key -> ..TIME/key`.

    EngineRefused where a file and a directory would stand at the same path, or a path would lead out.
    """
    try:
        _fill_files(directory, files)
    except OSError as error:
        where = printable(str(error.filename or directory))
        raise EngineRefused(f"a volume's file {where} can't be made: {error.strerror}") from error


def _fill_files(directory: Path, files: Mapping[str, VolumeFile]) -> None:
    os.chmod(directory, 0o777)  # noqa: S103 - mounted read-only; a kubelet leaves it so
    content = directory / _FIRST
    content.mkdir(mode=0o755)
    for name, file in files.items():
        if ".." in PurePosixPath(name).parts or name.startswith("/"):
            raise EngineRefused(f"{printable(name)} is no path in a volume")
        path = content / name
        for parent in reversed(path.relative_to(directory).parents[:-1]):
            (directory / parent).mkdir(mode=0o755, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode)
    (directory / _DATA).symlink_to(_FIRST)
    for top in {PurePosixPath(name).parts[0] for name in files}:
        (directory / top).symlink_to(PurePosixPath(_DATA) / top)


def give_group(directory: Path, group: int, *, read_only: bool) -> None:
    """Let `group` use everything in a volume, and own what is made in it (kubelet, SetVolumeOwnership)."""
    rights = 0o440 if read_only else 0o660
    for _, directories, files, descriptor in os.fwalk(directory, follow_symlinks=False):
        for name in (".", *directories, *files):
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            os.chown(name, -1, group, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode) or (name != "." and stat.S_ISDIR(status.st_mode)):
                continue
            extra = 0o2110 if stat.S_ISDIR(status.st_mode) else 0
            os.chmod(name, stat.S_IMODE(status.st_mode) | rights | extra, dir_fd=descriptor)


def part_of(volume: Path, part: str, *, make: bool) -> Path:
    """Return what a `subPath` names, never outside of the volume; with `make` a missing one becomes a directory.

    Links in a volume are the pod's own and may point anywhere: they are followed inside the volume only. EngineRefused
    where there is nothing, or no way.
    """
    with RootFilesystem(volume) as root:
        try:
            found = root.resolve(PurePosixPath("/", part))
            status = root.status(found)
            if status is None and make:
                _make(root, found)
                status = root.status(found)
        except OSError as error:
            raise EngineRefused(f"the part {printable(part)} of a volume can't be reached: {error.strerror}") from error
        if status is None:
            raise EngineRefused(f"a volume has no part {printable(part)}")
    return volume.joinpath(*found.parts[1:])


def _make(root: RootFilesystem, path: PurePosixPath) -> None:
    """Make a directory and those on the way, each with the mode of the volume's own."""
    mode = stat.S_IMODE(os.fstat(root.descriptor).st_mode)
    at = os.dup(root.descriptor)
    try:
        for name in path.parts[1:]:
            try:
                os.mkdir(name, mode & 0o777, dir_fd=at)
                os.chmod(name, mode, dir_fd=at)
            except FileExistsError:
                pass
            deeper = os.open(name, DIRECTORY, dir_fd=at)
            os.close(at)
            at = deeper
    finally:
        os.close(at)

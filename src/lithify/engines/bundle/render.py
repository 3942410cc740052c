"""Writes an OCI bundle that any OCI runtime can start: what a plan comes to for targets of the bundle engine."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lithify.engines.bundle import rootless
from lithify.engines.bundle.places import missing_points
from lithify.engines.bundle.prepare import Setting, prepare
from lithify.engines.bundle.state import is_alive, read_record, start_time, write_record
from lithify.engines.images.image import LoadedImage
from lithify.engines.images.rootfs import DIRECTORY, RootFilesystem
from lithify.engines.tree import copy_tree, remove_tree
from lithify.errors import OutputFailed
from lithify.model.image import EntryType
from lithify.model.mount import MountPlan, StorageKind
from lithify.model.path import printable

KEPT_BUNDLES = 16
_MARK = "lithify.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedBundle:
    """A bundle on disk, ready for `runc run --bundle DIRECTORY NAME`."""

    directory: Path
    notes: tuple[str, ...]
    """What its user should know, in sentences."""


def render_bundle(
    image: LoadedImage,
    plan: MountPlan,
    directory: Path,
    *,
    volumes: Mapping[PurePosixPath, Path] | None = None,
    memory: int | None = None,
) -> RenderedBundle:
    """Write a complete bundle with a read-only root and the mounts of `plan` to `directory`.

    A root filesystem that the user has as a directory is used where it lies; one that came out of an image file is
    copied in. `volumes` has the directory for a volume by its path in the plan; those not named are made in the bundle.
    A directory that already holds this bundle is left as it is; OutputFailed where it holds anything else.
    """
    made_of = {"image": repr(image), "plan": repr(plan), "volumes": repr(volumes), "memory": memory}
    record = read_record(directory / _MARK)
    if record.get("made_of") != made_of:
        if "pid" in record and not is_alive(record):
            remove_tree(directory)  # who wrote it was killed half-way
        _make_empty(directory)
        write_record(directory / _MARK, {"pid": os.getpid(), "start": start_time(os.getpid())})
        try:
            notes = _write(image, plan, directory, dict(volumes or {}), memory)
        except BaseException:
            remove_tree(directory)
            raise
        record = {"made_of": made_of, "notes": notes}
        write_record(directory / _MARK, record)
    os.utime(directory)
    return RenderedBundle(directory=directory, notes=tuple(record["notes"]))


def give_up_bundles(parent: Path, kept: int = KEPT_BUNDLES) -> None:
    """Remove the bundles in `parent` that were asked for longest ago, but for the latest `kept` of them.

    Never one that runs, nor one in which something was written since it was made: that is somebody's data.
    """
    found = []
    for mark in parent.glob(f"*/{_MARK}"):
        try:
            found.append((mark.parent.stat().st_mtime_ns, mark.parent))
        except FileNotFoundError:  # another process is doing the same
            continue
    for _, directory in sorted(found, reverse=True)[kept:]:
        record = read_record(directory / _MARK)
        whole = "made_of" in record or not is_alive(record)
        if whole and not _was_written(directory) and not _is_mounted(directory):
            remove_tree(directory)


def _was_written(directory: Path) -> bool:
    """Tell whether anything below a bundle changed after it was complete; its root filesystem is read-only."""
    try:
        complete = (directory / _MARK).stat().st_mtime_ns
        for base, directories, names, descriptor in os.fwalk(directory, follow_symlinks=False):
            if base == str(directory):
                directories[:] = [name for name in directories if name != "rootfs"]
            for name in [*directories, *names]:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if name != _MARK and status.st_ctime_ns > complete:
                    return True
    except FileNotFoundError:
        return True
    return False


def _is_mounted(directory: Path) -> bool:
    """Tell whether a process anywhere on this host has something of a bundle mounted."""
    inside = os.fsencode(f"/{directory.parent.name}/{directory.name}")
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            if inside in Path(f"/proc/{process}/mountinfo").read_bytes():
                return True
        except OSError:
            continue
    return False


def _make_empty(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        filled = os.listdir(directory)
    except OSError as error:
        raise OutputFailed(f"can't write to {printable(directory)}: {error.strerror}") from error
    if filled:
        raise OutputFailed(f"{printable(directory)} is not empty", hint="name a directory that does not exist yet")


def _write(
    image: LoadedImage, plan: MountPlan, directory: Path, named: dict[PurePosixPath, Path], memory: int | None
) -> list[str]:
    root = image.rootfs
    if image.unpacked:
        root = directory / "rootfs"
        root.mkdir(mode=0o755)
        _copy(image.rootfs, root)
    for mount in plan.mounts:
        if mount.storage is StorageKind.VOLUME and mount.path not in named:
            named[mount.path] = directory / "named" / str(len(named))
            named[mount.path].mkdir(mode=0o700, parents=True)
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in directory.name)[:60]
    setting = Setting(
        directory=directory,
        root=root,
        read_only=True,
        hostname=name,
        named=named,
        # an ordinary user can make no cgroup, and starts the bundle from outside our user namespace
        cgroup=None if rootless.entered() else f"/{name}",
        memory=None if rootless.entered() else memory,
        mappings={f"{k}Mappings": rootless.own_map(k) for k in ("uid", "gid")} if rootless.entered() else {},
    )
    with RootFilesystem(root) as opened:
        prepared = prepare(image.facts, opened, plan, setting)
        missing = missing_points(opened, prepared.spec.all_mounts())
    write_record(directory / "config.json", prepared.spec.render())
    return list(_notes(image, plan, missing, memory))


def _notes(image: LoadedImage, plan: MountPlan, missing: Sequence[PurePosixPath], memory: int | None) -> Iterator[str]:
    yield "its network has loopback only: name another by its path in linux.namespaces of config.json"
    yield from image.notes
    if memory and rootless.entered():
        yield "no memory limit is set: that takes a cgroup, and so root"
    if missing and not image.unpacked:
        paths = ", ".join(printable(path) for path in missing)
        yield f"the runtime makes these empty mount points in {printable(image.rootfs)} at the first start: {paths}"
    for mount in plan.mounts:
        if mount.type is EntryType.FILE and mount.storage is StorageKind.MEMORY:
            yield f"{printable(mount.path)} is a file in the bundle: unlike memory it keeps its content over a restart"


def _copy(source: Path, target: Path) -> None:
    reader, writer = os.open(source, DIRECTORY), os.open(target, DIRECTORY)
    try:
        copy_tree(reader, writer)
    finally:
        os.close(reader)
        os.close(writer)

"""Explains the failed writes that a log reports: of a file, of a stream, or of a container."""

import os
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lithify.engines.base import Engine
from lithify.engines.mounts import MountPoint, parse_mountinfo, read_mounts
from lithify.errors import InvalidInput, LithifyError, NothingToExamine, NotPermitted
from lithify.model.log import Explanation
from lithify.model.path import ROOT, printable
from lithify.model.run import Target
from lithify.observe.erofs import explain, read_blocks
from lithify.pipeline.target import choose_running
from lithify.settings import Settings

_MOUNTINFO_LIMIT = 16 << 20
_LOG_LIMIT = 64 << 20
"""Bytes of a container's log that are read, its end."""


def explain_stream(
    stream: BinaryIO,
    *,
    source: str,
    working_directory: PurePosixPath | None = None,
    mountinfo: Path | None = None,
) -> Explanation:
    """Return what the log in `stream` says, read to its end; `mountinfo` is the container's `/proc/PID/mountinfo`."""
    blocks = read_blocks(stream)
    mounts = _read_mountinfo(mountinfo)
    return explain(blocks, source=source, working_directory=working_directory or ROOT, mounts=mounts)


def explain_file(
    path: str, *, working_directory: PurePosixPath | None = None, mountinfo: Path | None = None
) -> Explanation:
    """Return what a log file says; NothingToExamine where it is not there, InvalidInput where it can't be read."""
    try:
        with open(path, "rb") as file:
            return explain_stream(file, source=path, working_directory=working_directory, mountinfo=mountinfo)
    except FileNotFoundError as error:
        raise NothingToExamine(
            f"no file {printable(path)}", hint="for a container's log, say where it is: --engine docker or podman"
        ) from error
    except OSError as error:
        raise InvalidInput(
            f"{printable(path)}: {error.strerror}", hint="name a log file, or - for standard input"
        ) from error


def explain_container(
    reference: str,
    settings: Settings,
    *,
    working_directory: PurePosixPath | None = None,
    mountinfo: Path | None = None,
) -> Explanation:
    """Return what the log of a container says; its mounts and working directory are asked for where they can be.

    NothingToExamine where there is no such container, EngineUnreachable where the engine is gone.
    """
    engine, container, target = choose_running(reference, settings)
    if engine is None:
        raise NothingToExamine(
            f"where the output of {printable(target.reference)} goes only its own engine knows",
            hint="give the log itself: a kubelet's are /var/log/pods/NAMESPACE_POD_UID/CONTAINER/*.log",
        )
    pid = container.pid()
    mounts = _read_mountinfo(mountinfo) if mountinfo else _mounts(pid)
    return explain(
        [container.logs(_LOG_LIMIT)],
        source=f"{container.engine}:{container.name}",
        working_directory=working_directory or _working_directory(engine, target, pid),
        mounts=mounts,
    )


def _read_mountinfo(path: Path | None) -> tuple[MountPoint, ...]:
    if path is None:
        return ()
    try:
        with path.open("rb") as file:
            mounts = parse_mountinfo(file.read(_MOUNTINFO_LIMIT))
    except OSError as error:
        raise InvalidInput(
            f"{path}: {error.strerror}", hint="give a copy of the container's /proc/1/mountinfo"
        ) from error
    if not mounts:
        raise InvalidInput(f"{path}: no mount table", hint="give a copy of the container's /proc/1/mountinfo")
    return mounts


def _mounts(pid: int | None) -> tuple[MountPoint, ...]:
    try:
        return read_mounts(pid) if pid else ()
    except NotPermitted:
        return ()


def _working_directory(engine: Engine, target: Target, pid: int | None) -> PurePosixPath:
    """Return the first process' own working directory; while it does not run, the one that its image names."""
    try:
        if pid:
            return PurePosixPath(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        pass
    try:
        return engine.read_image(target).working_directory
    except LithifyError:
        return ROOT

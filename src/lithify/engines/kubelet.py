"""What the containers of a kubelet look like from their node, whatever runtime it has."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from lithify.engines.attached import NOISE, ProcessContainer
from lithify.engines.mounts import MountPoint, host_directory, read_mounts
from lithify.engines.state import start_time
from lithify.model.path import ROOT

_PLACES = re.compile(rb"PATH|HOME|TMPDIR|TMP|TEMP|XDG_[A-Z_]+|[A-Z0-9_]*(DIR|CACHE|HOME)")
"""Variables of which the value is a path."""

HOPELESS = frozenset((
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
    "CreateContainerError", "RunContainerError", "ImageInspectError",
))  # fmt: skip
"""Why a kubelet says that a container waits, where that does not pass by itself."""


class ProcessFinder:
    """Finds the processes of a container by what the kubelet mounts into it.

    `/dev/termination-log` is a file of the kubelet's at `pods/UID/containers/NAME/...`, whatever the runtime, the
    driver of control groups and the place of the kubelet's directory. So a process is known the moment it exists,
    before the API server has heard of its container.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._others: set[tuple[int, int]] = set()

    def first_process(self, uid: str) -> tuple[int, int] | None:
        """Return pid and start time of the oldest process of the container in pod `uid`."""
        wanted = f"/pods/{uid}/containers/{self._name}/".encode()
        found = []
        for entry in os.scandir("/proc"):
            if not entry.name.isdecimal():
                continue
            pid = int(entry.name)
            started = start_time(pid)
            if started is None or (pid, started) in self._others:
                continue
            try:
                with open(f"/proc/{pid}/mountinfo", "rb") as file:
                    mounted = wanted in file.read()
            except OSError:
                continue
            if mounted and _runs_its_program(pid):
                found.append((started, pid))
            elif not mounted and time.monotonic() > _settled_after(started):
                self._others.add((pid, started))
        return min(((pid, started) for started, pid in found), key=lambda one: one[1], default=None)


def _settled_after(started: int) -> float:
    """Return when, on the monotonic clock, a process that began then has the mounts that it will have."""
    return started / os.sysconf("SC_CLK_TCK") + 5.0


def _runs_its_program(pid: int) -> bool:
    """Tell whether a process is past the runtime's own init, which sets the container up from within."""
    try:
        program = os.readlink(f"/proc/{pid}/exe")
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(64).split(b"\0")
    except OSError:
        return False
    return not (words[:2] == [b"runc", b"init"] or re.search(r"memfd:runc|/runc(\.|$)|memfd:crun", program))


def noise(mounts: Sequence[MountPoint]) -> frozenset[PurePosixPath]:
    """Return what the runtime and the kubelet make in a container before anything in it runs."""
    return NOISE | {mount.path for mount in mounts if mount.path != ROOT}


def image_volumes(mounts: Sequence[MountPoint]) -> dict[PurePosixPath, Path]:
    """Return the directories that the runtime gave to the VOLUMEs of an image, by where they are mounted.

    containerd and CRI-O keep them below the container's own directory, in `volumes`; the kubelet's are below `pods`.
    """
    found = {}
    for mount in mounts:
        if re.search(r"/(containers|overlay-containers)/[0-9a-f]{64}/(userdata/)?volumes/", str(mount.root)):
            path = host_directory(f"/{str(mount.root).lstrip('/')}")
            if path is not None:
                found[mount.path] = path
    return found


class PodContainer(ProcessContainer):
    """A view of a container of a pod."""

    def volumes(self) -> Mapping[PurePosixPath, Path]:
        """Return the directories behind the VOLUMEs of its image."""
        pid = self.pid()
        return image_volumes(read_mounts(pid)) if pid is not None else {}


def credentials(base: Path) -> tuple[int, int]:
    """Return the effective user and group of the process in `base`, a directory of /proc."""
    fields = dict(line.split(":", 1) for line in (base / "status").read_text(errors="replace").splitlines())
    return int(fields["Uid"].split()[1]), int(fields["Gid"].split()[1])


def environment(base: Path) -> dict[str, str]:
    """Return the variables that say where things are kept; the others may be secrets."""
    pairs = (word.partition(b"=") for word in (base / "environ").read_bytes().split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs if _PLACES.fullmatch(name)}


def identity(text: str) -> str:
    """Return the id of a container that is somewhere in a control group's path or a status; nothing without one."""
    found = re.search(r"[0-9a-f]{64}", text)
    return found[0] if found else ""

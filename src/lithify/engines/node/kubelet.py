"""What the containers of a kubelet look like from their node, whatever runtime it has."""

import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from lithify.engines.attached import NOISE, ProcessContainer
from lithify.engines.base import UpperLayer
from lithify.engines.bundle.state import start_time
from lithify.engines.mounts import MountPoint, host_directory, read_mounts, root_overlay
from lithify.engines.node.containers import Start, read_start
from lithify.errors import NotPermitted
from lithify.model.image import ImageFacts
from lithify.model.path import ROOT

_SOON = 0.01
_OF_A_POD = re.compile(rb"/pods/[0-9A-Za-z-]+/containers/")
_PLACES = re.compile(r"PATH|HOME|TMPDIR|TMP|TEMP|XDG_[A-Z_]+|[A-Z0-9_]*(DIR|CACHE|HOME)")
"""Variables of which the value is a path."""

HOPELESS = frozenset((
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
    "CreateContainerError", "RunContainerError", "ImageInspectError",
))  # fmt: skip
"""Why a kubelet says that a container waits, where that does not pass by itself."""


def sees_pods() -> bool:
    """Tell whether this host is a node as far as we can see: containers of a kubelet's run here, and we may look."""
    if os.geteuid() != 0:
        return False
    own = os.stat("/proc/self/ns/mnt").st_ino
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        with suppress(OSError), open(f"/proc/{entry.name}/mountinfo", "rb") as file:
            if _OF_A_POD.search(file.read()) and os.stat(f"/proc/{entry.name}/ns/mnt").st_ino != own:
                return True
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A container whose first process was found."""

    process: tuple[int, int]
    """Its pid, and when it was started."""
    identity: str
    """The runtime's id of the container, which is another one after each start; nothing where that is not known."""
    layer: UpperLayer | None
    volumes: tuple[tuple[PurePosixPath, Path], ...]
    """The directories behind the VOLUMEs of its image."""


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

    def find(self, uid: str, but: tuple[int, int] | None) -> Sighting | None:
        """Return what is to be seen by that process; None where there is none, or it is `but`."""
        found = self.first_process(uid)
        if found is None or found == but:
            return None
        pid = found[0]
        group, layer = "", None
        mounts: tuple[MountPoint, ...] = ()
        with suppress(OSError), open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            group = file.read()
        with suppress(OSError, ProcessLookupError, NotPermitted):
            mounts = read_mounts(pid)
            layer = root_overlay(pid, noise(mounts))
        volumes = tuple(image_volumes(mounts).items())
        return Sighting(process=found, identity=identity(group), layer=layer, volumes=volumes)


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


def describe(pid: int, facts: ImageFacts) -> ImageFacts:
    """Return `facts` with what a running container tells of its image by its first process.

    What it was started with is taken from the runtime where that can be had: a start script is gone once it has become
    the program.
    """
    from lithify.engines.images.rootfs import RootFilesystem

    with suppress(OSError, NotPermitted):
        base = Path(f"/proc/{pid}")
        with RootFilesystem(base / "root") as root:
            shell = root.status(PurePosixPath("/bin/sh")) is not None
        start = read_start(pid) or _seen_of(base)
        return replace(
            facts,
            user=f"{start.uid}:{start.gid}",
            uid=start.uid,
            gid=start.gid,
            working_directory=start.working_directory,
            environment={**facts.environment, **places(start.environment)},
            command=start.arguments,
            has_shell=shell,
        )
    return facts


def _seen_of(base: Path) -> Start:
    """Return what is to be seen of a start by the process in `base`, a directory of /proc."""
    uid, gid = credentials(base)
    pairs = (os.fsdecode(word).partition("=") for word in (base / "environ").read_bytes().split(b"\0"))
    return Start(
        arguments=tuple(os.fsdecode(word) for word in (base / "cmdline").read_bytes().split(b"\0")[:-1]),
        uid=uid,
        gid=gid,
        working_directory=PurePosixPath(os.readlink(base / "cwd")),
        environment={name: value for name, _, value in pairs},
    )


def send_signal(process: tuple[int, int], number: int) -> None:
    """Send a signal to a process, known by its pid and start, if it is still there; await the end of a killed one."""
    pid, started = process
    if start_time(pid) != started:
        return
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise NotPermitted("may not signal processes of pods", hint="run lithify as root on the node") from error
    while number == signal.SIGKILL and start_time(pid) == started:
        time.sleep(_SOON)


def credentials(base: Path) -> tuple[int, int]:
    """Return the effective user and group of the process in `base`, a directory of /proc."""
    fields = dict(line.split(":", 1) for line in (base / "status").read_text(errors="replace").splitlines())
    return int(fields["Uid"].split()[1]), int(fields["Gid"].split()[1])


def places(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that say where things are kept; the others may be secrets."""
    return {name: value for name, value in environment.items() if _PLACES.fullmatch(name)}


def identity(text: str) -> str:
    """Return the id of a container that is somewhere in a control group's path or a status; nothing without one.

    A node that is a container itself has its own id before those of what it runs.
    """
    return next(reversed(re.findall(r"[0-9a-f]{64}", text)), "")

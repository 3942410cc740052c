"""What the mount table of a running container says, put in the place of what was declared for it."""

import re

from lithify.engines.mounts import MountPoint, process_root, read_mounts, visible_mounts
from lithify.engines.node.containers import is_of, layer_bytes
from lithify.errors import NotPermitted
from lithify.model.location import Location
from lithify.model.quantity import parse_engine_size
from lithify.model.workload import Container, Observed, Volume, VolumeMount

_OWN = frozenset(
    (
        "/dev", "/dev/shm", "/dev/termination-log", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf",  # noqa: S108
        "/run/.containerenv", "/run/secrets",
    )
)  # fmt: skip
"""What engines mount in every container unasked."""
_INTERFACES = frozenset(
    (
        "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "efivarfs", "fusectl", "mqueue",
        "nsfs", "proc", "pstore", "securityfs", "selinuxfs", "sysfs", "tracefs",
    )
)  # fmt: skip
"""Filesystems that hold the kernel's interfaces, and nobody's files."""


def observe(container: Container, pid: int, *, identity: str = "") -> None:
    """Look at the mounts of a container whose first process is `pid`, 0 where it does not run.

    They are believed only if that process is in the container, by `identity` (else the container's id) in its cgroup or
    its mounts; where they can't be read the reason is noted.
    """
    observed = container.observed = container.observed or Observed()
    if pid <= 0:
        observed.note = observed.note or "it does not run: judged by its flag"
        return
    try:
        mounts = read_mounts(pid)
        root = process_root(mounts)
        if root is None or not is_of(pid, identity or container.id, mounts):
            observed.note = "its mount table can't be seen from here: judged by its flag"
            return
    except NotPermitted:
        observed.note = "its mount table may not be read: judged by its flag"
        return
    observed.read_only = root.read_only
    if not container.workload.source.startswith(("docker", "podman")):  # these say it themselves
        observed.written = layer_bytes(pid)
    declared = {mount.path: mount for mount in container.mounts}
    container.mounts = tuple(
        _mounted(point, declared.get(str(point.path)), container.location)
        for point in sorted(visible_mounts(mounts), key=lambda point: str(point.path))
        if point is not root and (str(point.path) in declared or _holds_files(point))
    )


_ANONYMOUS = re.compile(r"/volumes/([0-9a-f]{64})(?:/_data)?$")
"""Where Docker, Podman and the CRI's containerd keep what an image's VOLUME gets when nothing is mounted there."""


def anonymous_volume(source: str) -> str:
    """Return what to call a volume without a name by where it lies on the host; nothing where it is none."""
    match = _ANONYMOUS.search(source)
    return match[1][:12] if match else ""


def place_of(location: Location, path: str) -> Location:
    """Return the place of a mount in what an engine says of a container."""
    return location.below(("Mounts", path))


def tmpfs_size(text: str) -> int | None:
    """Return a size of tmpfs's options; None without one. A share of memory is a limit of unknown size."""
    try:
        return 0 if text.endswith("%") else parse_engine_size(text) or None
    except ValueError:
        return None


def _holds_files(point: MountPoint) -> bool:
    """Tell whether files of somebody may lie there: no interface of the kernel, no device, no masked path."""
    if point.filesystem in _INTERFACES or (point.filesystem == "devtmpfs" and str(point.root) != "/"):
        return False
    return not str(point.path).startswith(("/proc/", "/sys/"))


def _mounted(point: MountPoint, declared: VolumeMount | None, location: Location) -> VolumeMount:
    """Return what is mounted, as what it was asked for as."""
    path = str(point.path)
    place = place_of(location, path)
    if declared is not None:
        mount = VolumeMount(path, declared.volume, place)
    else:
        memory = point.filesystem == "tmpfs"
        unnamed = anonymous_volume(str(point.root))
        kind = "engine" if path in _OWN else "tmpfs" if memory else "anonymous" if unnamed else "mount"
        volume = Volume("" if memory else unnamed or point.source, kind, place)
        volume.memory = memory
        volume.size = tmpfs_size(point.option("size") or "")
        mount = VolumeMount(path, volume, place)
    mount.read_only = point.read_only
    mount.executable = point.executable
    return mount

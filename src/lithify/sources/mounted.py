"""What the mount table of a running container says, put in the place of what was declared for it."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lithify.engines.mounts import (
    MountPoint,
    path_on_host,
    process_root,
    read_mounts,
    resolved_within,
    visible_mounts,
)
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


def observe(container: Container, pid: int, host: Sequence[MountPoint]) -> None:
    """Look at the mounts of a container whose first process is `pid`, 0 where it does not run.

    They are believed only if that process is in the container, by the container's id in its cgroup or its mounts, and
    not at home on the host, whose mounts are `host`: it is then what runs a virtual machine for it (Kata). Where they
    can't be read the reason is noted.
    """
    observed = container.observed = container.observed or Observed()
    if pid <= 0:
        observed.note = observed.note or "it does not run: judged by its flag"
        return
    try:
        mounts = read_mounts(pid)
        root = process_root(mounts)
        at_home = process_root(host)
        if root is None or not is_of(pid, container.id, mounts) or (at_home is not None and _shows(root, at_home)):
            observed.note = "its mount table can't be seen from here: judged by its flag"
            return
    except NotPermitted:
        observed.note = "its mount table may not be read: judged by its flag"
        return
    observed.read_only = root.read_only
    if not container.workload.source.startswith(("docker", "podman")):  # these say it themselves
        observed.written = layer_bytes(pid)
    points = sorted(visible_mounts(mounts), key=lambda point: str(point.path))
    again = {_place_in(point, root): point for point in points if point is not root and _shows(point, root)}
    observed.again = next((path for path, point in again.items() if not point.read_only), "")
    # What was asked for below a link (/var/run) lies where that leads to.
    declared = {resolved_within(f"/proc/{pid}/root", mount.path): mount for mount in container.mounts}
    unseen = [point for point in points if point is not root and not _is_below(str(point.path), again)]
    container.mounts = tuple(_mounts(container.location, declared, unseen, root, host))


def _mounts(
    location: Location,
    declared: Mapping[str, VolumeMount],
    points: Iterable[MountPoint],
    root: MountPoint,
    host: Sequence[MountPoint],
) -> Iterator[VolumeMount]:
    """Yield what is mounted: all that was asked for, and what holds files besides."""
    binds: dict[str, VolumeMount] = {}
    for point in points:
        path = str(point.path)
        asked = declared.get(path)
        if asked is None and not _holds_files(point):
            continue
        lies = "" if _shows(root, point) else path_on_host(point, host)
        bind = _is_below(path, binds) if asked is None else None
        if bind is not None:
            if binds[bind].writable and not point.read_only:
                continue
            lies = lies or f"{binds[bind].volume.host_path.rstrip('/')}{path.removeprefix(bind)}"
        mount = _mounted(point, asked, bind, lies, location)
        if asked is not None and mount.volume.host_path:
            binds[path] = mount
        yield mount
    yield from (mount for mount in declared.values() if mount.volume.kind == "device")  # made there, not mounted


def _shows(point: MountPoint, other: MountPoint) -> bool:
    """Tell whether all that `other` shows is to be found in `point` as well."""
    return point.device == other.device and other.root.is_relative_to(point.root)


def _place_in(point: MountPoint, other: MountPoint) -> str:
    return str(point.path / other.root.relative_to(point.root))


def _is_below(path: str, places: Iterable[str]) -> str | None:
    """Return which of `places` a path is, or is below; None where it is below none of them."""
    return next((place for place in places if f"{path}/".startswith(f"{place}/")), None)


_UNNAMED = re.compile(r"/volumes/([0-9a-f]{64})(?:/_data)?$")
"""Where Docker, Podman and the CRI's containerd keep what an image's VOLUME gets when nothing is mounted there."""
_NAMED = re.compile(r"/volumes/([^/]+)/_data(?:/|$)")
_OF_POD = re.compile(r"/pods/[0-9a-f-]{32,36}/(?:volumes/kubernetes\.io~([a-z-]+)/([^/]+)|etc-hosts$|containers/)")
_OF_ENGINE = re.compile(r"/(?:containers|sandboxes|overlay-containers)/[0-9a-f]{64}/")
_OVERLAY = re.compile(r"/overlay-containers/[0-9a-f]{64}/userdata/overlay/")
_KINDS = {
    "empty-dir": "emptyDir",
    "configmap": "configMap",
    "secret": "secret",
    "projected": "projected",
    "downward-api": "downwardAPI",
    "csi": "persistentVolumeClaim",
    "local-volume": "persistentVolumeClaim",
    "nfs": "nfs",
}


def volume_at(path: str, place: Location) -> Volume:
    """Return what a directory or file of the host is, by where engines and kubelets keep theirs; else a bind of it."""
    pod = _OF_POD.search(path)
    if pod is not None:
        return Volume(pod[2] or path, _KINDS.get(pod[1], "mount") if pod[1] else "engine", place)
    for pattern, kind in ((_UNNAMED, "anonymous"), (_NAMED, "volume"), (_OVERLAY, "overlay"), (_OF_ENGINE, "engine")):
        match = pattern.search(path)
        if match is not None:
            return Volume(match[1][:12] if kind == "anonymous" else match[1] if kind == "volume" else path, kind, place)
    return _bind_of(path, place)


def _bind_of(path: str, place: Location) -> Volume:
    volume = Volume(path, "bind", place)
    volume.host_path = path
    return volume


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


def _mounted(
    point: MountPoint, declared: VolumeMount | None, bind: str | None, lies: str, location: Location
) -> VolumeMount:
    """Return what is mounted, as what it was asked for as; `lies` is where the host has it, `bind` where it came in."""
    path = str(point.path)
    place = place_of(location, path) if declared is None else declared.location
    if declared is not None:
        mount = VolumeMount(path, declared.volume, place)
        mount.filled = declared.filled
    elif bind is not None:
        mount = VolumeMount(path, _bind_of(lies, place), place)
        mount.below = bind
    elif path in _OWN and not lies.startswith("/dev"):
        mount = VolumeMount(path, Volume(lies or point.source, "engine", place), place)
    elif lies or point.filesystem != "tmpfs":
        volume = volume_at(lies or str(point.root), place)
        if not lies and volume.kind == "bind":
            volume = Volume(point.source, "mount", place)
        mount = VolumeMount(path, volume, place)
    else:
        mount = VolumeMount(path, Volume("", "tmpfs", place), place)
    if declared is None and point.filesystem == "tmpfs" and not mount.volume.host_path:
        mount.volume.name, mount.volume.memory = "", True
        mount.volume.size = tmpfs_size(point.option("size") or "")
    mount.read_only = point.read_only
    mount.executable = point.executable
    return mount

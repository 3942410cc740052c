"""Workloads that exist in an engine: what `docker container inspect` and `podman container inspect` say of them.

Of a running container the mount table is read as well, by its pid: it says what holds, whatever was asked for.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lithify.engines.mounts import MountPoint, process_root, read_mounts, visible_mounts
from lithify.errors import NotPermitted
from lithify.model.location import Location
from lithify.model.quantity import parse_engine_size
from lithify.model.workload import Container, Exemption, ObjectName, Observed, Volume, VolumeMount, Workload
from lithify.sources.base import EXEMPTION_KEY, Reading, normal_path, parse_exemption
from lithify.sources.manifest import capability_names

_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
_OWN = frozenset(
    ("/dev", "/dev/shm", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run/.containerenv", "/run/secrets")  # noqa: S108
)
"""What engines mount in every container unasked."""
_INTERFACES = frozenset(
    (
        "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "efivarfs", "fusectl", "mqueue",
        "nsfs", "proc", "pstore", "securityfs", "selinuxfs", "sysfs", "tracefs",
    )
)  # fmt: skip
"""Filesystems that hold the kernel's interfaces, and nobody's files."""


def read_container(found: Mapping[str, Any], engine: str) -> Reading:
    """Return the one container that `found`, an item of what inspect writes, describes.

    Its input is called `docker:NAME`. Where its mount table can't be read (it does not run, it runs on another host,
    a right is missing) its flag alone is judged, and the reason says so.
    """
    name = str(found.get("Name") or found.get("Id") or "").removeprefix("/")
    reading = Reading(f"{engine}:{name}")
    reading.documents = 1
    here = Location(reading.path)
    labels = _mapping(_mapping(found, "Config"), "Labels")
    project = str(labels.get("com.docker.compose.project") or "")
    workload = Workload(ObjectName("Container", name, project, engine), engine, here)
    if found.get("Platform") == "windows" or _mapping(found, "HostConfig").get("Isolation") in ("hyperv", "process"):
        workload.not_applicable = "Windows containers have no read-only root filesystem"
    container = Container(workload, "containers", 0, name, here)
    _fill(container, found)
    container.exemptions = tuple(read_labels(labels))
    _observe(container, found)
    workload.containers = (container,)
    workload.volumes = memory_volumes(container.mounts)
    reading.workloads.append(workload)
    return reading


def read_labels(labels: Mapping[str, Any]) -> Iterator[Exemption]:
    """Yield the exemptions that labels of a container or service give."""
    for key, value in labels.items():
        if key.startswith(EXEMPTION_KEY):
            yield parse_exemption(key.removeprefix(EXEMPTION_KEY), str(value), origin="label")


def memory_volumes(mounts: Iterable[VolumeMount]) -> tuple[Volume, ...]:
    """Return the tmpfs among the volumes of `mounts`."""
    return tuple(mount.volume for mount in mounts if mount.volume.kind == "tmpfs")


def texts(value: object) -> tuple[str, ...]:
    """Return a list of text as engines write it: null where it is empty, Podman's entrypoint as one word."""
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _mapping(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def _items(found: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = found.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _fill(container: Container, found: Mapping[str, Any]) -> None:
    """Set what was declared when the container was made."""
    config, host = _mapping(found, "Config"), _mapping(found, "HostConfig")
    container.id = str(found.get("Id") or "")
    container.image = str(config.get("Image") or found.get("ImageName") or "")
    container.command = texts(config.get("Entrypoint"))
    container.arguments = texts(config.get("Cmd"))
    memory = host.get("Memory")
    container.memory_limit = memory if isinstance(memory, int) and memory > 0 else None
    security = container.security
    security.read_only_root = host.get("ReadonlyRootfs") is True
    security.privileged = host.get("Privileged") is True
    # The image's own user stands here already; where neither names one it is root.
    security.run_as_user = str(config.get("User") or "").partition(":")[0] or 0
    security.user_namespace = str(host.get("UsernsMode") or "") not in ("", "host")
    security.added_capabilities = capability_names(texts(host.get("CapAdd")))
    security.dropped_capabilities = _dropped(found, texts(host.get("CapDrop")), security.added_capabilities)
    options = [option.replace("=", ":") for option in texts(host.get("SecurityOpt"))]
    if any(option in ("no-new-privileges", "no-new-privileges:true") for option in options):
        security.escalation = False
    security.seccomp = next((o.partition(":")[2] for o in options if o.startswith("seccomp:")), "")
    by_path = {mount.path: mount for mount in _declared_mounts(container, found)}
    container.mounts = tuple(by_path.values())


def _dropped(found: Mapping[str, Any], dropped: tuple[str, ...], added: tuple[str, ...]) -> tuple[str, ...]:
    """Return the capabilities that were dropped; Podman keeps no `all`, but says what is left."""
    if "BoundingCaps" in found and set(capability_names(texts(found["BoundingCaps"]))) <= set(added):
        return ("ALL",)
    return capability_names(dropped)


def _declared_mounts(container: Container, found: Mapping[str, Any]) -> Iterator[VolumeMount]:
    """Yield the mounts that were asked for: tmpfs by flag, tmpfs by mount, volumes and binds."""
    host = _mapping(found, "HostConfig")
    podman = container.workload.source == "podman"
    for path, options in _mapping(host, "Tmpfs").items():
        words = str(options).split(",")
        mount = _tmpfs(path, next((word[5:] for word in words if word.startswith("size=")), ""), container.location)
        mount.read_only = "ro" in words
        mount.executable = "noexec" not in words if podman else "exec" in words  # the engines' defaults differ
        yield mount
    sizes = {str(m.get("Target")): _mapping(m, "TmpfsOptions").get("SizeBytes") for m in _items(host, "Mounts")}
    for item in _items(found, "Mounts"):
        path, kind = str(item.get("Destination") or ""), str(item.get("Type") or "")
        if not path:
            continue
        if kind == "tmpfs":
            mount = _tmpfs(path, str(sizes.get(path) or ""), container.location)
            mount.executable = podman
        else:
            place = _place(container.location, normal_path(path))
            mount = VolumeMount(normal_path(path), _volume(item, place), place)
            mount.executable = "noexec" not in texts(item.get("Options"))
        mount.read_only = item.get("RW") is False
        yield mount


def _tmpfs(path: str, size: str, location: Location) -> VolumeMount:
    path = normal_path(path)
    place = _place(location, path)
    volume = Volume("", "tmpfs", place)
    volume.memory = True
    volume.size = _size(size)
    return VolumeMount(path, volume, place)


def _place(location: Location, path: str) -> Location:
    return location.below(("Mounts", path))


def _size(text: str) -> int | None:
    """Return a size of tmpfs's options; None without one. A share of memory is a limit of unknown size."""
    try:
        return 0 if text.endswith("%") else parse_engine_size(text) or None
    except ValueError:
        return None


def _volume(item: Mapping[str, Any], location: Location) -> Volume:
    kind, name, source = (str(item.get(key) or "") for key in ("Type", "Name", "Source"))
    if kind == "volume" and (not name or _ANONYMOUS.fullmatch(name)):
        return Volume(name[:12], "anonymous", location)
    volume = Volume(name or source, kind, location)
    if kind == "bind":
        volume.host_path = source
    return volume


def _observe(container: Container, found: Mapping[str, Any]) -> None:
    """Look at the mount table of a running container, and put what it says in the place of what was declared."""
    written = found.get("SizeRw")
    observed = container.observed = Observed(written=written if isinstance(written, int) else None)
    state = _mapping(found, "State")
    pid = state.get("Pid")
    if state.get("Running") is not True or not isinstance(pid, int) or pid <= 0:
        observed.note = "it does not run: judged by its flag"
        return
    try:
        mounts = read_mounts(pid)
        root = process_root(mounts)
        if root is None or not _is_of(pid, container.id, mounts):
            observed.note = "its mount table can't be seen from here: judged by its flag"
            return
    except NotPermitted:
        observed.note = "its mount table may not be read: judged by its flag"
        return
    observed.read_only = root.read_only
    declared = {mount.path: mount for mount in container.mounts}
    container.mounts = tuple(
        _mounted(point, declared.get(str(point.path)), container.location)
        for point in sorted(visible_mounts(mounts), key=lambda point: str(point.path))
        if point is not root and (str(point.path) in declared or _holds_files(point))
    )


def _is_of(pid: int, identity: str, mounts: Iterable[MountPoint]) -> bool:
    """Tell whether process `pid` of this host is in the container: the engine's pid may be one of another machine."""
    if len(identity) < 32:
        return False
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            if identity in file.read(1 << 16):
                return True
    except OSError:
        return False
    return any(identity in str(mount.root) for mount in mounts)  # its hosts file, where it has no cgroup of its own


def _holds_files(point: MountPoint) -> bool:
    """Tell whether files of somebody may lie there: no interface of the kernel, no device, no masked path."""
    if point.filesystem in _INTERFACES or (point.filesystem == "devtmpfs" and str(point.root) != "/"):
        return False
    return not str(point.path).startswith(("/proc/", "/sys/"))


def _mounted(point: MountPoint, declared: VolumeMount | None, location: Location) -> VolumeMount:
    """Return what is mounted, as what it was asked for as."""
    path = str(point.path)
    place = _place(location, path)
    if declared is not None:
        mount = VolumeMount(path, declared.volume, place)
    else:
        memory = point.filesystem == "tmpfs"
        kind = "engine" if path in _OWN else "tmpfs" if memory else "mount"
        volume = Volume("" if memory else point.source, kind, place)
        volume.memory = memory
        volume.size = _size(point.option("size") or "")
        mount = VolumeMount(path, volume, place)
    mount.read_only = point.read_only
    mount.executable = point.executable
    return mount

"""Workloads that exist in an engine: what `docker container inspect` and `podman container inspect` say of them.

Of a running container the mount table is read as well, by its pid: it says what holds, whatever was asked for.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lithify.engines.mounts import MountPoint
from lithify.model.location import Location
from lithify.model.workload import Container, ObjectName, Observed, Volume, VolumeMount, Workload
from lithify.sources.base import Reading, normal_path, read_labels
from lithify.sources.manifest import capability_names
from lithify.sources.mounted import observe, place_of, tmpfs_size, volume_at

_ANONYMOUS = re.compile(r"[0-9a-f]{64}")


def read_container(found: Mapping[str, Any], engine: str, host: Sequence[MountPoint]) -> Reading:
    """Return the one container that `found`, an item of what inspect writes, describes.

    Its input is called `docker:NAME`; `host` are the mounts of this host. Where its mount table can't be read (it does
    not run, it runs on another host, a right is missing) its flag alone is judged, and the reason says so.
    """
    name = str(found.get("Name") or found.get("Id") or "").removeprefix("/")
    reading = Reading(f"{engine}:{name}")
    reading.documents = 1
    here = Location(reading.path)
    labels = mapping(mapping(found, "Config"), "Labels")
    project = str(labels.get("com.docker.compose.project") or "")
    subject = ObjectName("Container", name, project, engine)
    if "io.kubernetes.docker.type" in labels and name.startswith("k8s_"):  # a kubelet made it, by cri-dockerd
        pod, namespace = (str(labels.get(f"io.kubernetes.pod.{key}") or "") for key in ("name", "namespace"))
        subject = ObjectName("Pod", pod, namespace, "v1")
    workload = Workload(subject, engine, here)
    if found.get("Platform") == "windows" or mapping(found, "HostConfig").get("Isolation") in ("hyperv", "process"):
        workload.not_applicable = "Windows containers have no read-only root filesystem"
    container = Container(workload, "containers", 0, name, here)
    _fill(container, found)
    container.role = "infra" if found.get("IsInfra") is True else ""
    container.exemptions = tuple(read_labels(labels.items()))
    container.keeper = IN_POD if subject.kind == "Pod" else _keeper(labels)
    _observe(container, found, host)
    workload.containers = (container,)
    workload.volumes = memory_volumes(container.mounts)
    reading.workloads.append(workload)
    return reading


IN_POD = "set readOnlyRootFilesystem for it in what its pod is made from"


_KEEPERS = {
    "service": "com.docker.swarm.service.name",
    "compose": "com.docker.compose.service",
    "files": "com.docker.compose.project.config_files",
    "unit": "PODMAN_SYSTEMD_UNIT",
}


def _keeper(labels: Mapping[str, Any]) -> str:
    """Say where whoever made a container reads its flag; nothing where nobody has left a label."""
    told = {key: str(labels.get(label) or "") for key, label in _KEEPERS.items()}
    if told["service"]:
        return f"set it with `docker service update --read-only {told['service']}`"
    if told["compose"]:
        return f"set read_only for service {told['compose']} in {told['files'] or 'its Compose file'}"
    return f"set ReadOnly=true in unit {told['unit']}" if told["unit"] else ""


def memory_volumes(mounts: Iterable[VolumeMount]) -> tuple[Volume, ...]:
    """Return the tmpfs among the volumes of `mounts`."""
    return tuple(mount.volume for mount in mounts if mount.volume.kind == "tmpfs")


def texts(value: object) -> tuple[str, ...]:
    """Return a list of text as engines write it: null where it is empty, Podman's entrypoint as one word."""
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def mapping(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return what stands at a key, nothing where that is no mapping."""
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def items(found: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return the mappings of the list that stands at a key."""
    value = found.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _fill(container: Container, found: Mapping[str, Any]) -> None:
    """Set what was declared when the container was made."""
    config, host = mapping(found, "Config"), mapping(found, "HostConfig")
    container.id = str(found.get("Id") or "")
    container.image = str(config.get("Image") or found.get("ImageName") or "")
    container.command = texts(config.get("Entrypoint"))
    container.arguments = texts(config.get("Cmd"))
    memory = host.get("Memory")
    container.memory_limit = memory if isinstance(memory, int) and memory > 0 else None
    security = container.security
    security.read_only_root = host.get("ReadonlyRootfs") is True
    security.privileged = host.get("Privileged") is True
    security.host_processes = host.get("PidMode") == "host"
    # The image's own user stands here already; where neither names one it is root.
    security.run_as_user = str(config.get("User") or "").partition(":")[0] or 0
    security.user_namespace = str(host.get("UsernsMode") or "") not in ("", "host")
    security.added_capabilities = capability_names(texts(host.get("CapAdd")))
    security.dropped_capabilities = _dropped(found, texts(host.get("CapDrop")), security.added_capabilities)
    options = [option.replace("=", ":") for option in texts(host.get("SecurityOpt"))]
    if any(option in ("no-new-privileges", "no-new-privileges:true") for option in options):
        security.escalation = False
    security.seccomp = next((o.partition(":")[2] for o in options if o.startswith("seccomp:")), "")
    by_path = {mount.path: mount for mount in (*_declared_mounts(container, found), *_disks(container, found))}
    container.mounts = tuple(by_path.values())


def _dropped(found: Mapping[str, Any], dropped: tuple[str, ...], added: tuple[str, ...]) -> tuple[str, ...]:
    """Return the capabilities that were dropped; Podman keeps no `all`, but says what is left."""
    if "BoundingCaps" in found and set(capability_names(texts(found["BoundingCaps"]))) <= set(added):
        return ("ALL",)
    return capability_names(dropped)


def _declared_mounts(container: Container, found: Mapping[str, Any]) -> Iterator[VolumeMount]:
    """Yield the mounts that were asked for: tmpfs by flag, tmpfs by mount, volumes and binds."""
    host = mapping(found, "HostConfig")
    podman = container.workload.source == "podman"
    for path, options in mapping(host, "Tmpfs").items():
        words = str(options).split(",")
        mount = _tmpfs(path, next((word[5:] for word in words if word.startswith("size=")), ""), container.location)
        mount.read_only = "ro" in words
        mount.executable = "noexec" not in words if podman else "exec" in words  # the engines' defaults differ
        mount.filled = podman and "notmpcopyup" not in words
        yield mount
    sizes = {str(m.get("Target")): mapping(m, "TmpfsOptions").get("SizeBytes") for m in items(host, "Mounts")}
    for item in items(found, "Mounts"):
        path, kind = str(item.get("Destination") or ""), str(item.get("Type") or "")
        if not path:
            continue
        if kind == "tmpfs":
            mount = _tmpfs(path, str(sizes.get(path) or ""), container.location)
            mount.executable = mount.filled = podman
        else:
            place = place_of(container.location, normal_path(path))
            mount = VolumeMount(normal_path(path), _volume(item, place), place)
            mount.executable = "noexec" not in texts(item.get("Options"))
        mount.read_only = item.get("RW") is False
        yield mount


def _disks(container: Container, found: Mapping[str, Any]) -> Iterator[VolumeMount]:
    """Yield the disks of this host that were given to write to; other devices hold no files.

    Podman does not say which of them can be written, and may name a character device of the same number.
    """
    told = mapping(found, "HostConfig") if container.workload.source == "docker" else {}
    for item in items(told, "Devices"):
        path, inside = str(item.get("PathOnHost") or ""), str(item.get("PathInContainer") or "")
        try:
            is_disk = stat.S_ISBLK(os.stat(path).st_mode)
        except (OSError, ValueError):  # of another host
            continue
        if is_disk and "w" in str(item.get("CgroupPermissions") or ""):
            place = container.location.below(("HostConfig", "Devices", path))
            volume = Volume(path, "device", place)
            volume.host_path = path
            yield VolumeMount(normal_path(inside or path), volume, place)


def _tmpfs(path: str, size: str, location: Location) -> VolumeMount:
    path = normal_path(path)
    place = place_of(location, path)
    volume = Volume("", "tmpfs", place)
    volume.memory = True
    volume.size = tmpfs_size(size)
    return VolumeMount(path, volume, place)


def _volume(item: Mapping[str, Any], location: Location) -> Volume:
    kind, name, source = (str(item.get(key) or "") for key in ("Type", "Name", "Source"))
    if kind == "volume" and (not name or _ANONYMOUS.fullmatch(name)):
        return Volume(name[:12], "anonymous", location)
    volume = Volume(name or source, kind, location)
    if kind == "bind":
        # Podman says so of its overlay volumes and images too (`:O`, `type=image,rw`), whose writes go elsewhere.
        if volume_at(source, location).kind == "overlay":
            return Volume(source, "overlay", location)
        volume.host_path = source
    return volume


def _observe(container: Container, found: Mapping[str, Any], host: Sequence[MountPoint]) -> None:
    # Of a root filesystem that is a directory of the host (`--rootfs`), Podman counts all that is in it.
    written = found.get("SizeRw") if not found.get("Rootfs") else None
    container.observed = Observed(written=written if isinstance(written, int) else None)
    state = mapping(found, "State")
    pid = state.get("Pid")
    observe(container, pid if state.get("Running") is True and isinstance(pid, int) else 0, host)

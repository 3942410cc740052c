"""Workloads that a swarm keeps running: what `docker service inspect` says of its services."""

from collections.abc import Iterator, Mapping
from typing import Any

from lithify.model.location import Location
from lithify.model.workload import Container, ObjectName, Volume, VolumeMount, Workload
from lithify.sources.base import Reading, normal_path, read_labels
from lithify.sources.container import memory_volumes, texts
from lithify.sources.manifest import capability_names

_ROUTE = ("Spec", "TaskTemplate")


def read_service(found: Mapping[str, Any]) -> Reading:
    """Return the one service that `found`, an item of what inspect writes, describes; its input is `docker:NAME`."""
    spec = found.get("Spec") or {}
    name = str(spec.get("Name") or found.get("ID") or "")
    labels = spec.get("Labels") or {}
    reading = Reading(f"docker:service/{name}")
    reading.documents = 1
    here = Location(reading.path).below(_ROUTE)
    namespace = str(labels.get("com.docker.stack.namespace") or "")
    workload = Workload(ObjectName("SwarmService", name, namespace, "docker"), "swarm", here)
    template = spec.get("TaskTemplate") or {}
    declared = template.get("ContainerSpec") or {}
    container = Container(workload, "services", 0, name, here)
    container.id = str(found.get("ID") or "")
    container.image = str(declared.get("Image") or "").partition("@")[0]
    container.command, container.arguments = texts(declared.get("Command")), texts(declared.get("Args"))
    security = container.security
    security.read_only_root = declared.get("ReadOnly") is True
    # The user of the image is not known here: only its name is.
    security.run_as_user = str(declared.get("User") or "").partition(":")[0] or None
    security.added_capabilities = capability_names(texts(declared.get("CapabilityAdd")))
    security.dropped_capabilities = capability_names(texts(declared.get("CapabilityDrop")))
    limits = (template.get("Resources") or {}).get("Limits") or {}
    container.memory_limit = limits.get("MemoryBytes") or None
    container.mounts = tuple(_mounts(declared, here))
    container.exemptions = tuple(read_labels(labels.items()))
    if _on_windows(template):
        workload.not_applicable = "Windows containers have no read-only root filesystem"
    workload.containers = (container,)
    workload.volumes = memory_volumes(container.mounts)
    reading.workloads.append(workload)
    return reading


def _mounts(declared: Mapping[str, Any], location: Location) -> Iterator[VolumeMount]:
    for item in declared.get("Mounts") or ():
        kind, source = str(item.get("Type") or ""), str(item.get("Source") or "")
        path = normal_path(str(item.get("Target") or "/"))
        place = location.below(("ContainerSpec", "Mounts", path))
        volume = Volume(source, "anonymous" if kind == "volume" and not source else kind, place)
        if kind == "tmpfs":
            volume.memory = True
            volume.size = (item.get("TmpfsOptions") or {}).get("SizeBytes") or None
        elif kind == "bind":
            volume.host_path = source
        mount = VolumeMount(path, volume, place)
        mount.read_only = item.get("ReadOnly") is True
        mount.executable = kind != "tmpfs"  # the engine's default for tmpfs is noexec
        yield mount


def _on_windows(template: Mapping[str, Any]) -> bool:
    """Tell whether only Windows nodes can run it; Swarm notes the platforms that its image has."""
    platforms = (template.get("Placement") or {}).get("Platforms") or ()
    systems = {str(platform.get("OS") or "").lower() for platform in platforms}
    return systems == {"windows"}

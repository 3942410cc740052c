"""The containers of this node, judged by what their runtime was asked for and by their mount tables.

No API server is asked: what the node itself does is what holds, also when the cluster is out of reach or lies.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lithify.engines.mounts import MountPoint, host_mounts
from lithify.engines.node.containers import NodeContainer, read_node
from lithify.engines.node.cri import find_crictl, read_cri
from lithify.errors import EngineUnreachable, NothingToExamine
from lithify.model.finding import Skipped
from lithify.model.location import Location
from lithify.model.path import printable
from lithify.model.workload import Container, ObjectName, Observed, Volume, VolumeMount, Workload
from lithify.sources.base import Reading, normal_path
from lithify.sources.container import IN_POD, items, mapping, memory_volumes, texts
from lithify.sources.manifest import capability_names
from lithify.sources.mounted import observe, place_of, tmpfs_size, volume_at

_DEFAULT_CAPABILITIES = frozenset(
    (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
        "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip
"""What containerd and Docker leave a container that asks for nothing; CRI-O and Podman leave fewer."""
_OWN = frozenset(("/dev", "/dev/shm", "/run/.containerenv", "/run/secrets"))  # noqa: S108


def read_here(names: Sequence[str] = ()) -> Iterator[Reading]:
    """Yield a reading of each container of this node, or of those named: a pod, `NAMESPACE/POD`, a container, or an id.

    Running ones by their shims and monitors, whatever engine they are of; where crictl is there, also those that do
    not run. NothingToExamine where a name is nobody's or nothing runs here.
    """
    found = {container.id: container for container in read_node()}
    crictls = find_crictl()
    unseen = [_ask_cri(crictl, found) for crictl in crictls]
    unseen += [] if crictls else ["crictl is not installed: containers that do not run are not seen"]
    unseen += [
        f"containers of {engine} that do not run are not seen: see them with --engine {engine}"
        for engine in ("docker", "podman")
        if any(one.runtime == engine for one in found.values())
    ]
    chosen = [one for one in found.values() if not names or any(one.is_called(name) for name in names)]
    for name in names:
        if not any(one.is_called(name) for one in found.values()):
            raise NothingToExamine(f"this node has no container {printable(name)!r}", hint="see `crictl ps --all`")
    if not chosen:
        raise NothingToExamine("no container runs on this node", hint="is its runtime up?")
    host = host_mounts()
    yield from (read_node_container(one, host) for one in sorted(chosen, key=_order))
    if len(chosen) < len(found):
        unseen.append(f"{len(found) - len(chosen)} more containers were not named")
    reading = Reading("node")
    reading.skipped = [Skipped(Location("node", route=("containers",)), reason) for reason in unseen if reason]
    if reading.skipped:
        yield reading


def _ask_cri(crictl: Sequence[str], found: dict[str, NodeContainer]) -> str:
    """Add what the CRI knows to what was seen; return why it knows less than it might."""
    try:
        for one in read_cri(crictl):
            seen = found.get(one.id)
            found[one.id] = one if seen is None else _joined(seen, one)
    except EngineUnreachable as error:
        return f"containers that do not run are not seen: {error}"
    return ""


def _joined(seen: NodeContainer, said: NodeContainer) -> NodeContainer:
    """Return what the shim's bundle shows, with the words that only the CRI has."""
    return NodeContainer(
        id=seen.id,
        runtime=seen.runtime,
        pid=seen.pid or said.pid,
        state=said.state,
        spec=seen.spec or said.spec,
        name=seen.name or said.name,
        pod=seen.pod or said.pod,
        namespace=seen.namespace or said.namespace,
        image=seen.image or said.image,
        privileged=said.privileged,
    )


def _order(one: NodeContainer) -> tuple[str, ...]:
    return one.namespace, one.pod, one.name, one.id


def read_node_container(one: NodeContainer, host: Sequence[MountPoint]) -> Reading:
    """Return the reading of one container of this node, called `node:NAMESPACE/POD/CONTAINER` or `node:ID`."""
    reading = Reading(f"node:{one.title}")
    reading.documents = 1
    here = Location(reading.path)
    subject = ObjectName("Pod", one.pod, one.namespace, "v1") if one.pod else ObjectName("Container", one.title)
    workload = Workload(subject, "oci", here)
    container = Container(workload, "containers", 0, one.name or one.id[:12], here)
    container.id = one.id
    container.image = one.image
    container.keeper = IN_POD if one.pod else ""
    container.observed = Observed()
    if one.spec:
        _fill(container, one)
    else:
        container.observed.note = "its configuration can't be read: judged by its mount table alone"
    observe(container, one.pid, host)
    if not one.spec:
        container.security.read_only_root = container.observed.read_only
    workload.containers = (container,)
    workload.volumes = memory_volumes(container.mounts)
    reading.workloads.append(workload)
    return reading


def _fill(container: Container, one: NodeContainer) -> None:
    """Set what the runtime was asked for."""
    spec = one.spec
    process, linux = mapping(spec, "process"), mapping(spec, "linux")
    container.command = texts(process.get("args"))
    limit = mapping(mapping(linux, "resources"), "memory").get("limit")
    container.memory_limit = limit if isinstance(limit, int) and limit > 0 else None
    security = container.security
    security.read_only_root = mapping(spec, "root").get("readonly") is True
    bounding = set(capability_names(texts(mapping(process, "capabilities").get("bounding"))))
    security.added_capabilities = tuple(sorted(bounding - _DEFAULT_CAPABILITIES))
    if not bounding & _DEFAULT_CAPABILITIES or bounding < {"NET_BIND_SERVICE"}:
        security.dropped_capabilities = ("ALL",)
    # Nothing but `privileged` gives every capability and masks no path of /proc.
    everything = len(bounding) > 35 and not linux.get("maskedPaths")
    security.privileged = everything if one.privileged is None else one.privileged
    security.escalation = process.get("noNewPrivileges") is not True
    uid = mapping(process, "user").get("uid")
    security.run_as_user = uid if isinstance(uid, int) else 0
    namespaces = {str(item.get("type")) for item in items(linux, "namespaces")}
    security.user_namespace = "user" in namespaces
    security.host_processes = "pid" not in namespaces
    security.seccomp = "Localhost" if linux.get("seccomp") else "Unconfined"
    container.mounts = tuple(_declared(container, spec))


def _declared(container: Container, spec: Mapping[str, Any]) -> Iterator[VolumeMount]:
    for item in items(spec, "mounts"):
        if item.get("type") not in ("bind", "tmpfs"):
            continue
        path, source = normal_path(str(item.get("destination") or "/")), str(item.get("source") or "")
        if "/volume-subpaths/" in source:  # a kubelet's way to a part of a volume: the mount table says of which
            continue
        options = texts(item.get("options"))
        if item["type"] == "tmpfs" and path in _OWN:
            continue
        volume = _volume(container, path, source, memory=item["type"] == "tmpfs")
        volume.size = tmpfs_size(next((word[5:] for word in options if word.startswith("size=")), ""))
        mount = VolumeMount(path, volume, place_of(container.location, path))
        mount.read_only = "ro" in options
        mount.executable = "noexec" not in options
        yield mount


def _volume(container: Container, path: str, source: str, *, memory: bool) -> Volume:
    place = place_of(container.location, path)
    if memory:
        volume = Volume("", "tmpfs", place)
        volume.memory = True
        return volume
    return volume_at(source, place)

"""Scratch storage has no limit.

An emptyDir without `sizeLimit` fills the node's disk, or with medium Memory the pod's memory, until pods are evicted
or killed, others' among them. A tmpfs without `size=` may take half of the host's memory.

Remediation: give each a limit. `lithify plan` proposes what was seen in use, with room.

Before::

    volumes: [{name: tmp, emptyDir: {}}]

After::

    volumes: [{name: tmp, emptyDir: {sizeLimit: 64Mi}}]

A limit of `ephemeral-storage` on each container of the pod bounds its emptyDirs on disk as well, and none is reported
then. In Compose `tmpfs: ["/tmp:size=64m"]`. Going over an emptyDir's limit evicts the pod; a tmpfs answers ENOSPC.

References: Kubernetes, "Local ephemeral storage"; tmpfs(5).
"""

from collections.abc import Iterator, Sequence

from lithify.model.finding import Finding, Fix, Rule, Severity
from lithify.model.workload import Container, Volume, VolumeMount, Workload

RULE = Rule(
    "unbounded-scratch",
    Severity.LOW,
    "Scratch storage without a limit",
    {"Kyverno": ("require-emptydir-requests-and-limits",)},
)

Users = Sequence[tuple[Container, VolumeMount]]
"""Who mounts a volume, and how."""


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each emptyDir or tmpfs without a size; medium severity where it is memory without a limit."""
    bounded = _bounded(workload)
    mounted: dict[int, list[tuple[Container, VolumeMount]]] = {}
    for container in workload.containers:
        for mount in container.mounts:
            mounted.setdefault(id(mount.volume), []).append((container, mount))
    for volume in workload.volumes:
        users = mounted.get(id(volume), [])
        if volume.kind not in ("emptyDir", "tmpfs") or volume.size is not None or _read_only(users):
            continue
        if volume.memory or not bounded:
            severity = Severity.MEDIUM if volume.memory and not _limited(users) else Severity.LOW
            kind = "memory" if volume.memory else "disk"
            fix = None
            if workload.kubernetes:
                fix = Fix("set a sizeLimit", (*volume.location.route, "emptyDir", "sizeLimit"), "64Mi")
            yield RULE.finding(
                workload,
                f"{_name(volume, users)} can use {kind} without limit",
                location=volume.location,
                fix=fix,
                severity=severity,
            )


def _name(volume: Volume, users: Users) -> str:
    if volume.name:
        return f"volume {volume.name!r}"
    return next((f"{volume.kind} on {mount.path}" for _, mount in users), volume.kind)


def _read_only(users: Users) -> bool:
    """Tell whether it is mounted, and nobody may write there."""
    return bool(users) and not any(mount.writable or mount.dropped for _, mount in users)


def _bounded(workload: Workload) -> bool:
    """Tell whether the kubelet evicts the pod when its emptyDirs outgrow what its containers may have together."""
    lasting = [container for container in workload.containers if container.role in ("", "sidecar")]
    return bool(lasting) and all(container.ephemeral_storage_limit is not None for container in lasting)


def _limited(users: Users) -> bool:
    """Tell whether each container that writes there has a memory limit, which its pages count against."""
    limits = [container.memory_limit for container, mount in users if mount.writable]
    return bool(limits) and None not in limits

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

from collections.abc import Iterator

from lithify.model.finding import Finding, Fix, Rule, Severity
from lithify.model.workload import Volume, Workload

RULE = Rule(
    "unbounded-scratch",
    Severity.LOW,
    "Scratch storage without a limit",
    {"Kyverno": ("require-emptydir-requests-and-limits",)},
)


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each emptyDir or tmpfs without a size; medium severity where it is memory without a limit."""
    bounded = _bounded(workload)
    for volume in workload.volumes:
        if volume.kind not in ("emptyDir", "tmpfs") or volume.size is not None or _read_only(workload, volume):
            continue
        if volume.memory or not bounded:
            severity = Severity.MEDIUM if volume.memory and not _limited(workload, volume) else Severity.LOW
            kind = "memory" if volume.memory else "disk"
            fix = None
            if workload.kubernetes:
                fix = Fix("set a sizeLimit", (*volume.location.route, "emptyDir", "sizeLimit"), "64Mi")
            yield RULE.finding(
                workload,
                f"{_name(workload, volume)} can use {kind} without limit",
                location=volume.location,
                fix=fix,
                severity=severity,
            )


def _name(workload: Workload, volume: Volume) -> str:
    if volume.name:
        return f"volume {volume.name!r}"
    mounts = (mount for container in workload.containers for mount in container.mounts)
    return next((f"{volume.kind} on {mount.path}" for mount in mounts if mount.volume is volume), volume.kind)


def _read_only(workload: Workload, volume: Volume) -> bool:
    """Tell whether it is mounted, and nobody may write there."""
    mounts = [m for container in workload.containers for m in container.mounts if m.volume is volume]
    return bool(mounts) and not any(mount.writable or mount.dropped for mount in mounts)


def _bounded(workload: Workload) -> bool:
    """Tell whether the kubelet evicts the pod when its emptyDirs outgrow what its containers may have together."""
    lasting = [container for container in workload.containers if container.role in ("", "sidecar")]
    return bool(lasting) and all(container.ephemeral_storage_limit is not None for container in lasting)


def _limited(workload: Workload, volume: Volume) -> bool:
    """Tell whether each container that writes there has a memory limit, which its pages count against."""
    users = [c for c in workload.containers if any(m.volume is volume and m.writable for m in c.mounts)]
    return bool(users) and all(container.memory_limit is not None for container in users)

"""A container has no limit for what it writes to the node's disk.

Its writable layer, its logs and its emptyDirs share the node's disk with everybody else's. Without a limit the kubelet
notices only when the whole node runs full, and then evicts by its own order.

Remediation: set `resources.limits.ephemeral-storage`. With a read-only root filesystem it can be small: logs and
emptyDirs are all that is left.

Before::

    resources: {limits: {memory: 128Mi}}

After::

    resources: {limits: {memory: 128Mi, ephemeral-storage: 256Mi}}

References: Kubernetes, "Local ephemeral storage".
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Fix, Rule, Severity
from lithify.model.workload import Workload
from lithify.rules.base import field

RULE = Rule(
    "no-ephemeral-storage-limit",
    Severity.LOW,
    "No limit for ephemeral storage",
    {
        "kube-linter": ("unset-ephemeral-storage-requirements",),
        "kube-score": ("container-ephemeral-storage-request-and-limit",),
        "Gatekeeper": ("K8sContainerEphemeralStorageLimit",),
    },
)


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each long-running container of a pod without the limit."""
    if not workload.kubernetes or workload.not_applicable:
        return
    for container in workload.containers:
        if container.ephemeral_storage_limit is None and container.role in ("", "sidecar"):
            route = field(container, "storage")
            fix = Fix("set a limit", route, "256Mi")
            message = f"{container.label} has no limit for what it writes to the node's disk"
            yield RULE.finding(container, message, *route, fix=fix)

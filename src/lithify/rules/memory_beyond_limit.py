"""Memory-backed places may grow beyond the container's memory limit.

Pages of a tmpfs, and of an emptyDir with medium Memory, count against the memory of the container that wrote them. If
the places together may hold as much as the limit, filling them kills the program, and after a restart in the same pod
the files are still there: it is killed again. The kubelet lets an emptyDir without `sizeLimit` grow to the memory limit
of its pod: it counts as that.

Remediation: smaller places, a higher limit, or disk.

Before::

    resources: {limits: {memory: 128Mi}}
    volumes: [{name: tmp, emptyDir: {medium: Memory, sizeLimit: 256Mi}}]

After::

    resources: {limits: {memory: 128Mi}}
    volumes: [{name: tmp, emptyDir: {sizeLimit: 256Mi}}]

References: Kubernetes, "Volumes: emptyDir"; kubernetes/kubernetes#128339.
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Rule, Severity
from lithify.model.quantity import render_human
from lithify.model.workload import Workload
from lithify.rules.base import field, scratch_mounts

RULE = Rule("memory-beyond-limit", Severity.MEDIUM, "Memory-backed places exceed the memory limit")


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each container whose memory-backed places may fill its limit."""
    for container in workload.containers:
        limit = container.memory_limit
        if limit is None or not container.mounts:
            continue
        volumes = {id(m.volume): m.volume for m in scratch_mounts(container) if m.volume.memory}
        unsaid = limit if workload.kubernetes else 0
        together = sum(unsaid if volume.size is None else volume.size for volume in volumes.values())
        if together >= limit:
            message = (
                f"{container.label}: its memory-backed places may hold {render_human(together)}, "
                f"its memory limit is {render_human(limit)}"
            )
            yield RULE.finding(container, message, *field(container, "memory"))

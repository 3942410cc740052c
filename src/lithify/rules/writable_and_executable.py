"""A place is writable, and programs can be run from it.

Whoever can write a file there can run it: the read-only root filesystem stops them from changing the program, not from
bringing their own. `noexec` does (for binaries; an interpreter still reads its scripts).

Remediation: mount it `noexec`. Docker's `tmpfs:` is noexec unless `exec` is written; Podman's is not unless `noexec`
is. On Kubernetes it takes `bindMountOptions` (1.37, alpha); before that the finding can't be helped, and is only
information.

Before::

    tmpfs: ["/tmp:exec"]

After::

    tmpfs: ["/tmp:size=64m,noexec,nosuid,nodev"]

In a running container the places that the engine itself mounts are looked at as well, and told in one finding, as
information: Docker's `/dev` is a tmpfs without noexec, and nothing on its command line changes that.

References: mount(8); Kubernetes KEP-5855; compose-lint CL-0022.
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Rule, Severity
from lithify.model.workload import Workload
from lithify.rules.base import scratch_mounts

RULE = Rule(
    "writable-and-executable",
    Severity.LOW,
    "A writable place lets programs run",
    {"compose-lint": ("CL-0022",)},
)


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each scratch mount that is not noexec, and one for what the engine mounts by itself."""
    severity = Severity.INFO if workload.kubernetes else Severity.LOW
    for container in workload.containers:
        for mount in scratch_mounts(container):
            if mount.executable:
                message = f"{container.label} can write programs to {mount.path} and run them"
                yield RULE.finding(container, message, location=mount.location, severity=severity)
        own = [m.path for m in container.mounts if m.volume.kind == "engine" and m.writable and m.executable]
        if own:
            message = f"{container.label} can write programs to {', '.join(own)}, mounted by the engine, and run them"
            yield RULE.finding(container, message, severity=Severity.INFO)

"""A writable volume lies over a system directory of the container.

The root filesystem may be read-only: programs, libraries or the whole configuration are writable all the same, because
a volume covers them. Over `/` it defeats the flag altogether.

Remediation: mount the volume at the deepest directory that needs it (`lithify plan` names it), or mount it read-only.

Before::

    volumeMounts: [{name: scratch, mountPath: /usr}]

After::

    volumeMounts: [{name: scratch, mountPath: /usr/share/app/cache}]

References: NSA/CISA Kubernetes Hardening Guide, "Immutable container file systems".
"""

from collections.abc import Iterator

from lithify.model.directories import CODE_DIRECTORIES, SYSTEM_DIRECTORIES
from lithify.model.finding import Finding, Rule, Severity
from lithify.model.workload import Workload

RULE = Rule("writable-system-path", Severity.HIGH, "A writable volume covers a system directory")

# A data volume on one of these is odd, and no danger to what the image runs.
_TOLERATED = frozenset(("/home", "/opt", "/srv", "/usr/src", "/var"))
_SYSTEM = frozenset(("/", *SYSTEM_DIRECTORIES)) - _TOLERATED
_CODE = tuple(path + "/" for path in CODE_DIRECTORIES)


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each writable mount on a system directory, or below one that holds programs."""
    for container in workload.containers:
        for mount in container.mounts:
            if mount.writable and (mount.path in _SYSTEM or mount.path.startswith(_CODE)):
                name = mount.volume.name or mount.volume.kind
                message = f"{container.label} can write to {mount.path}: volume {name!r} lies over it"
                yield RULE.finding(container, message, location=mount.location)

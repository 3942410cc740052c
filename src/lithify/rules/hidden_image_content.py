"""A mount may hide what the image has in that place.

An emptyDir and a tmpfs start empty. Over a directory of the application or of the system they hide the files that the
image ships there: configuration, plugins, the program itself. The container fails at start, or runs without them.

Volumes of Docker and Podman are filled with what the image has there, and so is a tmpfs of Podman unless it says
`notmpcopyup`: neither is reported.

Remediation: mount a directory below that is empty in the image, or fill the volume first, with an init container of
the same image. `lithify plan` looks into the image and does either.

Before::

    volumeMounts: [{name: conf, mountPath: /etc/nginx}]

After::

    initContainers:
    - name: seed
      image: nginx
      command: [cp, -a, /etc/nginx/., /seed]
      volumeMounts: [{name: conf, mountPath: /seed}]

References: Kubernetes, "Volumes: emptyDir"; opencontainers/runc#845.
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Rule, Severity
from lithify.model.workload import Workload
from lithify.rules.base import scratch_mounts

RULE = Rule("hidden-image-content", Severity.INFO, "A mount may hide files of the image")

_FULL = ("/app", "/bin/", "/etc/", "/lib/", "/opt/", "/sbin/", "/srv/", "/usr/", "/var/www")
_EMPTY = frozenset(
    ("cache", "caches", "data", "lock", "log", "logs", "run", "sessions", "spool", "temp", "tmp", "uploads", "work")
)


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each empty mount over a place that images fill, unless an init container fills it."""
    filled = {
        mount.volume.name
        for container in workload.containers
        if container.role == "init"
        for mount in container.mounts
        if mount.writable
    }
    for container in workload.containers:
        for mount in scratch_mounts(container):
            if container.role == "init" or (mount.volume.name and mount.volume.name in filled):
                continue
            if mount.filled:
                continue
            if mount.path.startswith(_FULL) and mount.path.rpartition("/")[2].strip(".").lower() not in _EMPTY:
                message = f"{container.label}: an empty {mount.volume.kind} hides what the image has in {mount.path}"
                yield RULE.finding(container, message, location=mount.location)

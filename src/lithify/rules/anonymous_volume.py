"""A volume has no name, so nobody finds what is in it again.

`volumes: [/data]` in a Compose file, and every VOLUME of an image that nothing is mounted over, become an anonymous
volume: writable under a read-only root filesystem, left behind with `docker rm`, lost with `docker rm -v`, new at each
`docker compose run`.

Remediation: name it if the data matters, make it a tmpfs if not.

Before::

    volumes: [/data]

After::

    volumes: ["data:/data"]

References: Compose specification, "volumes"; Docker, "Volumes".
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Rule, Severity
from lithify.model.workload import Workload

RULE = Rule("anonymous-volume", Severity.LOW, "A volume without a name")


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each anonymous volume that is declared."""
    for container in workload.containers:
        for mount in container.mounts:
            if mount.volume.kind == "anonymous":
                message = f"{container.label} keeps {mount.path} on a volume without a name"
                yield RULE.finding(container, message, location=mount.location)

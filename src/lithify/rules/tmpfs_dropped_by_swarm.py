"""`tmpfs:` in a stack file has no effect.

`docker stack deploy` reads the service key `tmpfs:`, converts nothing of it, and gives no warning. The service starts
without the mount: with a read-only root filesystem it fails, without one it writes into its layer.

Remediation: use the long form under `volumes:`, of which a stack keeps the size (the mode is lost; it is 1777).

Before::

    tmpfs: ["/tmp:size=64m"]

After::

    volumes:
    - {type: tmpfs, target: /tmp, tmpfs: {size: 67108864}}

References: docker/cli, cli/compose/convert/volume.go; moby/swarmkit#3226.
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Fix, Rule, Severity
from lithify.model.location import Route
from lithify.model.workload import Container, VolumeMount, Workload

RULE = Rule("tmpfs-dropped-by-swarm", Severity.HIGH, "Swarm drops tmpfs without a word")


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each place that a stack file names under `tmpfs:`."""
    for container in workload.containers:
        for mount in container.mounts:
            if mount.dropped:
                message = f"{container.label}: `docker stack deploy` drops the tmpfs on {mount.path} without a word"
                yield RULE.finding(container, message, location=mount.location, fix=_fix(container, mount))


def key_of(route: Route) -> Route:
    """Return the keys to the `tmpfs:` of a service that a place in a stack file is in."""
    return route[:3]  # services, its name, tmpfs


def _fix(container: Container, mount: VolumeMount) -> Fix:
    """Return the same places among the volumes, in long syntax: all of this `tmpfs:`, which then goes."""
    key = key_of(mount.location.route)
    places = [one for one in container.mounts if one.dropped and key_of(one.location.route) == key]
    return Fix("mount it among the volumes, in long syntax", (*key[:-1], "volumes"), [_long(one) for one in places])


def _long(mount: VolumeMount) -> dict[str, object]:
    said: dict[str, object] = {"type": "tmpfs", "target": mount.path}
    return said if mount.volume.size is None else {**said, "tmpfs": {"size": mount.volume.size}}

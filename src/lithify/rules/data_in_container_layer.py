"""A container keeps data in its own layer, which goes when the container does.

What a program writes where nothing is mounted lies in the container's writable layer. `docker rm`, an update, a
reschedule or `compose up` after a change of the image makes a new container, and the data is gone without a word. No
quota counts it, and no backup of volumes has it.

Remediation: mount a volume where the data matters and a tmpfs where it does not (`lithify learn` names the paths, and
`lithify plan` the mounts), and make the root filesystem read-only, so that the next such place is noticed at once.

Before::

    docker run --name db example/db

After::

    docker run --name db --read-only -v data:/var/lib/db --tmpfs /run:size=4m example/db

Asked of containers that exist, running or stopped, by what their engine says of the layer's size; a few bytes that
engines leave there themselves do not count.

References: Docker, "Storage drivers: container size on disk"; docker container inspect, `--size`.
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Rule, Severity
from lithify.model.quantity import render_human
from lithify.model.workload import Workload

RULE = Rule("data-in-container-layer", Severity.LOW, "Data lies in a layer that goes with the container")

_FLOOR = 4096
"""Bytes that are nobody's data: Podman's link /etc/mtab, an entry that an engine adds to /etc/passwd."""


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each container whose writable layer holds more than an engine leaves there."""
    for container in workload.containers:
        written = container.observed.written if container.observed is not None else None
        if written is not None and written > _FLOOR:
            message = f"{container.label} keeps {render_human(written)} in a layer that goes with it"
            yield RULE.finding(container, message)

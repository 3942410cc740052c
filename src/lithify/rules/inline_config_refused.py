"""A config or secret with inline content needs a writable root filesystem.

Compose writes configs with `content:` or `environment:`, and secrets with `environment:`, into the container after it
is created, by the engine's copy call; the engine refuses that for a read-only root filesystem, and the service does not
start. Into a volume or a directory of the host it does copy, into a tmpfs it does not.

Remediation: keep the content in a file (`file: ./app.conf`), which is bind-mounted.

Before::

    configs: {app: {content: "port=80"}}

After::

    configs: {app: {file: ./app.conf}}

References: docker/compose#12031.
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Rule, Severity
from lithify.model.workload import Workload

RULE = Rule("inline-config-refused", Severity.MEDIUM, "Inline configs and a read-only root exclude each other")


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each inline config or secret of a Compose service whose root is read-only."""
    if workload.source != "compose":
        return
    for container in workload.containers:
        if container.security.read_only_root:
            for name, location in container.inline_files:
                message = f"{container.label} can't start: Compose can't copy {name} into a read-only root filesystem"
                yield RULE.finding(container, message, location=location)

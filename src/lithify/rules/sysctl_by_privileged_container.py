"""A privileged container writes to /proc/sys.

An init container that runs `sysctl -w` has to be privileged, which voids its read-only root filesystem and everything
else that confines it, for one number in the kernel.

Remediation: let the kubelet set it: `securityContext.sysctls` of the pod (safe ones always, others where the node
allows them); in Compose `sysctls:`. What is not namespaced (`vm.max_map_count`, `fs.inotify.max_user_watches`) changes
the whole node, and belongs in the node's own configuration.

Before::

    initContainers:
    - {name: tune, image: busybox, command: [sysctl, -w, net.core.somaxconn=4096], securityContext: {privileged: true}}

After::

    securityContext:
      sysctls: [{name: net.core.somaxconn, value: "4096"}]

References: Kubernetes, "Using sysctls in a Kubernetes Cluster".
"""

import re
from collections.abc import Iterator

from lithify.model.finding import Finding, Rule, Severity
from lithify.model.workload import Workload
from lithify.rules.base import field

RULE = Rule("sysctl-by-privileged-container", Severity.LOW, "A privileged container only to set a sysctl")


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each privileged container whose command sets a sysctl."""
    for container in workload.containers:
        command = " ".join(container.command + container.arguments)
        if container.security.privileged and _sets_sysctl(command):
            of_node = [name for name in re.findall(_NAME, command) if not re.match(_NAMESPACED, name)]
            message = f"{container.label} is privileged to set a sysctl, which the pod or service can ask for itself"
            if of_node:
                name = of_node[0].replace("/", ".")
                message = f"{container.label} is privileged to set {name} for the whole node, whose business that is"
            yield RULE.finding(container, message, *field(container, "command"))


_NAME = r"\b((?:abi|debug|dev|fs|kernel|net|user|vm)[./][a-z]\w*(?:[./][\w-]+)*)(?=\s*[=\s\"']|$)"
_NAMESPACED = r"net[./]|kernel[./](?:shm|msg|sem)|fs[./]mqueue[./]"
"""Sysctls that a container has of its own (Kubernetes, "Using sysctls in a Kubernetes Cluster")."""


def _sets_sysctl(command: str) -> bool:
    writes_file = "/proc/sys/" in command and (">" in command or "tee " in command)
    return writes_file or ("sysctl" in command and ("-w" in command or "=" in command))

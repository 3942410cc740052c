"""A container keeps capabilities that it was not asked to need.

Engines leave more than a dozen capabilities to root in a container, among them CAP_DAC_OVERRIDE (write whatever the
mode says), CAP_CHOWN, CAP_FOWNER and CAP_MKNOD. On a writable volume they void owners and modes.

Remediation: drop all of them, and add back what the program is seen to need.

Before::

    securityContext: {}

After::

    securityContext: {capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}

In Compose `cap_drop: [ALL]`, in a Quadlet unit `DropCapability=all`.

References: capabilities(7); Pod Security Standards, restricted.
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Fix, Rule, Severity
from lithify.model.workload import Workload
from lithify.rules.base import field

RULE = Rule(
    "capabilities-not-dropped",
    Severity.LOW,
    "Capabilities are not dropped",
    {
        "CIS Docker": ("5.3", "5.4"),
        "CIS Kubernetes": ("5.2.10",),
        "NSA/CISA": ("capabilities",),
        "Checkov": ("CKV_K8S_37", "CKV_K8S_28"),
        "Trivy": ("KSV-0003", "KSV-0106"),
        "Kubescape": ("C-0046",),
        "kube-linter": ("drop-net-raw-capability",),
        "Polaris": ("insecureCapabilities",),
        "Kyverno": ("disallow-capabilities-strict",),
        "Gatekeeper": ("K8sPSPCapabilities",),
        "compose-lint": ("CL-0006",),
    },
)


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each container that does not drop ALL; a privileged one has another."""
    if workload.not_applicable:
        return
    for container in workload.containers:
        security = container.security
        if not security.capabilities_dropped and not security.privileged:
            route = field(container, "dropped")
            # Whoever is not root has none to lose; a program that starts as root may die of it.
            value = ["ALL"] if security.is_root is False else None
            fix = Fix("drop ALL, and add what the program is seen to need", route, value)
            yield RULE.finding(container, f"{container.label} does not drop all capabilities", *route, fix=fix)

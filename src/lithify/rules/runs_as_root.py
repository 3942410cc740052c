"""A container runs as root.

Root may write wherever a mount lets it, change owners and modes, and open every file of a writable volume. A read-only
root filesystem keeps it out of the image, and of nothing else.

Remediation: run as another user: `runAsNonRoot: true` with a `runAsUser` that is not 0; in Compose `user: "1000:1000"`,
in a Quadlet unit `User=1000`. The places that must be writable then need that owner, or an `fsGroup`.

Before::

    securityContext: {runAsUser: 0}

After::

    securityContext: {runAsUser: 1000, runAsNonRoot: true}

Where nothing is said the image decides; that is reported one step lower.

References: Pod Security Standards, restricted; NSA/CISA Kubernetes Hardening Guide, "Non-root containers".
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Rule, Severity
from lithify.model.workload import Workload
from lithify.rules.base import field

RULE = Rule(
    "runs-as-root",
    Severity.MEDIUM,
    "The container runs as root, or may",
    {
        "CIS Docker": ("4.1",),
        "CIS Kubernetes": ("5.2.7",),
        "NSA/CISA": ("non-root containers",),
        "Checkov": ("CKV_K8S_23", "CKV_K8S_40"),
        "Trivy": ("KSV-0012",),
        "Kubescape": ("C-0013",),
        "kube-linter": ("run-as-non-root",),
        "kube-score": ("container-security-context-user-group-id",),
        "Polaris": ("runAsRootAllowed",),
        "Kyverno": ("require-run-as-nonroot",),
        "Gatekeeper": ("K8sPSPAllowedUsers",),
        "compose-lint": ("CL-0018",),
    },
)


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each container that is root, or that nothing keeps from being it."""
    if workload.not_applicable:
        return
    for container in workload.containers:
        root = container.security.is_root
        if root:
            yield RULE.finding(container, f"{container.label} runs as root", *field(container, "user"))
        elif root is None:
            message = f"{container.label} runs as root unless its image says otherwise"
            yield RULE.finding(container, message, *field(container, "user"), severity=Severity.LOW)

"""A process in the container may gain more rights than the one that started it.

Unless told otherwise, setuid programs work in a container: `su`, `sudo`, `mount` or a binary somebody left behind turn
a plain user into root, who may write where the user may not.

Remediation: set `allowPrivilegeEscalation: false`; in Compose `security_opt: [no-new-privileges:true]`, in a Quadlet
unit `NoNewPrivileges=true`, in an ECS task on instances `dockerSecurityOptions: [no-new-privileges]`. Swarm and Fargate
have no such field, and are not asked for it.

Before::

    securityContext: {runAsNonRoot: true}

After::

    securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false}

References: prctl(2), PR_SET_NO_NEW_PRIVS; Pod Security Standards, restricted.
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Fix, Rule, Severity
from lithify.model.workload import Workload
from lithify.rules.base import field

RULE = Rule(
    "privilege-escalation",
    Severity.MEDIUM,
    "Privilege escalation is allowed",
    {
        "CIS Docker": ("5.25", "5.26"),
        "CIS Kubernetes": ("5.2.6",),
        "NSA/CISA": ("privilege escalation",),
        "Checkov": ("CKV_K8S_20",),
        "Trivy": ("KSV-0001",),
        "Kubescape": ("C-0016",),
        "kube-linter": ("privilege-escalation-container",),
        "Polaris": ("privilegeEscalationAllowed",),
        "Kyverno": ("disallow-privilege-escalation",),
        "Gatekeeper": ("K8sPSPAllowPrivilegeEscalationContainer",),
        "compose-lint": ("CL-0003",),
    },
)

_SAID: dict[str, tuple[object, str]] = {
    "kubernetes": (False, ": false"),
    "compose": (["no-new-privileges:true"], ": [no-new-privileges:true]"),
    "quadlet": (True, "=true"),
    "ecs": (["no-new-privileges"], ": [no-new-privileges]"),
}
"""What the field says then, by source, as a value and as it is written; engines are told on their command line."""


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each container that does not rule it out, where its source can."""
    if workload.not_applicable or workload.source in ("stack", "swarm"):  # neither can say it
        return
    for container in workload.containers:
        escalation = container.security.escalation
        if escalation or (escalation is None and workload.source != "ecs"):  # a task on Fargate can't say it
            route, said = field(container, "escalation"), _SAID.get(workload.source)
            fix = None
            # The API server refuses both at once: the privilege has to go first.
            refused = workload.kubernetes and container.security.can_remount
            if said is not None and not refused:
                fix = Fix(f"set {route[-1]}{said[1]}", route, said[0])
            message = f"{container.label} lets a process gain more privileges than its parent has"
            yield RULE.finding(container, message, *route, fix=fix)

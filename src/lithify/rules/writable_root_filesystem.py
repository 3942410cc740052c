"""A container can write to its root filesystem.

Whatever runs there, a break-in included, can change the program it was started from, its libraries and its
configuration, and leave tools behind. What the program itself writes there is gone, unnoticed, when the container is
replaced, and quotas do not see it.

Remediation: set the flag, and mount storage where the program must write. Which places these are, `lithify plan` finds
out; `lithify harden` does all of it and proves that the program still works. Setting the flag alone breaks most
programs.

Before::

    containers:
    - name: web
      image: nginx

After::

    containers:
    - name: web
      image: nginx
      securityContext:
        readOnlyRootFilesystem: true
      volumeMounts:
      - {name: cache, mountPath: /var/cache/nginx}
      - {name: run, mountPath: /run}
    volumes:
    - {name: cache, emptyDir: {sizeLimit: 64Mi}}
    - {name: run, emptyDir: {sizeLimit: 4Mi}}

In Compose it is `read_only: true`, in a Quadlet unit `ReadOnly=true`, in an ECS task `readonlyRootFilesystem: true`.

References: Kubernetes, "Configure a Security Context"; NSA/CISA Kubernetes Hardening Guide, "Immutable container file
systems"; DISA STIG V-260936, which is not applicable where Kubernetes is the orchestrator.
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Fix, Rule, Severity
from lithify.model.workload import Workload
from lithify.rules.base import field

RULE = Rule(
    "writable-root-filesystem",
    Severity.HIGH,
    "The root filesystem is writable",
    {
        "STIG": ("V-260936", "CNTR-MK-001160", "V-270876", "DKER-EE-002030"),
        "CIS Docker": ("5.12", "5.13"),
        "NSA/CISA": ("immutable container file systems",),
        "Checkov": ("CKV_K8S_22", "CKV_AWS_336"),
        "Trivy": ("KSV-0014", "AVD-KSV-0014"),
        "Kubescape": ("C-0017",),
        "kube-linter": ("no-read-only-root-fs",),
        "kube-score": ("container-security-context-readonlyrootfilesystem",),
        "Polaris": ("notReadOnlyRootFilesystem",),
        "Kyverno": ("require-ro-rootfs",),
        "Gatekeeper": ("K8sPSPReadOnlyRootFilesystem",),
        "Terrascan": ("AC_K8S_0078",),
        "compose-lint": ("CL-0007",),
    },
)

_FIX = "set {flag} and mount what `lithify plan` lists"


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each container without the flag; Windows has no such flag."""
    if workload.not_applicable:
        return
    for container in workload.containers:
        if not container.security.read_only_root:
            route = field(container, "flag")
            # The containers of a running pod can't be changed: what is told then has no patch.
            fix = None if container.role == "ephemeral" else Fix(_FIX.format(flag=route[-1]), route, True)
            yield RULE.finding(container, f"{container.label} can write to its root filesystem", *route, fix=fix)

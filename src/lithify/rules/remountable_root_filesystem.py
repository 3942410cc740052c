"""A container can make its read-only root filesystem writable again.

A privileged container, or one with CAP_SYS_ADMIN, may call mount(2): `mount -o remount,rw /` succeeds, and the root
filesystem is writable for everything that runs in the container from then on. The flag is set and has no effect.

So is it for one with CAP_SYS_PTRACE that sees the host's processes (`hostPID`, `--pid host`): `/proc/PID/root` of any
of them leads to the host's files, where its engine has mounted its root filesystem writable.

Remediation: drop the privilege. What a program needs it for is often one device, one capability or one sysctl, each of
which can be granted alone.

Before::

    securityContext: {privileged: true, readOnlyRootFilesystem: true}

After::

    securityContext: {readOnlyRootFilesystem: true, capabilities: {drop: [ALL], add: [NET_ADMIN]}}

References: capabilities(7); mount(2); proc_pid_root(5); NSA/CISA Kubernetes Hardening Guide, "Privileged containers".
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Rule, Severity
from lithify.model.workload import Workload
from lithify.rules.base import field

RULE = Rule(
    "remountable-root-filesystem",
    Severity.HIGH,
    "A privilege makes the read-only flag void",
    {
        "CIS Docker": ("5.4", "5.5"),
        "CIS Kubernetes": ("5.2.2",),
        "NSA/CISA": ("privileged containers",),
        "Checkov": ("CKV_K8S_16", "CKV_K8S_39"),
        "Trivy": ("KSV-0017", "KSV-0005"),
        "Kubescape": ("C-0057", "C-0046"),
        "kube-linter": ("privileged-container",),
        "kube-score": ("container-security-context-privileged",),
        "Polaris": ("runAsPrivileged", "dangerousCapabilities"),
        "Kyverno": ("disallow-privileged-containers",),
        "Gatekeeper": ("K8sPSPPrivilegedContainer",),
        "compose-lint": ("CL-0002", "CL-0024"),
    },
)


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each container that may mount, whether its flag is set or not."""
    if workload.not_applicable:
        return
    for container in workload.containers:
        reason = container.security.can_remount
        if reason:
            effect = "the flag has no effect" if container.security.read_only_root else "the flag would have no effect"
            by_theirs = reason.endswith("processes")
            way = "write to its root filesystem by theirs" if by_theirs else "remount its root filesystem writable"
            message = f"{container.label} {reason} and can {way}: {effect}"
            yield RULE.finding(
                container, message, *field(container, "privileged" if "privileged" in reason else "added")
            )

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

In Compose it is `read_only: true`, in a Quadlet unit `ReadOnly=true`, in an ECS task `readonlyRootFilesystem: true`,
with `docker run` and `podman run` `--read-only`.

Of a running container the mount table is asked as well. One whose root is mounted writable though the flag is set
(remounted by a privileged process, or by a runtime that does not obey) is reported like one without the flag; one whose
root is mounted read-only though the flag is not set (by a wrapper of the runtime) as low: the STIG's check, which asks
for the flag, fails all the same. A container that is given the host's `/` sees its own root filesystem a second time,
where its engine mounted it: below `/var/lib/docker/overlay2` or `/run/containerd`, and writable there, also where that
`/` is mounted read-only without what lies below it. It is reported as writable, with that path.

References: Kubernetes, "Configure a Security Context"; NSA/CISA Kubernetes Hardening Guide, "Immutable container file
systems"; DISA STIG V-260936, which is not applicable where Kubernetes is the orchestrator.
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Fix, Rule, Severity
from lithify.model.workload import Container, Workload
from lithify.rules.base import field, field_name

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
        observed = container.observed
        if observed is not None and observed.read_only is not None:
            yield from _check_mounted(container, read_only=observed.read_only, again=observed.again)
        elif not container.security.read_only_root:
            message = f"{container.label} can write to its root filesystem"
            yield RULE.finding(container, message, *field(container, "flag"), fix=_fix(container))


def _check_mounted(container: Container, *, read_only: bool, again: str) -> Iterator[Finding]:
    """Yield what is wrong by the flag, by the mount table, or by both."""
    flag, route = field_name(container, "flag"), field(container, "flag")
    declared = bool(container.security.read_only_root)
    message = f"{container.label} can write to its root filesystem"
    if read_only and again:
        message += f": it is mounted read-only, and once more, writable, at {again}"
        yield RULE.finding(container, message, *route)
    elif declared and not read_only:
        message += f": {flag} is true, but it is mounted writable"
        yield RULE.finding(container, message, *route)
    elif not declared and read_only:
        message = f"{container.label} has its root filesystem mounted read-only, but {flag} is false"
        yield RULE.finding(container, message, *route, fix=_fix(container), severity=Severity.LOW)
    elif not declared:
        yield RULE.finding(container, message, *route, fix=_fix(container))


def _fix(container: Container) -> Fix | None:
    # The containers of a running pod can't be changed, and Podman takes no flag for the one that holds a pod.
    if container.role in ("ephemeral", "infra"):
        return None
    route = field(container, "flag")
    if container.workload.source in ("docker", "podman", "oci"):
        set_there = container.keeper or "make it anew with --read-only"
        return Fix(f"{set_there} and mount what `lithify plan` lists", route, True)
    return Fix(_FIX.format(flag=route[-1]), route, True)

"""A container can write to a directory of the host.

What it changes there stays after the container, and is read by the host or by other containers: a cron job under
`/etc`, a unit, a kubelet directory, an engine's socket. A read-only root filesystem does not reach it.

Remediation: mount it read-only; or give the container a volume or a claim of its own.

Before::

    volumeMounts: [{name: config, mountPath: /host}]
    volumes: [{name: config, hostPath: {path: /etc}}]

After::

    volumeMounts: [{name: config, mountPath: /host, readOnly: true, recursiveReadOnly: Enabled}]
    volumes: [{name: config, hostPath: {path: /etc}}]

Reported as high where the host's directory is one of the system, or an engine's; in Compose files, where a bind mount
of the project's own folder is common, as low otherwise.

A read-only bind mount does not reach what the host has mounted below that directory: with `/:/host:ro` a container can
write to `/host/run`. In a running container this is seen, and told in one finding. `recursiveReadOnly: Enabled`, in
Compose `bind: {recursive: readonly}`, with `podman run` `-v /:/host:ro,rro` reach it.

References: Kubernetes, "Volumes: hostPath"; Pod Security Standards, baseline.
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Fix, Rule, Severity
from lithify.model.workload import VolumeMount, Workload

RULE = Rule(
    "writable-host-path",
    Severity.MEDIUM,
    "A directory of the host is mounted writable",
    {
        "CIS Docker": ("5.5", "5.6"),
        "Checkov": ("CKV_K8S_27",),
        "Trivy": ("KSV-0023", "KSV-0006"),
        "Kubescape": ("C-0045", "C-0048"),
        "kube-linter": ("writable-host-mount", "sensitive-host-mounts"),
        "Polaris": ("hostPathSet",),
        "Kyverno": ("disallow-host-path",),
        "Gatekeeper": ("K8sPSPHostFilesystem",),
    },
)

_WHOLE = frozenset(("/", "/dev", "/home", "/opt", "/run", "/srv", "/var", "/var/lib", "/var/run"))
_BELOW = (
    "/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/sbin", "/sys", "/usr",
    "/var/lib/containerd", "/var/lib/containers", "/var/lib/docker", "/var/lib/etcd", "/var/lib/kubelet",
)  # fmt: skip
_NAMED = 3
_SOCKETS = ("docker.sock", "containerd.sock", "crio.sock", "podman.sock", "cri-dockerd.sock", "docker_engine")


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each mount of a host directory that is not read-only; one for all that came with another."""
    for container in workload.containers:
        below: dict[str, list[VolumeMount]] = {}
        for mount in container.mounts:
            host = mount.volume.host_path
            if not host or not mount.writable:
                continue
            if mount.below:
                below.setdefault(mount.below, []).append(mount)
                continue
            severity = _severity(host, kubernetes=workload.kubernetes)
            message = f"{container.label} can write to the host's {host} at {mount.path}"
            asked = mount.volume.kind == "hostPath"  # and not for another reason, as hostIPC
            fix = Fix("mount it read-only", (*mount.location.route, "readOnly"), True) if asked else None
            yield RULE.finding(container, message, location=mount.location, severity=severity, fix=fix)
        for path, mounts in below.items():
            severity = max(_severity(mount.volume.host_path, kubernetes=workload.kubernetes) for mount in mounts)
            named = ", ".join(f"{mount.volume.host_path} at {mount.path}" for mount in mounts[:_NAMED])
            more = f" and {len(mounts) - _NAMED} more" if len(mounts) > _NAMED else ""
            message = (
                f"{container.label} can write to the host's {named}{more}: mounted below {path}, which is read-only"
            )
            yield RULE.finding(container, message, location=mounts[0].location, severity=severity)


def _severity(host: str, *, kubernetes: bool) -> Severity:
    if host in _WHOLE or host.endswith(_SOCKETS):
        return Severity.HIGH
    if any(host == path or host.startswith(path + "/") for path in _BELOW):
        return Severity.HIGH
    return Severity.MEDIUM if kubernetes else Severity.LOW

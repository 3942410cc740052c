"""A container can write to a directory of the host.

What it changes there stays after the container, and is read by the host or by other containers: a cron job under
`/etc`, a unit, a kubelet directory, an engine's socket. A read-only root filesystem does not reach it.

Whoever may connect to an engine's socket has the host, read-only or not, as connecting writes no file: these are
reported however they are mounted.

Remediation: mount it read-only, recursively where more is mounted below it; or give the container a volume or a claim
of its own. For a socket there is no such thing: put a proxy between that lets through what is needed.

Before::

    volumeMounts: [{name: config, mountPath: /host}]
    volumes: [{name: config, hostPath: {path: /etc}}]

After::

    volumeMounts: [{name: config, mountPath: /host, readOnly: true, recursiveReadOnly: Enabled}]
    volumes: [{name: config, hostPath: {path: /etc}}]

Reported as high where the host's directory is one of the system, or an engine's; in Compose files, where a bind mount
of the project's own folder is common, as low otherwise. What read-only does not reach below a directory is low.

A disk of the host that a container was given with `--device` is as good as all that lies on it: every file of the host,
its own root filesystem among them. Seen in containers of Docker, and always high.

A read-only bind mount does not reach what the host has mounted below that directory: with `/:/host:ro` a container can
write to `/host/run`. In a running container this is seen, and told in one finding. `recursiveReadOnly: Enabled`, in
Compose `bind: {recursive: readonly}`, with `podman run` `-v /:/host:ro,rro` reach it; Docker does unasked since 25.

References: Kubernetes, "Volumes: hostPath", "Recursive read-only mounts"; Pod Security Standards, baseline; Docker,
"Bind mounts: recursive mounts".
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Fix, Rule, Severity
from lithify.model.workload import Container, VolumeMount, Workload

RULE = Rule(
    "writable-host-path",
    Severity.MEDIUM,
    "A directory of the host is mounted writable",
    {
        "CIS Docker": ("5.5", "5.6", "5.31", "5.32"),
        "CIS Kubernetes": ("5.2.12",),
        "Checkov": ("CKV_K8S_27",),
        "Trivy": ("KSV-0023", "KSV-0006"),
        "Kubescape": ("C-0045", "C-0048", "C-0074"),
        "kube-linter": ("writable-host-mount", "sensitive-host-mounts", "docker-sock"),
        "Polaris": ("hostPathSet",),
        "Kyverno": ("disallow-host-path",),
        "Gatekeeper": ("K8sPSPHostFilesystem",),
        "compose-lint": ("CL-0001", "CL-0025"),
    },
)

_WHOLE = frozenset(("/", "/dev", "/home", "/opt", "/run", "/srv", "/var", "/var/lib", "/var/log", "/var/spool"))
_BELOW = (
    "/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/opt/cni", "/proc", "/root", "/run/cdi", "/run/containerd",
    "/run/containers", "/run/crio", "/run/docker", "/run/k3s", "/run/systemd", "/sbin", "/sys", "/usr", "/var/lib/cni",
    "/var/lib/containerd", "/var/lib/containers", "/var/lib/docker", "/var/lib/etcd", "/var/lib/kubelet",
    "/var/lib/rancher", "/var/lib/systemd", "/var/log/pods", "/var/spool/cron",
)  # fmt: skip
_NAMED = 3
_MOUNTED_BELOW = frozenset(
    ("/", "/dev", "/run", "/sys", "/var", "/var/lib", "/var/lib/containers", "/var/lib/docker", "/var/lib/kubelet",
     "/var/lib/kubelet/pods")
)  # fmt: skip
"""Directories below which every host that runs containers has mounted others that can be written."""
_SOCKETS = (
    "docker.sock", "containerd.sock", "crio.sock", "podman.sock", "cri-dockerd.sock", "dockershim.sock", "nri.sock",
    "docker_engine",
)  # fmt: skip


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each mount of a host directory that leaves something writable; one for all below another."""
    for container in workload.containers:
        below: dict[str, list[VolumeMount]] = {}
        for mount in container.mounts:
            if mount.below and mount.volume.host_path and mount.writable:
                below.setdefault(mount.below, []).append(mount)
            elif mount.volume.host_path:
                yield from _check_mount(container, mount)
        for path, mounts in below.items():
            severity = max(_severity(mount.volume.host_path, kubernetes=workload.kubernetes) for mount in mounts)
            named = ", ".join(f"{mount.volume.host_path} at {mount.path}" for mount in mounts[:_NAMED])
            more = f" and {len(mounts) - _NAMED} more" if len(mounts) > _NAMED else ""
            message = (
                f"{container.label} can write to the host's {named}{more}: mounted below {path}, which is read-only"
            )
            yield RULE.finding(container, message, location=mounts[0].location, severity=severity)


def _check_mount(container: Container, mount: VolumeMount) -> Iterator[Finding]:
    host, kubernetes = mount.volume.host_path, container.workload.kubernetes
    is_disk = mount.volume.kind == "device"
    where = f"the host's {'disk ' * is_disk}{host} at {mount.path}"
    path = _resolved(host)
    if path.endswith(_SOCKETS):
        message = f"{container.label} can command the engine through {where}"
        if not mount.writable:
            message += ": a read-only mount does not stop that"
        yield RULE.finding(container, message, location=mount.location, severity=Severity.HIGH)
    elif mount.writable:
        asked = mount.volume.kind == "hostPath"  # and not for another reason, as hostIPC
        fix = Fix("mount it read-only", (*mount.location.route, "readOnly"), True) if asked else None
        severity = Severity.HIGH if is_disk else _severity(host, kubernetes=kubernetes)
        message = f"{container.label} can write to {where}"
        yield RULE.finding(container, message, location=mount.location, severity=severity, fix=fix)
    elif mount.open_below and path in _MOUNTED_BELOW:
        message = f"{container.label} can write to what is mounted below {where}: read-only does not reach that"
        key = "`recursiveReadOnly: IfPossible`" if kubernetes else "`rro`"
        fix = Fix(f"add {key}, or mount only what is needed")
        yield RULE.finding(container, message, location=mount.location, severity=Severity.LOW, fix=fix)


def _severity(host: str, *, kubernetes: bool) -> Severity:
    path = _resolved(host)
    if path in _WHOLE or path.endswith(_SOCKETS):
        return Severity.HIGH
    if any(path == below or path.startswith(below + "/") for below in _BELOW):
        return Severity.HIGH
    return Severity.MEDIUM if kubernetes else Severity.LOW


def _resolved(host: str) -> str:
    """Return a path of the host with its link `/var/run` followed."""
    return host.removeprefix("/var") if host == "/var/run" or host.startswith("/var/run/") else host

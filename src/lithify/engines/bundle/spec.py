"""The OCI config.json of a container, with the defaults that Docker gives one.

What is learnt under these defaults should hold under Docker's: the same capabilities, kernel filesystems, masked paths
and devices. Seccomp and AppArmor are left out.
"""

import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from lithify.engines.images.rootfs import User

CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
        "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
    )
)  # fmt: skip
"""What Docker leaves to root in a container (moby, oci/caps/defaults.go)."""

ALL_CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
        "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
        "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
        "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
        "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
        "CHECKPOINT_RESTORE",
    )
)  # fmt: skip
"""Every capability of the kernel (include/uapi/linux/capability.h)."""

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_OPEN_FILES = 65536
"""Descriptors a process may have: enough for a server, few enough for a program that closes all it could have."""
_MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_NAMESPACES = ("mount", "network", "uts", "pid", "ipc")

# (type, major, minor, access) of what Docker lets a container use; any node may be made, few opened
_DEVICES = (
    ("c", None, None, "m"), ("b", None, None, "m"), ("c", 1, 5, "rwm"), ("c", 1, 3, "rwm"), ("c", 1, 9, "rwm"),
    ("c", 1, 8, "rwm"), ("c", 5, 0, "rwm"), ("c", 5, 1, "rwm"), ("c", 5, 2, "rwm"), ("c", 136, None, "rwm"),
    ("c", 1, 7, "rwm"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecMount:
    """A mount as config.json names it."""

    destination: PurePosixPath
    """As the runtime will find it: no link on the way."""
    type: str
    source: str
    options: tuple[str, ...] = ()

    def render(self) -> dict[str, Any]:
        """Return it as an entry of `mounts`."""
        return {
            "destination": str(self.destination),
            "type": self.type,
            "source": self.source,
            "options": list(self.options),
        }


def bind(destination: PurePosixPath, source: Path, *options: str) -> SpecMount:
    """Return a bind mount of a directory or file of the host."""
    return SpecMount(destination=destination, type="bind", source=str(source), options=("rbind", "rprivate", *options))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """What runs in a container, and as whom."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    working_directory: PurePosixPath
    user: User
    capabilities: tuple[str, ...] = CAPABILITIES
    """What it may have at the most."""
    no_new_privileges: bool = False

    def render(self) -> dict[str, Any]:
        """Return it as `process` of config.json, which `exec --process` reads as well."""
        user: dict[str, Any] = {"uid": self.user.uid, "gid": self.user.gid}
        if self.user.groups:
            user["additionalGids"] = list(self.user.groups)
        held = list(self.capabilities) if self.user.uid == 0 else []
        return {
            "terminal": False,
            "user": user,
            "args": list(self.arguments),
            "env": [f"{name}={value}" for name, value in self.environment.items()],
            "cwd": str(self.working_directory),
            "capabilities": {"bounding": list(self.capabilities), "effective": held, "permitted": held},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": _open_files(), "hard": _open_files()}],
            "noNewPrivileges": self.no_new_privileges,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Everything that a config.json is made from."""

    root: Path
    read_only: bool
    process: ProcessSpec
    hostname: str
    mounts: tuple[SpecMount, ...]
    """Those besides the kernel's own, in any order."""
    cgroup: str | None = None
    """Path below the cgroup root; None leaves the container in the cgroup of whoever starts it."""
    memory: int | None = None
    modes: Mapping[int, Sequence[PurePosixPath]] = field(default_factory=dict)
    """Directories to be given a mode once all is mounted."""
    mappings: Mapping[str, Sequence[Mapping[str, int]]] = field(default_factory=dict)
    """`uidMappings` and `gidMappings` of a user namespace of its own; nothing leaves it in the caller's."""
    joins: Mapping[str, str] = field(default_factory=dict)
    """Namespaces of others: type and path."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    privileged: bool = False

    def render(self) -> dict[str, Any]:
        """Return config.json."""
        spec: dict[str, Any] = {
            "ociVersion": "1.0.2",
            "process": self.process.render(),
            "root": {"path": str(self.root), "readonly": self.read_only},
            "hostname": self.hostname,
            "mounts": [mount.render() for mount in self.all_mounts()],
            "linux": {
                "namespaces": [self._namespace(kind) for kind in self._namespaces()],
                **({} if "user" in self.joins else self.mappings),
                "maskedPaths": [] if self.privileged else list(_MASKED),
                "readonlyPaths": [] if self.privileged else list(_READ_ONLY),
                "resources": self._resources(),
                # a program of any user may listen on port 80, as in Docker since 20.10
                "sysctl": {} if self.joins else {"net.ipv4.ip_unprivileged_port_start": "0", **self.sysctls},
            },
        }
        if self.cgroup is not None:
            spec["linux"]["cgroupsPath"] = self.cgroup
        if self.modes:
            spec["hooks"] = {"createContainer": [self._chmod(mode, paths) for mode, paths in self.modes.items()]}
        return spec

    def all_mounts(self) -> list[SpecMount]:
        """Return the kernel's mounts and those asked for, in the order they are made."""
        own = {mount.destination for mount in self.mounts}
        kernel = [mount for mount in _kernel_mounts(cgroup=self.cgroup is not None) if mount.destination not in own]
        # parents first; the order of equals is kept: a seed comes before the memory that copies it up
        return sorted((*kernel, *self.mounts), key=lambda mount: len(mount.destination.parts))

    def _namespaces(self) -> tuple[str, ...]:
        own = (*_NAMESPACES, "user") if self.mappings else _NAMESPACES
        return (*own, "cgroup") if unified_cgroups() else own

    def _namespace(self, kind: str) -> dict[str, str]:
        return {"type": kind, "path": self.joins[kind]} if kind in self.joins else {"type": kind}

    def _resources(self) -> dict[str, Any]:
        rules: list[dict[str, Any]] = [{"allow": self.privileged, "access": "rwm"}]
        for kind, major, minor, access in _DEVICES:
            rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
            rule |= {"major": major} if major is not None else {}
            rules.append(rule | ({"minor": minor} if minor is not None else {}))
        resources: dict[str, Any] = {"devices": rules}
        if self.memory is not None:
            resources["memory"] = {"limit": self.memory}
            if os.path.exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"):
                resources["memory"]["swap"] = self.memory
        return resources

    def _chmod(self, mode: int, paths: Sequence[PurePosixPath]) -> dict[str, Any]:
        # runc's tmpcopyup makes directories through its umask (1777 becomes 1755, 2775 becomes 0755), crun's does not
        places = [f"{self.root}{path}" for path in paths]
        return {"path": "/bin/chmod", "args": ["chmod", f"{mode:04o}", "--", *places]}


def _kernel_mounts(*, cgroup: bool) -> list[SpecMount]:
    safe = ("nosuid", "noexec", "nodev")
    table = [
        ("/proc", "proc", "proc", safe),
        ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        ("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
        ("/dev/mqueue", "mqueue", "mqueue", safe),
        ("/dev/shm", "tmpfs", "shm", (*safe, "mode=1777", "size=65536k")),  # noqa: S108 - the container's
        ("/sys", "sysfs", "sysfs", (*safe, "ro")),
    ]
    if cgroup:
        table.append(("/sys/fs/cgroup", "cgroup", "cgroup", (*safe, "ro")))
    return [
        SpecMount(destination=PurePosixPath(path), type=kind, source=source, options=options)
        for path, kind, source, options in table
    ]


def _open_files() -> int:
    """Return what can be granted: raising our own limit takes CAP_SYS_RESOURCE, which root need not have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)


def unified_cgroups() -> bool:
    """Tell whether this host has cgroups of version 2 only."""
    return os.path.exists("/sys/fs/cgroup/cgroup.controllers")

"""What a rule is, and what several of them ask."""

from __future__ import annotations

from collections.abc import Iterator

from lithify.model.finding import Finding, Rule, State
from lithify.model.location import Route
from lithify.model.workload import Container, VolumeMount, Workload

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object


class RuleModule(Protocol):
    """A module that checks one thing; its docstring is the rule's page."""

    RULE: Rule

    def check(self, workload: Workload) -> Iterator[Finding]:
        """Yield what is wrong with `workload`."""


_FIELDS: dict[str, dict[str, Route]] = {
    "kubernetes": {
        "flag": ("securityContext", "readOnlyRootFilesystem"),
        "privileged": ("securityContext", "privileged"),
        "escalation": ("securityContext", "allowPrivilegeEscalation"),
        "user": ("securityContext", "runAsUser"),
        "added": ("securityContext", "capabilities", "add"),
        "dropped": ("securityContext", "capabilities", "drop"),
        "storage": ("resources", "limits", "ephemeral-storage"),
        "memory": ("resources", "limits", "memory"),
        "command": ("command",),
    },
    "compose": {
        "flag": ("read_only",),
        "privileged": ("privileged",),
        "escalation": ("security_opt",),
        "user": ("user",),
        "added": ("cap_add",),
        "dropped": ("cap_drop",),
        "memory": ("mem_limit",),
        "command": ("command",),
    },
    "quadlet": {
        "flag": ("ReadOnly",),
        "privileged": ("PodmanArgs",),
        "escalation": ("NoNewPrivileges",),
        "user": ("User",),
        "added": ("AddCapability",),
        "dropped": ("DropCapability",),
        "memory": ("Memory",),
        "command": ("Exec",),
    },
    "ecs": {
        "flag": ("readonlyRootFilesystem",),
        "privileged": ("privileged",),
        "escalation": ("dockerSecurityOptions",),
        "user": ("user",),
        "added": ("linuxParameters", "capabilities", "add"),
        "dropped": ("linuxParameters", "capabilities", "drop"),
        "memory": ("memory",),
        "command": ("command",),
    },
}
_FIELDS["stack"] = _FIELDS["compose"]
_FIELDS["docker"] = _FIELDS["podman"] = {
    "flag": ("HostConfig", "ReadonlyRootfs"),
    "privileged": ("HostConfig", "Privileged"),
    "escalation": ("HostConfig", "SecurityOpt"),
    "user": ("Config", "User"),
    "added": ("HostConfig", "CapAdd"),
    "dropped": ("HostConfig", "CapDrop"),
    "memory": ("HostConfig", "Memory"),
    "command": ("Config", "Cmd"),
}
_FIELDS["oci"] = {
    "flag": ("root", "readonly"),
    "privileged": ("process", "capabilities"),
    "escalation": ("process", "noNewPrivileges"),
    "user": ("process", "user", "uid"),
    "added": ("process", "capabilities", "bounding"),
    "dropped": ("process", "capabilities", "bounding"),
    "memory": ("linux", "resources", "memory", "limit"),
    "command": ("process", "args"),
}
_FIELDS["swarm"] = {
    "flag": ("ContainerSpec", "ReadOnly"),
    "user": ("ContainerSpec", "User"),
    "added": ("ContainerSpec", "CapabilityAdd"),
    "dropped": ("ContainerSpec", "CapabilityDrop"),
    "memory": ("Resources", "Limits", "MemoryBytes"),
    "command": ("ContainerSpec", "Command"),
}


def field(container: Container, name: str) -> Route:
    """Return the keys below a container to the field that says `name` in its source."""
    route = _FIELDS[container.workload.source].get(name, ())
    if "ContainerDefinitions" in container.location.route:  # CloudFormation's names start with a capital
        return tuple(f"{key[0].upper()}{key[1:]}" for key in map(str, route))
    return route


def field_name(container: Container, name: str) -> str:
    """Return what its source calls the field that says `name`."""
    route = field(container, name)
    return str(route[-1]) if route else ""


def effective(container: Container) -> tuple[State, str]:
    """Return whether the container can write to its root filesystem, as far as is known, and why.

    What the mount table says counts, where it was seen; what is declared otherwise.
    """
    if container.workload.not_applicable:
        return State.NOT_APPLICABLE, container.workload.not_applicable
    over_root = container.mount_over("/") if container.mounts else None
    if over_root is not None and over_root.writable:
        return State.WRITABLE, f"volume {over_root.volume.name!r} lies writable over /"
    declared = bool(container.security.read_only_root)
    observed = container.observed
    mounted = None if observed is None else observed.read_only
    note = "" if observed is None else observed.note
    if mounted and observed is not None and observed.again:
        return State.WRITABLE, f"its root filesystem is mounted once more, writable, at {observed.again}"
    if mounted is not None and mounted is not declared:
        differs = f"its mount table says {'ro' if mounted else 'rw'}, {field_name(container, 'flag')} says otherwise"
        note = f"{differs}; {note}" if note else differs
    if not (declared if mounted is None else mounted):
        return State.WRITABLE, note
    reason = container.security.can_remount
    if not reason:
        return State.READ_ONLY, note
    remount = f"it {reason}, and can {'write to it by theirs' if reason.endswith('processes') else 'remount it'}"
    return State.REMOUNTABLE, f"{remount}; {note}" if note else remount


def scratch_mounts(container: Container) -> Iterator[VolumeMount]:
    """Yield the writable mounts that start empty and go with the container."""
    for mount in container.mounts:
        if mount.volume.scratch and mount.writable:
            yield mount

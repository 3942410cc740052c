"""What a rule is, and what several of them ask."""

from collections.abc import Iterator
from typing import Protocol

from lithify.model.finding import Finding, Rule, State
from lithify.model.location import Route
from lithify.model.workload import Container, VolumeMount, Workload


class RuleModule(Protocol):
    """A module that checks one thing; its docstring is the rule's page."""

    RULE: Rule

    def check(self, workload: Workload) -> Iterator[Finding]:
        """Yield what is wrong with `workload`."""
        ...


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
        "user": ("user",),
        "added": ("linuxParameters", "capabilities", "add"),
        "dropped": ("linuxParameters", "capabilities", "drop"),
        "memory": ("memory",),
        "command": ("command",),
    },
}
_FIELDS["stack"] = _FIELDS["compose"]


def field(container: Container, name: str) -> Route:
    """Return the keys below a container to the field that says `name` in its source."""
    return _FIELDS[container.workload.source].get(name, ())


def field_name(container: Container, name: str) -> str:
    """Return what its source calls the field that says `name`."""
    route = field(container, name)
    return str(route[-1]) if route else ""


def effective(container: Container) -> tuple[State, str]:
    """Return whether the container can write to its root filesystem, as far as its description shows, and why."""
    if container.workload.not_applicable:
        return State.NOT_APPLICABLE, container.workload.not_applicable
    over_root = container.mount_over("/") if container.mounts else None
    if over_root is not None and over_root.writable:
        return State.WRITABLE, f"volume {over_root.volume.name!r} lies writable over /"
    if not container.security.read_only_root:
        return State.WRITABLE, ""
    reason = container.security.can_remount
    return (State.REMOUNTABLE, f"it {reason}, and can remount it") if reason else (State.READ_ONLY, "")


def scratch_mounts(container: Container) -> Iterator[VolumeMount]:
    """Yield the writable mounts that start empty and go with the container."""
    for mount in container.mounts:
        if mount.volume.scratch and mount.writable:
            yield mount

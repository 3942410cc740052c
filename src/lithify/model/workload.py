"""What runs containers, read from any source: workloads, their containers, security contexts and mounts."""

import re

from lithify.model.location import Location, Route

CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")
FLAG = "readOnlyRootFilesystem"
"""What Kubernetes calls it, in a container's securityContext."""
_DAY = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"


def may_hold_containers(text: bytes) -> bool:
    """Tell whether a document could hold a container, or is too odd to tell; cheap, as most hold none."""
    if b"ontainers" in text or b"sidecars" in text or b"container:" in text or b'"container"' in text:
        return not (b"openAPIV3Schema" in text and _is_definition(text))
    if (
        b"tekton.dev/" in text
        or b"kubevirt.io/" in text
        or (b"argoproj.io/" in text and (b"ontainer" in text or b"script" in text or b"workloadRef" in text))
    ):
        return True
    # A tab at the start of a line, and brackets nested out of all measure, are errors wherever they stand.
    return b"\n\t" in text or b"[[[[[[[[" in text


def _is_definition(text: bytes) -> bool:
    """Tell whether a document is itself a CustomResourceDefinition: within a list it has others beside it."""
    return b"\nkind: CustomResourceDefinition" in text or text.startswith(b"kind: CustomResourceDefinition")


def resembles_flag(key: str) -> bool:
    """Tell whether somebody meant readOnlyRootFilesystem: `readOnlyFilesystem`, `read_only`, `readonlyRootFs`, ..."""
    squeezed = key.lower().replace("_", "").replace("-", "")
    return squeezed.startswith(("readonly", "rorootf", "readroot", "rootreadonly", "rootfsreadonly")) and key != FLAG


class ObjectName:
    """What an object is called where it lives."""

    __slots__ = ("api_version", "kind", "name", "namespace")

    def __init__(self, kind: str, name: str = "", namespace: str = "", api_version: str = "") -> None:
        self.kind = kind
        self.name = name
        self.namespace = namespace
        self.api_version = api_version

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" if self.name else self.kind


class SecurityContext:
    """What a container may do, as declared for it or inherited from its pod; None where nothing is said."""

    __slots__ = (
        "added_capabilities",
        "dropped_capabilities",
        "escalation",
        "host_processes",
        "privileged",
        "read_only_root",
        "run_as_non_root",
        "run_as_user",
        "seccomp",
        "user_namespace",
    )

    def __init__(self) -> None:
        self.read_only_root: bool | None = None
        """The flag as the engine or API server reads it; a value it refuses counts as None."""
        self.privileged = False
        self.escalation: bool | None = None
        """Whether a process may gain more rights than its parent: `allowPrivilegeEscalation`, not no-new-privileges."""
        self.run_as_user: int | str | None = None
        """A uid, or a name where the source allows names."""
        self.run_as_non_root: bool | None = None
        self.added_capabilities: tuple[str, ...] = ()
        """Without the prefix CAP_, upper case."""
        self.dropped_capabilities: tuple[str, ...] = ()
        self.seccomp = ""
        """The profile's type or name: `RuntimeDefault`, `Unconfined`, ...; nothing where none is named."""
        self.user_namespace = False
        self.host_processes = False
        """True where it sees the processes of its host."""

    @property
    def capabilities_dropped(self) -> bool:
        """True where everything was dropped before anything was added."""
        return "ALL" in self.dropped_capabilities

    @property
    def can_remount(self) -> str:
        """Say why a process in the container could write to its root all the same; nothing where it can't."""
        if self.privileged:
            return "is privileged"
        if self._has("SYS_ADMIN"):
            return "has CAP_SYS_ADMIN"
        # /proc/PID/root of a process of the host leads to all that the host has mounted (proc_pid_root(5)).
        if self.host_processes and self._has("SYS_PTRACE"):
            return "has CAP_SYS_PTRACE among the host's processes"
        return ""

    def _has(self, capability: str) -> bool:
        """Tell whether a capability that nobody has unasked was added."""
        every = "ALL" in self.added_capabilities and capability not in self.dropped_capabilities
        return every or capability in self.added_capabilities

    @property
    def is_root(self) -> bool | None:
        """Tell whether the container starts as uid 0; None where only the image knows."""
        if self.run_as_user is not None:
            user = str(self.run_as_user)
            return user == "root" or (user.isdecimal() and int(user) == 0)
        return False if self.run_as_non_root else None


class Volume:
    """Storage that containers mount, independent of where."""

    __slots__ = ("host_path", "kind", "location", "memory", "name", "protected", "size")

    def __init__(self, name: str, kind: str, location: Location) -> None:
        self.name = name
        self.kind = kind
        """As the source calls it: `emptyDir`, `hostPath`, `persistentVolumeClaim`, `tmpfs`, `bind`, `volume`, ...

        `device` is a disk of the host. `engine` is what an engine mounts by itself: `/dev`, `/dev/shm`, the hosts file.
        """
        self.location = location
        self.host_path = ""
        """The host's path that lies under it; nothing where it is no host directory."""
        self.memory = False
        """True for tmpfs and the emptyDir medium Memory."""
        self.size: int | None = None
        """Limit in bytes; None without one."""
        self.protected = False
        """True where the volume says of itself that it is read-only, as a claim can."""

    @property
    def scratch(self) -> bool:
        """True for storage that starts empty and goes with the container or pod."""
        return self.kind in ("emptyDir", "tmpfs", "anonymous")

    @property
    def read_only(self) -> bool:
        """True for what is never writable, whatever the mount says."""
        return self.protected or self.kind in ("configMap", "secret", "projected", "downwardAPI", "image", "config")


class VolumeMount:
    """A volume at a path of one container."""

    __slots__ = (
        "below",
        "dropped",
        "executable",
        "filled",
        "location",
        "open_below",
        "path",
        "read_only",
        "sub_path",
        "volume",
    )

    def __init__(self, path: str, volume: Volume, location: Location) -> None:
        self.path = path
        """As a container path without a slash at its end, `/` itself aside."""
        self.volume = volume
        self.location = location
        self.read_only = False
        self.executable = True
        """False where the mount is noexec."""
        self.sub_path = ""
        self.below = ""
        """The path of the mount that it came with: what the host had mounted below a directory of its own."""
        self.filled = volume.kind == "anonymous"
        """True where the engine copies into it what the image has there."""
        self.open_below = False
        """True where its being read-only does not reach what the host has mounted below it."""
        self.dropped = False
        """True where whoever starts the container passes over what asks for it."""

    @property
    def writable(self) -> bool:
        """Tell whether the container can write there."""
        return not (self.read_only or self.volume.read_only or self.dropped)


class Oddity:
    """Something in the input that is not what it seems: the rule that explains it, and what was seen."""

    __slots__ = ("location", "message", "remedy", "rule")

    def __init__(self, rule: str, message: str, location: Location, remedy: bool | None = None) -> None:
        self.rule = rule
        self.message = message
        self.location = location
        self.remedy = remedy
        """What should stand there instead; None where only a person can tell."""


class Observed:
    """What was seen of a container that exists, beside what was declared for it."""

    __slots__ = ("again", "note", "read_only", "written")

    def __init__(self, *, read_only: bool | None = None, note: str = "", written: int | None = None) -> None:
        self.read_only = read_only
        """What the mount table of the running container says of its root; None where that was not seen."""
        self.again = ""
        """Where the same filesystem is mounted once more, writable; nothing where it is not."""
        self.note = note
        """Why the mount table was not seen; nothing where it was."""
        self.written = written
        """Bytes in the layer that goes with the container; None where nobody says."""


class Container:
    """One container of a workload."""

    __slots__ = (
        "arguments",
        "command",
        "ephemeral_storage_limit",
        "exemptions",
        "id",
        "image",
        "index",
        "injected",
        "inline_files",
        "keeper",
        "list_name",
        "location",
        "memory_limit",
        "mounts",
        "name",
        "observed",
        "oddities",
        "partial",
        "role",
        "security",
        "workload",
    )

    def __init__(
        self,
        workload: "Workload",
        list_name: str,
        index: int,
        name: str,
        location: Location,
        security: SecurityContext | None = None,
    ) -> None:
        self.workload = workload
        self.list_name = list_name
        """The list it stands in: `containers`, `initContainers`, `services`, ..."""
        self.index = index
        self.name = name
        self.location = location
        self.role = ""
        """What it is besides a container: `init`, `sidecar`, `ephemeral`, `infra` (which holds a pod), or nothing."""
        self.id = ""
        """What its engine calls it for ever; nothing where it is only described."""
        self.injected = False
        """True where the object that a person edits does not have it: admission put it into the pod."""
        self.keeper = ""
        """How to set its flag in what an engine's container is kept by, in words; nothing where it stands alone."""
        self.observed: Observed | None = None
        """None where it is only described."""
        self.image = ""
        self.partial = False
        """True where it is a part of a container: an operator has the rest, the image and perhaps the flag."""
        self.command: tuple[str, ...] = ()
        self.arguments: tuple[str, ...] = ()
        self.security = security or SecurityContext()
        self.mounts: tuple[VolumeMount, ...] = ()
        self.memory_limit: int | None = None
        """In bytes."""
        self.ephemeral_storage_limit: int | None = None
        self.inline_files: tuple[tuple[str, Location], ...] = ()
        """Files whose content the engine copies into the root filesystem at start, each with what it is."""
        self.oddities: tuple[Oddity, ...] = ()
        self.exemptions: tuple[Exemption, ...] = ()

    @property
    def label(self) -> str:
        """What messages call it: `container 'app'`, `init container 'setup'`, `container #2`."""
        name = repr(self.name) if self.name else f"#{self.index}"
        noun = "service" if self.list_name == "services" else "container"
        role = f"{self.role} " if self.role else ""
        return f"injected {role}{noun} {name}" if self.injected else f"{role}{noun} {name}"

    @property
    def undecided(self) -> bool:
        """True where what stands there does not say whether its root filesystem can be written to."""
        security = self.security
        return self.partial and security.read_only_root is None and not security.can_remount

    def mount_over(self, path: str) -> VolumeMount | None:
        """Return the mount that lies exactly on `path`, the last one where there are several."""
        found = None
        for mount in self.mounts:
            if mount.path == path:
                found = mount
        return found


class Exemption:
    """A finding that somebody accepts: which rule, why, who answers for it, and until when."""

    __slots__ = ("line", "origin", "owner", "reason", "rule", "until")

    def __init__(
        self, rule: str, reason: str = "", *, owner: str = "", until: str = "", origin: str = "", line: int = 0
    ) -> None:
        self.rule = rule
        self.reason = reason
        self.owner = owner
        self.until = until
        """The last day it holds, as YYYY-MM-DD; nothing where it has no end."""
        self.origin = origin
        """Where it is said: `comment`, `annotation`, `label` or `baseline`."""
        self.line = line

    @property
    def dated(self) -> bool:
        """False where what should be its last day is no date."""
        return not self.until or re.fullmatch(_DAY, self.until) is not None

    def holds(self, today: str) -> bool:
        """Tell whether it still holds on `today` (YYYY-MM-DD); one with an end that nobody can tell does not."""
        return not self.until or (self.dated and self.until >= today)


class Workload:
    """One object that runs containers, or one Compose service, unit or task definition."""

    __slots__ = (
        "containers",
        "exemptions",
        "location",
        "name",
        "not_applicable",
        "oddities",
        "pod",
        "source",
        "volumes",
    )

    def __init__(self, name: ObjectName, source: str, location: Location) -> None:
        self.name = name
        self.source = source
        """What it was read as: `kubernetes`, `compose`, `stack`, `quadlet`, `ecs`, `docker`, `podman`, `swarm`, or
        `oci`, a runtime's own configuration.
        """
        self.location = location
        self.pod: Route = ()
        """The keys from the object to its pod spec."""
        self.containers: tuple[Container, ...] = ()
        self.volumes: tuple[Volume, ...] = ()
        self.not_applicable = ""
        """Why no container of it can be judged, as for Windows; nothing where they can."""
        self.oddities: tuple[Oddity, ...] = ()
        self.exemptions: tuple[Exemption, ...] = ()

    @property
    def kubernetes(self) -> bool:
        """True where the rules of the Kubernetes API hold."""
        return self.source == "kubernetes"

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.name.kind} {self.name.name!r}" if self.name.name else self.name.kind

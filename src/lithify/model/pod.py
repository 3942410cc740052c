"""A pod as something to run: what of its spec makes a difference to the processes in it. Pure values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

from lithify.model.location import Route
from lithify.model.run import Probe

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z0-9_.-]+)\)")


class Role(StrEnum):
    """When a container runs."""

    INIT = "init"
    """Before the others, to its end."""
    SIDECAR = "sidecar"
    """An init container that goes on running (`restartPolicy: Always`)."""
    APP = "app"


class VolumeKind(StrEnum):
    """What lies under a volume of a pod."""

    EMPTY = "emptyDir"
    FILES = "files"
    """Config maps, secrets, downward API values and what is projected of them."""
    CLAIM = "claim"
    """Data that outlives the pod."""
    HOST = "hostPath"
    IMAGE = "image"
    UNKNOWN = "unknown"
    """What no engine here can give: storage of a driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeFile:
    """A file of a volume that the API server fills."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class PodVolume:
    """Storage that containers of a pod mount."""

    name: str
    kind: VolumeKind
    memory: bool = False
    """emptyDir with medium Memory."""
    size: int | None = None
    files: Mapping[str, VolumeFile] = field(default_factory=dict)
    """For FILES, by path below the volume."""
    reference: str = ""
    """The image's name, or the host's path."""
    host_type: str = ""
    """For HOST: `Directory`, `File`, `Socket`, ... as the manifest has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodMount:
    """A volume, or a part of it, at a path of a container."""

    volume: str
    path: PurePosixPath
    read_only: bool = False
    sub_path: str = ""
    sub_path_expression: str = ""
    """`subPathExpr`, in which `$(NAME)` stands for a variable."""
    executable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable of a container's environment."""

    name: str
    value: str = ""
    """With `$(NAME)` for variables before it, where `expands`."""
    expands: bool = True
    field: str = ""
    """What is known only once the pod runs: `status.podIP`, `status.hostIP`, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """What a container runs as and may do, its pod's word taken in; None where nothing is said."""

    user: int | None = None
    group: int | None = None
    non_root: bool = False
    privileged: bool = False
    escalation: bool | None = None
    added: tuple[str, ...] = ()
    """Capabilities, upper case, without CAP_."""
    dropped: tuple[str, ...] = ()
    read_only_root: bool = False
    seccomp: str = ""
    """`Unconfined` where it is to be off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodContainer:
    """One container of a pod."""

    name: str
    image: str
    role: Role = Role.APP
    route: Route = ()
    """Where it stands in its document."""
    command: tuple[str, ...] | None = None
    """None keeps the image's entrypoint."""
    arguments: tuple[str, ...] | None = None
    working_directory: PurePosixPath | None = None
    environment: tuple[Variable, ...] = ()
    mounts: tuple[PodMount, ...] = ()
    ports: tuple[int, ...] = ()
    """TCP ports that it declares."""
    memory: int | None = None
    """Limit in bytes."""
    security: Security = field(default_factory=Security)
    probes: tuple[Probe, ...] = ()
    post_start: tuple[str, ...] = ()
    """Command run in it right after its start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """The containers that run together, and what they share."""

    name: str
    """`Deployment/web`."""
    document: int
    """Index of the document in its file."""
    containers: tuple[PodContainer, ...]
    """Init containers first, each list in its order."""
    volumes: tuple[PodVolume, ...] = ()
    hostname: str = "pod"
    fs_group: int | None = None
    groups: tuple[int, ...] = ()
    """Supplemental groups."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Downward API values that are known before it runs."""
    hosts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Host aliases: an address, and its names."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    restart_policy: str = "Always"
    """`Always`, `OnFailure` or `Never`."""
    cannot_show: tuple[str, ...] = ()
    """What a run on one host's engine leaves open, in sentences."""

    def container(self, name: str) -> PodContainer:
        """Return the container of that name; KeyError where there is none."""
        for container in self.containers:
            if container.name == name:
                return container
        raise KeyError(name)

    def volume(self, name: str) -> PodVolume | None:
        """Return the volume of that name."""
        return next((volume for volume in self.volumes if volume.name == name), None)


def environment_of(container: PodContainer, late: Mapping[str, str]) -> dict[str, str]:
    """Return a container's variables as its processes get them; `late` has what only a running pod knows."""
    found: dict[str, str] = {}
    for variable in container.environment:
        if variable.field:
            found[variable.name] = late.get(variable.field, "")
        else:
            found[variable.name] = expand(variable.value, found) if variable.expands else variable.value
    return found


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Return `text` with each `$(NAME)` replaced; an unknown name stays as it is, `$$` is a dollar."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        return "$" if name is None else variables.get(name, match[0])

    return _REFERENCE.sub(value, text)

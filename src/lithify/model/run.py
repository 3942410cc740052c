"""A run: what is started, and how, independent of the engine that starts it."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath


class TargetKind(StrEnum):
    """What the user pointed at."""

    ROOTFS = "rootfs"
    """A root filesystem directory."""
    LAYOUT = "oci-layout"
    ARCHIVE = "docker-archive"
    IMAGE = "image"
    CONTAINER = "container"
    LINE = "run-line"
    """A `docker run` or `podman run` line."""
    SERVICE = "service"
    """A service of a Compose project."""
    POD = "pod"
    """A container of a pod, run with the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the user pointed at, and what they said about running it."""

    kind: TargetKind
    engine: str
    """`bundle`, `docker` or `podman`."""
    reference: str
    """A host path, an image reference, or a container's name."""
    line: tuple[str, ...] = ()
    """The run line as pasted, program name first; for images and containers the line that starts the same."""
    command: tuple[str, ...] = ()
    """Overrides the image's command (bundle engine; the others have it in `line`)."""
    entrypoint: tuple[str, ...] | None = None
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: PurePosixPath | None = None
    memory: int | None = None
    """Memory limit in bytes."""
    baked: str = ""
    """What is run in place of the image, all else being the same: a copy with files put in, by an engine's `bake`."""
    join_networks: bool = False
    """Let trials join the networks that the line names, with whatever of the user's is there."""

    @property
    def title(self) -> str:
        """The reference for a person to read; of a run line that stands for itself the words as a shell takes them."""
        return shlex.join(self.line) if self.reference == " ".join(self.line) else self.reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A question that a pod's own spec puts to a container; a port for HTTP and TCP, else a command."""

    name: str
    """`readiness`, `liveness` or `startup`."""
    command: tuple[str, ...] = ()
    port: int = 0
    path: str | None = None
    """None for a port that has only to accept."""
    secure: bool = False
    """HTTPS; as the kubelet has it, no certificate is looked at."""
    headers: tuple[tuple[str, str], ...] = ()
    timeout: float = 1.0
    by_kubelet: bool = False
    """A kubelet asks it and all the others, and its word is taken."""

    @property
    def words(self) -> str:
        """Say what it asks."""
        if self.by_kubelet:
            return "its own probes, asked by the kubelet"
        if self.command:
            return f"its {self.name} probe {' '.join(self.command)!r}"
        scheme = "https" if self.secure else "http"
        what = f"TCP port {self.port}" if self.path is None else f"{scheme}://:{self.port}{self.path}"
        return f"its {self.name} probe {what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exercise:
    """What counts as working, and what drives the program; all empty where the user said nothing."""

    check: str | None = None
    """Host command: 0 means it works."""
    check_inside: tuple[str, ...] = ()
    """Command run within the container: 0 means it works."""
    http: str | None = None
    """URL that must answer with a status below 400."""
    tcp: int | None = None
    """Port of the container that must accept a connection."""
    probes: tuple[Probe, ...] = ()
    """What its pod asks it."""
    script: str | None = None
    """Host command that drives the program the way its users do."""
    seconds: float = 0.0
    """How long to watch it after that."""
    timeout: float = 60.0
    """Seconds that the program has to get ready, and that each check and exercise may take."""

    @property
    def decides(self) -> bool:
        """Tell whether the user said what working means."""
        return bool(self.check or self.check_inside or self.http or self.tcp is not None or self.probes or self.script)

    @property
    def words(self) -> str:
        """Say in words how the program is driven and judged."""
        parts = [
            f"exercise {self.script!r}" if self.script else "",
            f"check {self.check!r}" if self.check else "",
            f"check inside {' '.join(self.check_inside)!r}" if self.check_inside else "",
            f"HTTP {self.http}" if self.http else "",
            f"TCP port {self.tcp}" if self.tcp is not None else "",
            *(probe.words for probe in self.probes),
            f"{self.seconds:g} s of waiting" if self.seconds else "",
        ]
        return ", ".join(filter(None, parts)) or "started, left alone, stopped and started again"

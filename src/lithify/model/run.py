"""A run: what is started, and how, independent of the engine that starts it."""

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

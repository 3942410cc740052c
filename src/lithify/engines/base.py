"""The Protocol that every engine answers to; no decision is made here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Protocol, TypeVar, runtime_checkable

from lithify.engines.ids import IdMap
from lithify.errors import EngineRefused
from lithify.model.image import ImageFacts
from lithify.model.mount import Mount, MountPlan
from lithify.model.run import Target

Result = TypeVar("Result")


class Root(StrEnum):
    """How the root filesystem of a run is set."""

    WRITABLE = "writable"
    """Writable, whatever the user's own flags say: to learn, and to compare with."""
    READ_ONLY = "read-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpperLayer:
    """The overlay of a container, as host directories. Valid while the container exists, running or not."""

    upper: Path
    lowers: tuple[Path, ...]
    """Top-most first."""
    noise: frozenset[PurePosixPath] = frozenset()
    """Paths that the engine itself makes in every container: `/.dockerenv`, mount points, `/etc/hosts`."""
    user_xattr: bool = False
    """Overlay marks are in `user.overlay.*` (a mount made in a user namespace) instead of `trusted.overlay.*`."""
    ids: IdMap = IdMap()
    """How the users of a container at rest are numbered in it; those of one that runs its process tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a process ended."""

    code: int
    output: bytes = b""
    """What it said on both streams, as it came; on standard output only where they were wanted apart."""
    errors: bytes = b""
    """What it said on standard error, where that was wanted apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCommand:
    """How to run something as planned, as argument lists."""

    command: tuple[str, ...]
    setup: tuple[tuple[str, ...], ...] = ()
    """Commands that have to succeed once before it: volumes made, files put in place."""
    notes: tuple[str, ...] = ()


class Container(Protocol):
    """A container that lithify made, or (for `attach`) found.

    Methods raise EngineUnreachable when the engine is gone.
    """

    @property
    def name(self) -> str:
        """The engine's name for it, fit as an argument of the engine's own commands."""

    @property
    def engine(self) -> str:
        """`bundle`, `docker` or `podman`."""

    @property
    def cannot_show(self) -> tuple[str, ...]:
        """What a proof in this container leaves open, in sentences for a verdict."""

    def start(self) -> None:
        """Start it; raises EngineRefused, with the engine's words, where it can't be started."""

    def pid(self) -> int | None:
        """Return the host's pid of its first process; None while it does not run."""

    def exit_code(self) -> int | None:
        """Return its last exit code; None while it runs."""

    def address(self) -> str | None:
        """Return an IP address at which the host reaches it; None where there is none."""

    def stop(self, timeout: float) -> int:
        """Ask it to end by its stop signal, kill it after `timeout` seconds, return the exit code."""

    def kill(self) -> None:
        """End it by SIGKILL; the container itself stays and can be started again."""

    def logs(self, limit: int = 1 << 20) -> bytes:
        """Return the last `limit` bytes of its standard output and error of all its starts, in order."""

    def execute(self, command: Sequence[str], *, user: str | None = None, timeout: float = 30.0) -> Exit:
        """Run `command` inside; code 124 where it took longer than `timeout`, 127 where it could not be started."""

    def upper_layer(self) -> UpperLayer | None:
        """Return its overlay; None where its root is no overlay or is not on this host."""

    def volumes(self) -> Mapping[PurePosixPath, Path]:
        """Return the writable mounts that live on this host's disk and that the user did not ask for: image VOLUMEs."""

    def diff(self) -> Sequence[tuple[str, PurePosixPath]] | None:
        """Return what the engine itself says changed, as (`A`, `C` or `D`, path); None where it can't say."""

    def keep(self) -> None:
        """Leave it for a look: neither this process nor a later sweep removes it."""

    def remove(self) -> None:
        """Remove it with everything that was made for it; no error where it is gone already."""


@dataclass(frozen=True)
class Published:
    """Which service of a project publishes a port, and where the host reaches that in the copy."""

    service: str
    address: str | None  # None where the service does not run
    port: int
    ended: int | None = None  # with which exit code, where it ran


@runtime_checkable
class Accompanied(Protocol):
    """A container that other containers of its project run beside."""

    def beside(self) -> Mapping[str, str]:
        """Return at which address the host reaches each of them by name, itself included."""

    def published(self, port: int) -> Published | None:
        """Return where the host reaches what the project publishes as `port`; None where it publishes no such port."""


class Ended(EngineRefused):
    """A container ended before it could be asked: its address, if it has one, leads to something else by now."""

    def __init__(self) -> None:
        super().__init__("it ended meanwhile", hint="see its log for why")


@runtime_checkable
class Secluded(Protocol):
    """A container whose address may lead to it from within its own network only."""

    def call_in_network(self, function: Callable[[], Result], cancelled: Event | None = None) -> Result:
        """Return what `function` does where the address leads to the container; Ended where there is no such place.

        An interrupt sets `cancelled`, and does not wait for `function`.
        """


@runtime_checkable
class Probed(Protocol):
    """A container that something else asks whether it is well: a kubelet."""

    def probed(self) -> tuple[bool, str]:
        """Return whether it passes its own probes, and in a few words why."""


class Engine(Protocol):
    """Something that runs containers."""

    @property
    def name(self) -> str:
        """`bundle`, `docker` or `podman`."""

    def read_image(self, target: Target) -> ImageFacts:
        """Return the configuration of what `target` runs, `entries` left empty."""

    def create(
        self,
        target: Target,
        *,
        root: Root,
        plan: MountPlan | None = None,
        purpose: str = "run",
        storage: Container | None = None,
        idle: bool = False,
    ) -> Container:
        """Make a container of `target`, not started, labelled as ours.

        With `plan` its mounts, variables and arguments are added. Storage of the user's (named volumes, writable
        binds) is never handed to it: the container gets a view or copy of its own. Named volumes of a plan are made
        under a scratch name and go with `remove`. With `storage` it shares the named volumes that the plan gave to
        that container, which must still exist: to see what a replacement finds. They go with the last that has them.
        An `idle` one runs nothing of the target's once started, only what keeps it there to be looked into from
        outside: nothing at all (bundle), or a `sleep` of the image's, without which it can't be started.
        """

    def storage(self) -> Path | None:
        """Return a host directory on the filesystem that holds upper layers; None where it is not on this host."""

    def render(self, target: Target, plan: MountPlan) -> RunCommand:
        """Return what starts `target` read-only as planned, for a person or a script."""

    def ports(self, target: Target) -> Mapping[int, int]:
        """Return the TCP ports that `target` publishes on the host, each with the container's port behind it."""

    def attach(self, reference: str) -> Container | None:
        """Return a container that already exists, to be looked at and not touched; None where there is none."""

    def sweep(self) -> Sequence[str]:
        """Remove what earlier lithify processes that are gone left behind; return what it was, for a person to read."""


@runtime_checkable
class Surveyor(Protocol):
    """An engine that looks into an image without running it."""

    def read_places(self, target: Target, places: Iterable[Mount]) -> ImageFacts:
        """Return the image's configuration as `target` runs it, with an entry for all that it has at `places`."""


@runtime_checkable
class Baker(Protocol):
    """An engine that can put files into a copy of an image."""

    def image_of(self, target: Target) -> str:
        """Return what a Dockerfile calls the image that `target` runs."""

    def bake(
        self, target: Target, directory: Path, dockerfile: Sequence[str], removed: Sequence[PurePosixPath]
    ) -> Target:
        """Return a target that runs a copy of the image, made of what is in `directory`; `discard` takes it away.

        There lies an archive, if anything is put in; the lines of `dockerfile` have `{base}` for the image. Those of
        `removed` are taken away, which the lines say as well. EngineRefused where it can't be made.
        """

    def discard(self, target: Target) -> None:
        """Remove what `bake` made."""

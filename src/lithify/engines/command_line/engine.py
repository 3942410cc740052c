"""Docker and Podman by their own command lines: what both do alike."""

import os
import shlex
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Any

from lithify.engines.attached import NOISE
from lithify.engines.base import Container, Exit, Result, Root, RunCommand, UpperLayer
from lithify.engines.bundle import rootless
from lithify.engines.command_line.client import Client, parse_json
from lithify.engines.command_line.container_line import line_of_container, line_of_image
from lithify.engines.command_line.flags import EngineHost, PlanFlags, PlannedLine, helper_name
from lithify.engines.command_line.runline import LineMount, RunLine, parse_run_line
from lithify.engines.command_line.stand_in import Views, apart, bare
from lithify.engines.ids import IdMap
from lithify.engines.mounts import read_mounts, root_overlay
from lithify.engines.ownership import KEPT, RUN, is_abandoned, labels, new_run
from lithify.engines.process import TIMED_OUT, uninterrupted
from lithify.engines.temporary import temporary_folder
from lithify.errors import EngineRefused, EngineUnreachable, LithifyError, NothingToExamine, NotPermitted
from lithify.model.image import ImageEntry, ImageFacts
from lithify.model.mount import Mount, MountPlan
from lithify.model.path import container_path, printable
from lithify.model.run import Target, TargetKind

_NOT_STARTED = (125, 126, 127)
_LOG_LIMIT = "16m"
_IDLE = ("86400",)
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What an engine says of itself."""

    host: EngineHost
    local: bool
    """It runs on this host's kernel, so that pids and paths are ours."""
    layers: Path | None
    """Where layers lie, if that is on this host."""
    system: str = "linux"
    ids: IdMap = field(default_factory=IdMap)
    """Of a daemon that gives every container the same user namespace."""
    secluded: bool = False
    """Its containers are reached from within their own networks only: an ordinary user's."""
    leaves_open: tuple[str, ...] = ()
    """What a proof in any of its containers leaves open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageView:
    """What is in an image, as far as it was asked for."""

    uid: int
    gid: int
    has_shell: bool
    entries: Mapping[PurePosixPath, ImageEntry]


@dataclass
class CliEngine(ABC):
    """An engine that is driven by its own command line."""

    name: str = field(init=False)
    _client: Client = field(init=False)
    _holders: Counter[str] = field(default_factory=Counter, init=False)
    """How many of our containers have a volume."""
    _entries: dict[tuple[str, PurePosixPath], dict[PurePosixPath, ImageEntry]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._client = Client.of(line_of_image(self.name, "image"))

    # What differs from engine to engine.

    @abstractmethod
    def _read_info(self) -> EngineInfo:
        """Ask the engine about itself."""

    @abstractmethod
    def _look(self, client: Client, image: str, user: str, places: Iterable[Mount]) -> ImageView:
        """Look into an image: who `user` is there, and what stands at the places of a plan."""

    @abstractmethod
    def _flags(self, line: RunLine, image: ImageFacts, prefix: str, labels: tuple[str, ...]) -> PlanFlags:
        """Return what writes a plan into `line`."""

    @abstractmethod
    def _views(self, prefix: str, labels: tuple[str, ...], present: frozenset[str]) -> Views:
        """Return what takes the place of the user's storage."""

    @abstractmethod
    def _layer_at_rest(self, known: Mapping[str, Any]) -> UpperLayer | None:
        """Find the layers of a container that does not run; None where that can't be."""

    # The Protocol.

    def read_image(self, target: Target) -> ImageFacts:
        """Return the image's configuration as `target` runs it, `entries` left empty."""
        return self._facts(self._line(target), target.reference)

    def read_places(self, target: Target, places: Iterable[Mount]) -> ImageFacts:
        """Return the same with an entry for each of `places` that the image has, and for what is below."""
        return self._facts(self._line(target), target.reference, places)

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
        """Make a container of `target`, not started; see `engines.base.Engine`."""
        line = self._line(target)
        self.insist_on_this_host()
        run = new_run()
        before = storage if isinstance(storage, CliContainer) else None
        name = f"lithify-{run}-{purpose}"
        prefix = before.prefix if before else f"lithify-{run}-"
        present = frozenset(before.held) if before else frozenset()
        marks = labels(run)
        views = self._views(prefix, marks, present)
        planned: PlannedLine | None = None
        made: list[str] = []
        try:
            if plan is not None:
                facts = self._facts(line, target.reference, plan.mounts)
                line = line.called(self._client.base)
                planned = self._flags(line, facts, prefix, marks).add(plan)
                made += planned.volumes
                line = planned.line
                if not set(planned.volumes) <= present:
                    self._set_up(planned.command)
            line = self._rooted(bare(line), root, planned=plan is not None)
            line, left = (line, ()) if target.join_networks else apart(line)
            line = views.replace(line)
            if idle:
                line = line.without("entrypoint").adding("--entrypoint=sleep").with_command(_IDLE)
            created = self._create(line, name, run, prefix, (*made, *views.volumes))
            created.left = left
            return created
        except BaseException:
            with suppress(LithifyError):
                for container in (name, *map(helper_name, made)):
                    self._client.remove(container)
                self._discard_volumes([volume for volume in (*made, *views.volumes) if volume not in present])
            raise

    def create_as_it_stands(self, line: RunLine, name: str, run: str) -> "CliContainer":
        """Make a container of a line in which nothing is the user's own, labelled as one of `run`; not started.

        Its storage is held by whoever made that.
        """
        try:
            return self._create(bare(line), name, run, "", ())
        except BaseException:
            with suppress(LithifyError):
                self._client.remove(name)
            raise

    def insist_on_this_host(self) -> None:
        """Raise EngineUnreachable where the engine's containers are on another host."""
        if not self._info.local:
            raise EngineUnreachable(
                f"{self.name} runs its containers on another host, where their layers can't be seen from here",
                hint="run lithify on that host",
            )

    def insist_on_addresses(self) -> None:
        """Raise unless the host reaches this host's containers by address, as several that work together need it."""
        self.insist_on_this_host()
        if self._info.secluded:
            raise NotPermitted(
                f"an ordinary user's {self.name} gives containers no address that the host reaches, which those of a "
                "project or pod are looked after by",
                hint=f"run lithify with sudo, or harden them one by one: lithify harden -- {self.name} run ...",
            )

    def storage(self) -> Path | None:
        """Return a directory on the filesystem that holds upper layers."""
        layers = self._info.layers
        return layers if layers is not None and layers.is_dir() else None

    def render(self, target: Target, plan: MountPlan) -> RunCommand:
        """Return the user's line, read-only as planned; where files were baked in, for the image rebuilt with them."""
        line = self._line(replace(target, baked=""))
        facts = self._facts(line, target.reference, plan.mounts)
        command = self._flags(line, facts, "", ()).add(plan).command
        if target.kind is TargetKind.CONTAINER:
            note = f"replaces the container {printable(target.reference)}: stop and remove that first"
            command = replace(command, notes=(*command.notes, note))
        return command

    def image_of(self, target: Target) -> str:
        """Return the image that the line names."""
        return self._line(replace(target, baked="")).image

    def bake(
        self,
        target: Target,
        directory: Path,
        dockerfile: Sequence[str],
        removed: Sequence[PurePosixPath],  # noqa: ARG002 - the lines say so as well
    ) -> Target:
        """Return a target that runs an image built from `target`'s by these lines."""
        base = self.image_of(target)
        run = new_run()
        # a name for the time of the build: not every builder takes an image by its id, and none must ask a registry
        source, name = f"localhost/lithify-bake:{run}-base", f"localhost/lithify-bake:{run}"
        marks = [word for label in labels(run) for word in ("--label", label)]
        with temporary_folder() as scratch:
            lines = scratch / "Dockerfile"
            lines.write_text("\n".join(dockerfile).replace("{base}", source) + "\n", encoding="utf-8")
            self._client.make("tag", base, source)
            try:
                words = ("build", "--quiet", "--tag", name, "--file", str(lines), *marks, str(directory))
                self._client.make(*words, timeout=600.0)
            finally:
                self._client.run("rmi", source)
        return replace(target, baked=name)

    def discard(self, target: Target) -> None:
        """Remove the image that `bake` made."""
        self._client.run("rmi", "--force", target.baked)

    def look(self, target: Target, plan: MountPlan) -> tuple[ImageFacts, EngineHost]:
        """Return what writing a plan into a line depends on: the image at the plan's places, and the host."""
        return self._facts(self._line(target), target.reference, plan.mounts), self._info.host

    def ports(self, target: Target) -> Mapping[int, int]:
        """Return the TCP ports that the user's line publishes, each with the container's port behind it."""
        return self._line(target).ports()

    def attach(self, reference: str) -> Container | None:
        """Return a container that already exists; nothing about it is changed."""
        known = self._client.inspect("container", reference)
        return CliContainer(self, self._client, known) if known else None

    def sweep(self) -> Sequence[str]:
        """Remove what lithify processes that are gone left in this engine."""
        swept = []
        kept = set()
        for known in self._labelled("ps", "--all", kind="container"):
            marks = known.get("Config", {}).get("Labels") or {}
            name = str(known.get("Name", "")).lstrip("/")
            if name.startswith(KEPT):
                kept.add(marks.get(RUN))
            elif is_abandoned(marks, local=self._info.local):
                self._client.remove(name)
                swept.append(f"{self.name} container {name}")
        volumes = {
            str(known["Name"]): known.get("Labels") or {} for known in self._labelled("volume", "ls", kind="volume")
        }
        for known in self._labelled("network", "ls", kind="network"):
            marks = known.get("Labels") or known.get("labels") or {}
            name = str(known.get("Name") or known.get("name"))
            rubbish = marks.get(RUN) not in kept and is_abandoned(marks, local=self._info.local)
            if rubbish and self._client.run("network", "rm", name).code == 0:
                swept.append(f"{self.name} network {name}")
        for known in self._labelled("images", kind="image"):
            marks = (known.get("Config") or {}).get("Labels") or {}
            name = str((known.get("RepoTags") or [known.get("Id")])[0])
            if is_abandoned(marks, local=self._info.local) and self._client.run("rmi", "--force", name).code == 0:
                swept.append(f"{self.name} image {name}")
        # What an overlay volume is made of is named after it, so that it comes later.
        for name in sorted(volumes):
            rubbish = volumes[name].get(RUN) not in kept and is_abandoned(volumes[name], local=self._info.local)
            if rubbish and self._client.run("volume", "rm", name).code == 0:
                swept.append(f"{self.name} volume {name}")
        return swept

    # What they are made of.

    @property
    def client(self) -> Client:
        """What asks the engine."""
        return self._client

    @property
    def is_local(self) -> bool:
        """Tell whether the engine's pids and paths are this host's."""
        return self._info.local

    @property
    def info(self) -> EngineInfo:
        """What the engine says of itself."""
        return self._info

    def facts(self, line: RunLine, reference: str, places: Iterable[Mount] = ()) -> ImageFacts:
        """Return an image's configuration with what `line` overrides, and an entry for each of `places` that it has."""
        return self._facts(line, reference, places)

    def views(self, prefix: str, marks: tuple[str, ...]) -> Views:
        """Return what makes stand-ins for the user's storage, each a volume or bind mount, named after `prefix`."""
        return self._views(prefix, marks, frozenset())

    def set_up_files(
        self, line: RunLine, image: ImageFacts, mounts: Iterable[Mount], prefix: str, marks: tuple[str, ...]
    ) -> tuple[LineMount, ...]:
        """Copy single files out of the image into volumes, and return the mounts that bring each to its place."""
        flags = self._flags(line, image, prefix, marks)
        for mount in mounts:
            flags.add_file(mount)
        self._set_up(RunCommand(command=(), setup=tuple(flags.setup)))
        before = {mount.path for mount in line.mounts()}
        return tuple(mount for mount in flags.line.mounts() if mount.path not in before)

    @cached_property
    def _info(self) -> EngineInfo:
        info = self._read_info()
        if info.system != "linux":
            raise EngineRefused(
                f"{self.name} runs {info.system} containers", hint="a read-only root is a matter of Linux containers"
            )
        return info

    def _line(self, target: Target) -> RunLine:
        """Return the run line of `target`; the engine that it talks to is ours from now on."""
        if target.line:
            line = parse_run_line(target.line)
        elif target.kind is TargetKind.CONTAINER:
            known = self._client.inspect("container", target.reference)
            if known is None:
                raise NothingToExamine(f"no {self.name} container {printable(target.reference)}")
            image = self._client.inspect("image", str(known.get("Image", ""))) or {}
            line = line_of_container(self.name, known, image)
        else:
            line = line_of_image(self.name, target.reference)
        line = _overridden(line, target)
        line = replace(line, image=target.baked) if target.baked else line
        client = Client.of(line)
        if client != self._client:
            self._client = client
            self.__dict__.pop("_info", None)
        return line

    def _facts(self, line: RunLine, reference: str, places: Iterable[Mount] = ()) -> ImageFacts:
        known = self._client.inspect("image", line.image)
        if known is None:
            raise NothingToExamine(
                f"no {self.name} image {printable(line.image)}", hint=f"get it first: {self.name} pull {line.image}"
            )
        if str(known.get("Os", "linux")) != "linux":
            raise EngineRefused(f"{printable(line.image)} is an image for {known.get('Os')}, not for Linux")
        self._info  # noqa: B018 - refuses engines of other systems
        facts = facts_of_image(line, known, line.image if reference == " ".join(line.words) else reference)
        view = self._look(self._client, str(known.get("Id") or line.image), facts.user, places)
        return replace(facts, uid=view.uid, gid=view.gid, has_shell=view.has_shell, entries=view.entries)

    def _rooted(self, line: RunLine, root: Root, *, planned: bool) -> RunLine:
        """Return the line with the root as asked; the flag alone is the engine's own, whatever comes with it."""
        if planned and root is Root.READ_ONLY:
            return line  # it says so already
        line = line.without("read-only")
        return line.adding("--read-only" if root is Root.READ_ONLY else "--read-only=false")

    def _set_up(self, command: RunCommand) -> None:
        for words in command.setup:
            with uninterrupted():
                self._client.expect(self._client.run_words(words, timeout=300.0))

    def _create(self, line: RunLine, name: str, run: str, prefix: str, volumes: tuple[str, ...]) -> "CliContainer":
        marks = tuple(word for label in labels(run) for word in ("--label", label))
        driver = ("--log-driver", "json-file" if self.name == "docker" else "k8s-file")
        words = (*line.option_words, "--pull=never", *driver, "--log-opt", f"max-size={_LOG_LIMIT}", line.image)
        self._client.make("create", "--name", name, *marks, *words, *line.command, timeout=300.0)
        known = self._client.inspect("container", name)
        if known is None:
            raise EngineRefused(f"{self.name} made a container and lost it", hint="does something clean up after it?")
        self._holders.update(volumes)
        asked = frozenset(mount.path for mount in line.mounts())
        return CliContainer(self, self._client, known, run=run, prefix=prefix, held=volumes, asked=asked)

    def hold(self, volumes: Sequence[str]) -> None:
        """Count one more that has these volumes; to be let go of by `release`."""
        self._holders.update(volumes)

    def release(self, volumes: Sequence[str]) -> None:
        """Let go of volumes; those that no container of ours has any more are removed."""
        self._holders.subtract(volumes)
        self._discard_volumes([name for name in volumes if self._holders[name] <= 0])

    def _discard_volumes(self, volumes: Sequence[str]) -> None:
        for name in reversed(volumes):
            self._client.run("volume", "rm", name)

    def _labelled(self, *words: str, kind: str) -> list[dict[str, Any]]:
        """Return what the engine knows of everything of a kind that bears our label."""
        listed = self._client.ask(*words, "--quiet", "--filter", f"label={RUN}").decode().split()
        found = (self._client.inspect(kind, name) for name in listed)
        return [known for known in found if known is not None]

    def layer_of(self, known: Mapping[str, Any], pid: int | None) -> UpperLayer | None:
        """Return the layers of a container, by its mount table while it runs."""
        if not self._info.local:
            return None
        if pid is None:
            return self._layer_at_rest(known)
        points = {mount.path for mount in read_mounts(pid)} - {PurePosixPath("/")}
        return root_overlay(pid, NOISE | points)


class CliContainer:
    """A container of an engine; one of the user's is only looked at."""

    def __init__(
        self,
        engine: CliEngine,
        client: Client,
        known: Mapping[str, Any],
        *,
        run: str | None = None,
        prefix: str = "",
        held: tuple[str, ...] = (),
        asked: frozenset[PurePosixPath] = frozenset(),
    ) -> None:
        self._engine = engine
        self._client = client
        self._id = str(known["Id"])
        self._name = str(known.get("Name", "")).lstrip("/") or self._id[:12]
        self._run = run
        self.prefix = prefix
        self.held = held
        self._asked = asked
        self.left: tuple[str, ...] = ()
        """Networks and containers of the user's that it was kept from."""
        self._layer: UpperLayer | None = None
        self._kept = False

    @property
    def name(self) -> str:
        """The engine's name for it."""
        return self._name

    @property
    def engine(self) -> str:
        """`docker` or `podman`."""
        return self._engine.name

    @property
    def cannot_show(self) -> tuple[str, ...]:
        """What it was kept from; else it is run as its user would run it."""
        if not self.left:
            return self._engine.info.leaves_open
        kept = f"it ran on a network of its own, without {', '.join(self.left)}: --join-networks lets it join"
        return (kept, *self._engine.info.leaves_open)

    def start(self) -> None:
        """Start it; EngineRefused, with the engine's words, where that fails."""
        self._own()
        self._client.ask("start", self._id)
        self.upper_layer()

    def pid(self) -> int | None:
        """Return the host's pid of its first process; None while it does not run, or where it runs elsewhere."""
        return self._pid(self._known())

    def _pid(self, known: Mapping[str, Any]) -> int | None:
        state = known.get("State") or {}
        pid = state.get("Pid")
        return pid if state.get("Running") and isinstance(pid, int) and pid > 0 and self._engine.is_local else None

    def exit_code(self) -> int | None:
        """Return its last exit code; None while it runs or was never started."""
        state = self._known().get("State") or {}
        if state.get("Running") or state.get("Status") in ("created", "configured", "initialized"):
            return None
        return int(state.get("ExitCode") or 0)

    def address(self) -> str | None:
        """Return an address at which the host reaches it, or who is in its network does."""
        known = self._known()
        alone = self._engine.info.secluded and self._pid(known) is not None
        return self._address(known, depth=2) or ("127.0.0.1" if alone else None)

    def call_in_network(self, function: Callable[[], Result], cancelled: Event | None = None) -> Result:
        """Return what `function` does where the container's address leads to it; Ended where it ends just now."""
        pid = self.pid() if self._engine.info.secluded else None
        return function() if pid is None else rootless.call_in_network(pid, function, cancelled)

    def stop(self, timeout: float) -> int:
        """Ask it to end, kill it after `timeout` seconds, return the exit code."""
        self._own()
        self._client.ask("stop", "-t", str(max(int(timeout), 0)), self._id, timeout=timeout + 60.0)
        code = self.exit_code()
        return 0 if code is None else code

    def kill(self) -> None:
        """End it by SIGKILL, and wait until it is gone."""
        self._own()
        if self._client.run("kill", self._id).code != 0:
            self._client.require()
        self._client.run("wait", self._id, timeout=60.0)

    def logs(self, limit: int = 1 << 20) -> bytes:
        """Return the last `limit` bytes that it wrote, both streams in order."""
        # A line has two bytes at least, so that no more of them than this are ever needed.
        return self._client.tail("logs", "--tail", str(max(limit // 2, 1)), self._id, limit=limit)

    def execute(self, command: Sequence[str], *, user: str | None = None, timeout: float = 30.0) -> Exit:
        """Run `command` inside; see `engines.base.Container`. What overstays goes with the container."""
        self._own()
        words = ("--user", user) if user else ()
        try:
            result = self._client.run("exec", *words, self._id, *command, timeout=timeout)
        except EngineUnreachable:
            self._client.require()
            return Exit(code=TIMED_OUT)
        code = result.code
        if code in _NOT_STARTED or (code != 0 and self.pid() is None):
            # Docker 20.10 says 126 where it means 127, and 1 where the container does not run.
            code = 127
        return Exit(code=code, output=result.stdout + result.stderr)

    def upper_layer(self) -> UpperLayer | None:
        """Return its overlay; once seen running it is known for as long as the container exists."""
        if self._layer is None:
            known = self._known()
            self._layer = self._engine.layer_of(known, self._pid(known))
        return self._layer

    def volumes(self) -> Mapping[PurePosixPath, Path]:
        """Return the directories of anonymous volumes that nobody but the image asked for."""
        known = self._known()
        image = self._client.inspect("image", str(known.get("Image", ""))) or {}
        declared = {PurePosixPath(path) for path in (image.get("Config") or {}).get("Volumes") or {}}
        found = {}
        for mount in known.get("Mounts") or []:
            path, name = PurePosixPath(mount.get("Destination", "")), str(mount.get("Name", ""))
            anonymous = mount.get("Type") == "volume" and len(name) == 64 and set(name) <= _HEX
            source = Path(mount.get("Source") or "/nowhere")
            if anonymous and mount.get("RW") and path in declared - self._asked and source.is_dir():
                found[path] = source
        return found if self._engine.is_local else {}

    def diff(self) -> Sequence[tuple[str, PurePosixPath]] | None:
        """Return what the engine says changed; poorer than the upper layer, but to be had without it."""
        result = self._client.run("diff", self._id)
        if result.code != 0:
            self._client.require()
            return None
        quiet = NOISE | {parent for path in NOISE for parent in path.parents}
        changes = []
        for line in result.stdout.decode("utf-8", "surrogateescape").splitlines():
            kind, _, path = line.partition(" ")
            if kind in ("A", "C", "D") and path.startswith("/") and PurePosixPath(path) not in quiet:
                changes.append((kind, PurePosixPath(path)))
        return changes

    def keep(self) -> None:
        """Leave it for a look, under a name that says so."""
        self._own()
        name = f"{KEPT}{self._name.removeprefix('lithify-')}"
        self._client.ask("rename", self._id, name)
        self._name = name
        self._kept = True

    def remove(self) -> None:
        """Remove it, its anonymous volumes, and the named ones that were made for it."""
        self._own()
        if self._kept:
            return
        result = self._client.remove(self._id)
        if result.code != 0 and self._client.inspect("container", self._id) is not None:
            self._client.expect(result)
        self._engine.release(self.held)
        self.held = ()

    def _known(self) -> Mapping[str, Any]:
        return self._client.inspect("container", self._id) or {}

    def _address(self, known: Mapping[str, Any], depth: int) -> str | None:
        settings = known.get("NetworkSettings") or {}
        mode = str((known.get("HostConfig") or {}).get("NetworkMode", ""))
        if mode == "host":
            return "127.0.0.1" if self._engine.is_local else None
        if mode.startswith("container:") and depth:
            other = self._client.inspect("container", mode.partition(":")[2])
            return self._address(other, depth - 1) if other else None
        networks = [settings, *(settings.get("Networks") or {}).values()]
        keys = ("IPAddress", "GlobalIPv6Address")
        return next((str(network[key]) for key in keys for network in networks if network.get(key)), None)

    def _own(self) -> None:
        if self._run is None:
            raise EngineRefused(
                f"{printable(self._name)} is a container of yours, to be looked at only",
                hint="lithify runs one of its own of the same image instead",
            )


def facts_of_image(line: RunLine, known: Mapping[str, Any], reference: str) -> ImageFacts:
    """Return an image's configuration with what `line` overrides; users are not looked up."""
    config = known.get("Config") or {}
    entrypoint, command = _words(config.get("Entrypoint")), _words(config.get("Cmd"))
    given = line.value("entrypoint")
    if given is not None:
        # An entrypoint on the line takes the image's command away.
        entrypoint, command = _entrypoint(given), ()
    variables = dict(text.partition("=")[::2] for text in config.get("Env") or [])
    for name, value in line.environment().items():
        variables[name] = os.environ.get(name, "") if value is None else value
    return ImageFacts(
        reference=reference,
        digest=str(known.get("Id") or "") or None,
        user=line.value("user") or str(config.get("User") or ""),
        working_directory=_path(line.value("workdir") or config.get("WorkingDir")) or PurePosixPath("/"),
        entrypoint=entrypoint,
        command=line.command or command,
        environment=variables,
        volumes=tuple(sorted(filter(None, map(_path, config.get("Volumes") or {})))),
        exposed=tuple(sorted(config.get("ExposedPorts") or {})),
        stop_signal=line.value("stop-signal") or str(config.get("StopSignal") or "SIGTERM"),
    )


def _words(value: object) -> tuple[str, ...]:
    """Return a command as engines write it: a list, one string, or nothing."""
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _entrypoint(text: str) -> tuple[str, ...]:
    listed = parse_json(text.encode("utf-8", "surrogateescape")) if text.startswith("[") else None
    return _words(listed if isinstance(listed, list) else text)


def _path(text: object) -> PurePosixPath | None:
    try:
        return container_path(os.path.normpath(str(text))) if text else None
    except ValueError:
        return None


def _overridden(line: RunLine, target: Target) -> RunLine:
    """Return the line with what `target` says beside it."""
    words: list[str] = []
    for flag, value in (
        ("user", target.user),
        ("workdir", target.working_directory),
        ("memory", target.memory),
        ("entrypoint", shlex.join(target.entrypoint) if target.entrypoint is not None else None),
    ):
        if value is not None and line.value(flag) is None:
            words.append(f"--{flag}={value}")
    set_already = line.environment()
    words += [f"--env={name}={value}" for name, value in target.environment.items() if name not in set_already]
    line = line.adding(*words)
    return line.with_command(target.command) if target.command and not line.command else line

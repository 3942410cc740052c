"""One service of a Compose project, run with the rest of the project around it.

Each container that the engine makes stands in a scratch project of its own: every service that `up` would start, under
other names, with views or copies of the user's storage, without published ports and without networks that others share.
Compose itself starts it, so that dependencies, health conditions, configs and secrets are what its user gets.
"""

import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from lithify.engines.base import Container, Published, Root, RunCommand
from lithify.engines.command_line.engine import CliContainer, CliEngine
from lithify.engines.command_line.runline import LineMount, MountKind, RunLine, mount_value, parse_run_line
from lithify.engines.compose.flags import giver_image, plan_service
from lithify.engines.compose.project import Project, Scratch, mounted_sources
from lithify.engines.ownership import KEPT, RUN, labels, new_run
from lithify.engines.process import TIMED_OUT, Result, run, uninterrupted
from lithify.errors import EngineRefused, EngineUnreachable, InvalidInput, LithifyError, NothingToExamine
from lithify.model.group import MemberPlan
from lithify.model.image import ImageFacts
from lithify.model.mount import Mount, MountPlan
from lithify.model.path import printable
from lithify.model.project import project_files
from lithify.model.run import Target

_PROGRAMS = (
    ("docker", ("docker", "compose")),
    ("docker", ("docker-compose",)),
    ("podman", ("podman", "compose")),
    ("podman", ("docker-compose",)),
    ("podman", ("docker", "compose")),
)
"""What runs Compose files, for which engine: Podman hands over to Docker's program, and so does its socket."""
_PLACE = PurePosixPath("/lithify")
"""Where a line that is never run mounts what needs a stand-in."""
_POLL = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeProgram:
    """What runs Compose files here, and for which engine."""

    engine: str
    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """What takes it to its engine."""

    def run(
        self, words: Sequence[str], *, text: bytes = b"", timeout: float = 120.0, directory: Path | None = None
    ) -> Result:
        """Run it; code 124 where it does not come to an end in time."""
        return run(
            (*self.words, *words),
            input=text,
            timeout=timeout,
            limit=1 << 26,
            directory=directory,
            environment=self.environment,
        )


def find_compose(engine: str | None) -> ComposeProgram:
    """Return what runs Compose files for `engine`, or for whichever there is; EngineUnreachable where none does."""
    tried = [(name, words) for name, words in _PROGRAMS if engine in (None, name)]
    for name, words in tried:
        environment = _way_to(name, words)
        if environment is not None and shutil.which(words[0]) and run((*words, "version"), timeout=30.0).code == 0:
            return ComposeProgram(engine=name, words=words, environment=environment)
    listed = ", ".join(dict.fromkeys(" ".join(words) for _, words in tried))
    raise EngineUnreachable(
        f"nothing here runs Compose files: tried {listed}",
        hint="is the engine running? its Compose plugin: https://docs.docker.com/compose/install/linux/",
    )


def _way_to(engine: str, words: Sequence[str]) -> dict[str, str] | None:
    """Return the variables with which a program reaches its engine; None where the engine is not there."""
    if not shutil.which(engine):
        return None
    if engine == "docker":
        return {} if run(("docker", "version", "--format", "{{.Server.Version}}"), timeout=30.0).code == 0 else None
    if words[0] == "podman":
        return {}
    told = run(("podman", "info", "--format", "{{.Host.RemoteSocket.Path}}"), timeout=30.0)
    socket = told.stdout.decode("utf-8", "surrogateescape").strip().removeprefix("unix://")
    return {"DOCKER_HOST": f"unix://{socket}"} if told.code == 0 and os.path.exists(socket) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeFile:
    """The user's project as it lies in files."""

    path: Path
    text: bytes
    """What the file at `path` says, or what it would say once patched."""
    overrides: tuple[Path, ...] = ()
    """What is merged over it: `compose.override.yaml`."""

    @property
    def directory(self) -> Path:
        """The directory that relative paths and `.env` are looked for in."""
        return self.path.absolute().parent

    def read(self, program: ComposeProgram) -> Project:
        """Return the project as Compose resolves it; InvalidInput, in Compose's words, where it does not."""
        text = self._ask(program, "--profile=*", "config", "--format=json")
        active = self._ask(program, "config", "--services").decode("utf-8", "surrogateescape").split()
        return Project.of(text, active, program.engine)

    def _ask(self, program: ComposeProgram, *words: str) -> bytes:
        # From standard input, so that a patched text need not be written down to be run.
        files = [word for file in self.overrides for word in ("--file", str(file))]
        start = ["--project-directory", str(self.directory), "--file", "-", *files]
        result = program.run([*start, *words], text=self.text or b"\n", directory=self.directory)
        if result.code == TIMED_OUT:
            raise EngineUnreachable(
                f"{' '.join(program.words)} gave no answer on {printable(str(self.path))}",
                hint="does the file include something that is not on this host?",
            )
        if result.code != 0:
            raise InvalidInput(
                f"{printable(str(self.path))}: {' '.join(program.words)} can't read it: {printable(result.message)}",
                hint=f"see what `{' '.join(program.words)} -f {printable(str(self.path))} config` says",
            )
        return result.stdout


@dataclass
class ComposeEngine:
    """Runs one service of a project, which its target names (the member), with the others around it."""

    base: CliEngine
    program: ComposeProgram
    file: ComposeFile
    project: Project
    others: Mapping[str, MemberPlan] = field(default_factory=dict)
    """Services that run as planned beside the member."""
    as_it_stands: bool = False
    """The member too runs as the file has it, whatever root is asked for."""
    copier: str = ""
    """The image that gives volumes to users where a service's own can't (`giver_image`)."""
    patience: float = 120.0
    """Seconds that what the member needs may take to be ready."""

    @property
    def name(self) -> str:
        """`docker` or `podman`."""
        return self.base.name

    def read_image(self, target: Target) -> ImageFacts:
        """Return the configuration of the member's image with what the service overrides."""
        return self._facts(target.reference)

    def read_places(self, target: Target, places: Iterable[Mount]) -> ImageFacts:
        """Return the same with an entry for each of `places` that the image has, and for what is below."""
        return self._facts(target.reference, places)

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
        """Make a scratch project with the member in it; with `storage` a new member in the project of that one."""
        if isinstance(storage, ComposeContainer):
            return storage.replacement()
        self.base.insist_on_addresses()
        running = Running(self, target.reference, new_run(), purpose)
        try:
            running.make(root, plan, idle=idle)
        except BaseException:
            with suppress(LithifyError), uninterrupted():
                running.discard()
            raise
        return running.container()

    def storage(self) -> Path | None:
        """Return a directory on the filesystem that holds upper layers."""
        return self.base.storage()

    def render(self, target: Target, plan: MountPlan) -> RunCommand:
        """Return what starts the service once the plan is in its file."""
        member = target.reference
        facts = self._facts(member, plan.mounts)
        giver = giver_image(self.project.service(member), facts, self.copier)
        planned = plan_service(self.project.line(member), facts, plan, giver=giver)
        files = [word for file in (self.file.path, *self.file.overrides) for word in ("--file", str(file))]
        return RunCommand(
            command=(*self.program.words, *files, "up", "--detach", member),
            notes=("once the patch is in the file", *planned.notes),
        )

    def ports(self, target: Target) -> Mapping[int, int]:
        """Return the TCP ports that the service publishes, each with its own port behind it."""
        return self.project.ports(target.reference)

    def attach(self, reference: str) -> Container | None:
        """Return a container of the engine that already exists."""
        return self.base.attach(reference)

    def sweep(self) -> Sequence[str]:
        """Remove what lithify processes that are gone left in the engine, scratch projects included."""
        return self.base.sweep()

    def _facts(self, service: str, places: Iterable[Mount] = ()) -> ImageFacts:
        line = self.project.line(service)
        try:
            return self.base.facts(line, line.image, places)
        except NothingToExamine as error:
            built = not self.project.service(service).get("image")
            get = "build" if built else "pull"
            error.hint = f"get it first: {' '.join(self.program.words)} -f {self.file.path} {get} {service}"
            raise

    def require_images(self, services: Iterable[str]) -> None:
        """Raise NothingToExamine where an image of a service is not there; nothing is pulled or built."""
        for service in sorted(services):
            self._facts(service)


class Running:
    """A scratch project in the engine; goes when the last of those who hold it lets go."""

    def __init__(self, engine: ComposeEngine, member: str, run: str, purpose: str) -> None:
        self.engine = engine
        self.member = member
        self.services = engine.project.together_with(member)
        self.client = engine.base.client
        self.run = run
        self.name = f"lithify-{run}-{purpose}"
        self.marks = labels(run)
        self.notes: list[str] = []
        self.holders = 0
        self.kept = False
        self.asked: frozenset[PurePosixPath] = frozenset()
        self._started = False
        self._scratch = Scratch(project=engine.project, name=self.name, labels={})

    # Made, before anything runs.

    def make(self, root: Root, plan: MountPlan | None, *, idle: bool) -> None:
        """Make the containers, networks and volumes; nothing is started."""
        engine = self.engine
        member = self.member
        engine.require_images(self.services)
        marks = dict(mark.split("=", 1) for mark in self.marks)
        scratch = Scratch.of(engine.project, self.name, marks, {member} if idle else self.services)
        self._scratch = scratch
        service = scratch.services[member]
        service["restart"] = "no"
        if idle:
            _idle(service)
        self._replace_storage(scratch)
        for name, planned in engine.others.items():
            if name in scratch.services and name != member:
                self._apply(scratch, name, planned.plan)
        if not engine.as_it_stands:
            if plan is not None:
                self._apply(scratch, member, plan)
            service["read_only"] = root is Root.READ_ONLY
        self.asked = frozenset(
            PurePosixPath(str(volume.get("target"))) for volume in scratch.services[member].get("volumes") or ()
        )
        self.notes = [*scratch.notes, *(_left_out(name) for name in sorted(engine.project.left_out_with(member)))]
        with uninterrupted():
            self._compose(["up", "--no-start", "--no-build", "--quiet-pull"], timeout=300.0)

    def _replace_storage(self, scratch: Scratch) -> None:
        """Put a view or copy in the place of each bind mount and named volume that some service may write to."""
        self._keep_volume_kinds(scratch)
        written: dict[tuple[str, str], bool] = {}
        for volume, writes in mounted_sources(scratch.services):
            key = (str(volume["type"]), str(volume["source"]))
            written[key] = writes or written.get(key, False)
        keys = [key for key in written if key not in (("volume", name) for name in scratch.volumes)]
        line = self._line_of(keys, written)
        views = self.engine.base.views(f"{self.name}-", self.marks)
        made = {mount.path: mount for mount in views.replace(line).mounts()}
        for index, key in enumerate(keys):
            self._use(scratch, key, made[_PLACE / str(index)])

    def _keep_volume_kinds(self, scratch: Scratch) -> None:
        """Take over volumes that hold nothing of the user's: those in memory."""
        for key, known in self.engine.project.tables["volumes"].items():
            options = (known or {}).get("driver_opts") or {}
            if options.get("type") == "tmpfs":
                scratch.add_volume(key, options)
            elif options or (known or {}).get("driver", "local") != "local":
                used = any(v["type"] == "volume" and v["source"] == key for v, _ in mounted_sources(scratch.services))
                if used and self.client.inspect("volume", str(known.get("name", key))) is None:
                    raise EngineRefused(
                        f"the volume {printable(key)} is not a plain one, so that no view of it can be made",
                        hint="try it with a plain volume in its place",
                    )

    def _line_of(self, keys: Sequence[tuple[str, str]], written: Mapping[tuple[str, str], bool]) -> RunLine:
        """Return a line that mounts each of `keys`; what the engine makes for lines is made for this one."""
        words = [self.engine.name, "run"]
        volumes = self.engine.project.tables["volumes"]
        for index, (kind, source) in enumerate(keys):
            if kind == "volume":
                source = str((volumes.get(source) or {}).get("name") or source)
            fields = [f"type={kind}", f"src={source}", f"dst={_PLACE / str(index)}"]
            read_only = [] if written[kind, keys[index][1]] else ["readonly"]
            words.append(f"--mount={mount_value(*fields, *read_only)}")
        return parse_run_line([*words, "--", self.engine.project.image(self.member)])

    def _use(self, scratch: Scratch, key: tuple[str, str], mount: LineMount) -> None:
        """Have every service that mounts `key` mount what stands in for it."""
        kind, source = key
        if kind == "volume":
            scratch.volumes[source] = {"name": mount.source, "external": True}
            return
        if mount.kind is MountKind.VOLUME:
            scratch.volumes[mount.source] = {"name": mount.source, "external": True}
        for volume, _ in mounted_sources(scratch.services):
            if (volume["type"], volume["source"]) != key:
                continue
            volume["source"] = mount.source
            if mount.kind is MountKind.VOLUME:
                volume.pop("bind", None)
                volume |= {"type": "volume", "volume": {"nocopy": True}}

    def _apply(self, scratch: Scratch, name: str, plan: MountPlan) -> None:
        """Make a service read-only as planned, in the words in which the patch says it."""
        engine = self.engine
        line = engine.project.line(name)
        facts = engine.base.facts(line, line.image, plan.mounts)
        giver = giver_image(engine.project.service(name), facts, engine.copier)
        planned = plan_service(line, facts, plan, giver=giver)
        if planned.arguments:
            command = list(line.command or facts.command)
            for index, word in planned.arguments.items():
                command[index : index + 1] = [word]
            scratch.services[name]["command"] = command
        scratch.plan(name, planned)
        if planned.files:
            prefix = f"{self.name}-"
            for mount in engine.base.set_up_files(line, facts, planned.files, prefix, self.marks):
                bind = {"type": "bind", "source": mount.source, "target": str(mount.path)}
                scratch.services[name].setdefault("volumes", []).append(bind)

    # Run.

    def start(self) -> bool:
        """Start the project: what the member needs, the member, then what needs it; False where that was done."""
        if self._started:
            return False
        self._started = True
        member, scratch = self.member, self._scratch
        self._compose(["up", "--detach", "--no-recreate", "--no-build", member], timeout=self.engine.patience)
        needed = self.engine.project.needed_by(member)
        rest = sorted(scratch.services.keys() & self.services - needed - {member})
        if rest and self._is_ready_for(rest):
            # The member may have died of a plan: nothing may start it again.
            words = ["up", "--detach", "--no-recreate", "--no-build", *rest]
            try:
                self._compose(words, timeout=self.engine.patience, without=member)
            except EngineRefused as refused:
                self.notes.append(f"not all that runs beside it came up: {refused}")
        return True

    def _is_ready_for(self, rest: Sequence[str]) -> bool:
        """Wait for the member as those who need it do; tell whether they are to be started."""
        services = self._scratch.services
        hows = [(services[name].get("depends_on") or {}).get(self.member) for name in rest]
        conditions = {how.get("condition") for how in hows if how}
        end = time.monotonic() + self.engine.patience
        while time.monotonic() < end:
            state = (self.client.inspect("container", self.container_name) or {}).get("State") or {}
            health = (state.get("Health") or {}).get("Status", "healthy")
            if "service_completed_successfully" in conditions and not state.get("Running"):
                return state.get("ExitCode") == 0
            if not state.get("Running") or health == "unhealthy":
                return not conditions
            if "service_completed_successfully" not in conditions and (
                health == "healthy" or "service_healthy" not in conditions
            ):
                return True
            time.sleep(_POLL)
        return False

    def replace_member(self) -> None:
        """Have the member's container replaced by a new one, as a new version would be; volumes stay."""
        with uninterrupted():
            self.client.remove(self.container_name)
            self._compose(["up", "--no-start", "--no-build", "--no-deps", self.member], timeout=300.0)

    @property
    def container_name(self) -> str:
        """What the member's container is called."""
        return self._scratch.container(self.member)

    def container(self) -> "ComposeContainer":
        """Return the member's container as it is now; whoever asks holds the project until it removes that."""
        known = self.client.inspect("container", self.container_name)
        if known is None:
            raise EngineRefused(f"{self.engine.name} made a container and lost it", hint="does something clean up?")
        self.holders += 1
        return ComposeContainer(self, known)

    def addresses(self) -> dict[str, str]:
        """Return at which address the host reaches each service."""
        found = {}
        for name in self._scratch.services:
            made = self._made(name)
            address = made.address() if made else None
            if address:
                found[name] = address
        return found

    def exit_code(self, name: str) -> int | None:
        """Return with what a service of the copy ended; None where it runs, or was not started."""
        made = self._made(name)
        return made.exit_code() if made else None

    def _made(self, name: str) -> CliContainer | None:
        known = self.client.inspect("container", self._scratch.container(name))
        return CliContainer(self.engine.base, self.client, known) if known else None

    # Removed.

    def release(self) -> None:
        """Let go of the project."""
        self.holders -= 1
        if self.holders <= 0 and not self.kept:
            self.discard()

    def keep(self) -> str:
        """Leave the project for a look; return what the member's container is called now."""
        if not self.kept:
            self.kept = True
            for name in self._listed("ps", "--all", "--format", "{{.Names}}"):
                self.client.ask("rename", name, f"{KEPT}{name.removeprefix('lithify-')}")
        return f"{KEPT}{self.container_name.removeprefix('lithify-')}"

    def discard(self) -> None:
        """Remove everything that was made for it."""
        containers = self._listed("ps", "--all", "--quiet")
        for container in containers:
            result = self.client.remove(container)
            if result.code != 0 and self.client.inspect("container", container) is not None:
                self.client.expect(result)
        for network in self._listed("network", "ls", "--quiet"):
            self.client.run("network", "rm", network)
        # What an overlay volume is made of is named after it, so that it comes later.
        for volume in sorted(self._listed("volume", "ls", "--quiet")):
            self.client.run("volume", "rm", volume)

    def _listed(self, *words: str) -> list[str]:
        return self.client.ask(*words, "--filter", f"label={RUN}={self.run}").decode().split()

    def _compose(self, words: Sequence[str], *, timeout: float, without: str = "") -> None:
        """Run Compose on the scratch project; EngineRefused, in its words, where it fails."""
        program = self.engine.program
        directory = self.engine.file.directory
        start = ["--project-name", self.name, "--project-directory", str(directory), "--file", "-"]
        text = self._scratch.render(without=without)
        result = program.run(["--progress", "plain", *start, *words], text=text, timeout=timeout, directory=directory)
        if result.code == TIMED_OUT:
            self.client.require()
            raise EngineRefused(
                f"what {printable(self.member)} needs was not ready within {timeout:g} s",
                hint="look at the health checks of the services that it depends on, or give more time with --timeout",
            )
        if result.code != 0:
            self.client.require()
            raise EngineRefused(
                f"{' '.join(program.words)} refused: {printable(_own_words(result.message, self.name))}",
                hint="see what it says",
            )


class ComposeContainer(CliContainer):
    """The member's container; what else runs in its project comes and goes with it."""

    def __init__(self, running: Running, known: Mapping[str, Any]) -> None:
        super().__init__(running.engine.base, running.client, known, run=running.run, asked=running.asked)
        self._running = running

    @property
    def cannot_show(self) -> tuple[str, ...]:
        """What of the user's project was not there."""
        return tuple(dict.fromkeys(self._running.notes))

    def start(self) -> None:
        """Start the project the first time, and only the member again."""
        if not self._running.start():
            super().start()
        self.upper_layer()

    def beside(self) -> Mapping[str, str]:
        """Return at which address the host reaches each service, the member's included."""
        return self._running.addresses()

    def published(self, port: int) -> Published | None:
        """Return where the host reaches what the user's project publishes as `port`; None where it publishes none."""
        project, beside = self._running.engine.project, self.beside()
        publishers = [name for name in self._running.services if port in project.ports(name)]
        if not publishers:
            return None
        name = min(publishers, key=lambda name: (name not in beside, name))
        ended = None if name in beside else self._running.exit_code(name)
        return Published(service=name, address=beside.get(name), port=project.ports(name)[port], ended=ended)

    def replacement(self) -> "ComposeContainer":
        """Return a new container of the member in the same project; this one is gone then."""
        self._running.replace_member()
        return self._running.container()

    def keep(self) -> None:
        """Leave the whole project for a look."""
        self._name = self._running.keep()
        self._kept = True

    def remove(self) -> None:
        """Remove it, with the project once nobody holds that any more."""
        if not self._kept:
            self._running.release()


def _left_out(service: str) -> str:
    return f"service {service} did not run beside it: it reaches the engine's socket, or needs one that does"


def _idle(service: dict[str, Any]) -> None:
    """Have a service do nothing, by itself."""
    service |= {"entrypoint": ["sleep"], "command": ["86400"], "healthcheck": {"disable": True}, "depends_on": {}}
    for key in ("links", "volumes_from", "ipc", "pid"):
        service.pop(key, None)
    if "network_mode" in service:  # without it Compose would make a network that bears no mark of ours
        service["network_mode"] = "none"


def _own_words(text: str, name: str) -> str:
    """Return the last thing that Compose said, with the services called as the user calls them."""
    lines = [line for line in text.replace(f"{name}-", "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it says nothing"


def default_overrides(path: Path) -> tuple[Path, ...]:
    """Return the override file that Compose reads by itself with `path`, if there is one."""
    default, override = project_files(lambda name: path.with_name(name).exists())
    return (path.with_name(override),) if path.name == default and override else ()

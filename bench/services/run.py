"""One container of a service on one engine, as the measure runs it: by its own hand, whatever lithify says."""

import os
import subprocess
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.services.build import Built, load
from bench.services.service import HERE, Service

if TYPE_CHECKING:
    from lithify.engines.base import Container
    from lithify.model.mount import MountPlan

LABEL = "dev.lithify.bench"
PATIENCE = 120.0
"""Seconds that an engine has for anything it is asked."""
WORDS = 400
"""Characters of an engine's complaint that the table shows."""
os.environ.setdefault("CONTAINERS_CONF", str(HERE / "containers.conf"))


class Run(Protocol):
    """A container that exists, and may run."""

    @property
    def service(self) -> Service:
        """What it is a container of."""

    @property
    def engine(self) -> str:
        """`bundle`, `docker` or `podman`."""

    @property
    def name(self) -> str:
        """What the engine calls it."""

    def start(self) -> str:
        """Start it; return the engine's words where it would not, else nothing."""

    def pid(self) -> int | None:
        """Return the pid of its first process, None while it does not run."""

    def address(self) -> str:
        """Return its IP address, nothing where it has none."""

    def kill(self) -> None:
        """End it by SIGKILL."""

    def log(self) -> str:
        """Return what it printed."""


@dataclass
class EngineRun:
    """A container of Docker or Podman, made by the engine's own command."""

    service: Service
    engine: str
    name: str
    command: Sequence[str]
    """The whole run line, the program first."""
    exists: bool = False

    def start(self) -> str:
        """Make it, or start it again."""
        if self.exists:
            return self._ask("start", self.name)[1]
        self.exists = True
        at = list(self.command).index("run") + 1
        extra = ["--detach", "--name", self.name, "--label", LABEL]
        return self._call([*self.command[:at], *extra, *self.command[at:]])[1]

    def pid(self) -> int | None:
        """Return the pid of its first process."""
        return int(self._inspect("{{.State.Pid}}") or 0) or None

    def address(self) -> str:
        """Return its address on the engine's bridge."""
        networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}{{.NetworkSettings.IPAddress}}"
        return next(iter(self._inspect(networks).split()), "")

    def kill(self) -> None:
        """End it by SIGKILL, and wait until it is gone."""
        self._ask("kill", self.name)
        self._ask("wait", self.name)

    def log(self) -> str:
        """Return what it printed."""
        done = subprocess.run(
            [self.engine, "logs", self.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        return done.stdout.decode(errors="replace")

    def remove(self) -> None:
        """Remove it with its anonymous volumes; named ones stay."""
        at_once = ["--time", "0"] if self.engine == "podman" else []
        self._ask("rm", "--force", *at_once, "--volumes", self.name)

    def _inspect(self, template: str) -> str:
        return self._ask("container", "inspect", "--format", template, self.name)[0].strip()

    def _ask(self, *words: str) -> tuple[str, str]:
        return self._call([self.engine, *words])

    def _call(self, command: Sequence[str]) -> tuple[str, str]:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
        words = " ".join(done.stderr.decode(errors="replace").split()) or f"exit code {done.returncode}"
        return done.stdout.decode(errors="replace"), words[:WORDS] if done.returncode else ""


@dataclass
class BundleRun:
    """A container of the bundle engine, which has no command of its own: lithify's engine makes it."""

    service: Service
    container: "Container"
    engine: str = field(default="bundle", init=False)

    @property
    def name(self) -> str:
        """What the engine calls it."""
        return self.container.name

    def start(self) -> str:
        """Start it."""
        from lithify.errors import EngineRefused

        try:
            self.container.start()
        except EngineRefused as refused:
            return str(refused)
        return ""

    def pid(self) -> int | None:
        """Return the pid of its first process."""
        return self.container.pid()

    def address(self) -> str:
        """Return its address."""
        return self.container.address() or ""

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.container.kill()

    def log(self) -> str:
        """Return what it printed."""
        return self.container.logs().decode(errors="replace")


def run_line(service: Service, engine: str, options: Sequence[str] = ()) -> list[str]:
    """Return the line that a person starts the service with on Docker or Podman."""
    memory = [] if service.memory is None else ["--memory", str(service.memory)]
    return [engine, "run", *memory, *options, service.image]


@contextmanager
def engine_run(service: Service, command: Sequence[str]) -> Iterator[EngineRun]:
    """Yield a container of a run line, not started; it goes at the end, its named volumes stay."""
    name = f"lithify-bench-{service.name}-{uuid.uuid4().hex[:8]}"
    run = EngineRun(service=service, engine=Path(command[0]).name, name=name, command=command)
    try:
        yield run
    finally:
        run.remove()


@contextmanager
def bundle_runs(
    built: Built, plan: "MountPlan | None", number: int, *, read_only: bool
) -> Iterator[Iterator[BundleRun]]:
    """Yield `number` containers one after the other, each with the volumes of the first; all go at the end."""
    from lithify.engines.base import Root
    from lithify.engines.bundle.engine import BundleEngine
    from lithify.model.run import Target, TargetKind

    engine = BundleEngine()
    target = Target(kind=TargetKind.LAYOUT, engine="bundle", reference=str(built.layout), memory=built.service.memory)
    made: list[Container] = []

    def containers() -> Iterator[BundleRun]:
        for _ in range(number):
            root = Root.READ_ONLY if read_only else Root.WRITABLE
            first = made[0] if made else None
            made.append(engine.create(target, root=root, plan=plan, purpose="bench", storage=first))
            yield BundleRun(service=built.service, container=made[-1])
            made[-1].kill()

    try:
        yield containers()
    finally:
        for container in reversed(made):
            container.remove()


@contextmanager
def runs(
    built: Built,
    engine: str,
    options: Sequence[str],
    plan: "MountPlan | None",
    *,
    number: int = 1,
    read_only: bool = True,
) -> Iterator[Iterator[Run]]:
    """Yield `number` containers of a service, one after the other, with the same volumes.

    `options` are those of a run line, `plan` is for the bundle engine, which has none.
    """
    if engine == "bundle":
        with bundle_runs(built, plan, number, read_only=read_only) as containers:
            yield containers
    else:
        flags = [*(["--read-only"] if read_only else []), *options]
        load(built, engine)
        with line_runs(built.service, run_line(built.service, engine, flags), number) as containers:
            yield containers


@contextmanager
def line_runs(service: Service, line: Sequence[str], number: int) -> Iterator[Iterator[Run]]:
    """Yield `number` containers of a run line, each gone before the next comes."""

    def containers() -> Generator[Run, None, None]:
        for _ in range(number):
            with engine_run(service, line) as run:
                yield run

    with closing(containers()) as made:
        yield made


def environment(run: Run, *, marker: bool) -> dict[str, str]:
    """Return what exercises and checks are told."""
    return {
        **os.environ,
        "LITHIFY_CONTAINER": run.name,
        "LITHIFY_ENGINE": run.engine,
        "LITHIFY_PID": str(run.pid() or 0),
        "LITHIFY_ADDRESS": run.address(),
        "LITHIFY_EXPECT_MARKER": str(int(marker)),
    }


def drive(run: Run, program: Path, *, marker: bool = False) -> str:
    """Run an exercise or a check; return nothing where it succeeds, else its last words."""
    limit = run.service.timeout
    try:
        done = subprocess.run(
            [program, run.name],
            env=environment(run, marker=marker),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{program.name}: not done after {limit:g} s"
    lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return f"{program.name}: {lines[-1] if lines else done.returncode}" if done.returncode else ""


def live(run: Run) -> str:
    """Start it, exercise it, check it, kill it, start it again and check again; return what first went wrong."""
    service = run.service
    words = run.start() or drive(run, service.exercise) or drive(run, service.check, marker=True)
    if words:
        return words
    run.kill()
    words = run.start() or drive(run, service.check, marker=True)
    return f"after a restart: {words}" if words else ""


def live_next(run: Run) -> str:
    """Start a container that takes over what an earlier one left, and check for it; return what went wrong."""
    words = run.start() or drive(run, run.service.check, marker=True)
    return f"in the next container: {words}" if words else ""

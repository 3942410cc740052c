"""Runs a service straight on an engine, without lithify: `python -m bench.services.direct [--read-only] [NAME...]`.

This is the measure's own hand: it says what is true of a service before lithify has a word, and tries afterwards what
lithify says should work.
"""

import argparse
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.services.build import build, load
from bench.services.service import HERE, Service, read_services

LABEL = "dev.lithify.bench"
os.environ.setdefault("CONTAINERS_CONF", str(HERE / "containers.conf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run of a service went."""

    works: bool
    reason: str
    """Nothing where it works; else what failed first, in its own words."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A container of a service on Docker or Podman."""

    service: Service
    engine: str
    name: str
    refused: str
    """What the engine said where it would not start it."""

    def ask(self, template: str) -> str:
        """Return what the engine's `inspect` says."""
        command = [self.engine, "container", "inspect", "--format", template, self.name]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def environment(self, marker: bool) -> dict[str, str]:
        """Return what exercises and checks are told."""
        template = (
            "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}{{.NetworkSettings.IPAddress}}"
        )
        pid, *addresses = self.ask(template).split() or ["0"]
        return {
            **os.environ,
            "LITHIFY_CONTAINER": self.name,
            "LITHIFY_ENGINE": self.engine,
            "LITHIFY_PID": pid,
            "LITHIFY_ADDRESS": addresses[0] if addresses else "",
            "LITHIFY_EXPECT_MARKER": str(int(marker)),
        }

    def drive(self, program: Path, *, marker: bool = False) -> str:
        """Run an exercise or a check and return nothing where it succeeds, else its last words."""
        try:
            done = subprocess.run(
                [program, self.name],
                env=self.environment(marker),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.service.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{program.name}: not done after {self.service.timeout:g} s"
        lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        return f"{program.name}: {lines[-1] if lines else done.returncode}" if done.returncode else ""

    def again(self) -> None:
        """Kill it and start the same container again."""
        subprocess.run([self.engine, "kill", self.name], capture_output=True, check=False)
        subprocess.run([self.engine, "start", self.name], capture_output=True, check=False)

    def log(self) -> str:
        """Return what it printed."""
        done = subprocess.run(
            [self.engine, "logs", self.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        return done.stdout.decode(errors="replace")


def run_options(service: Service) -> list[str]:
    """Return the options of a `run` line that belong to the service itself."""
    return [] if service.memory is None else ["--memory", str(service.memory)]


@contextmanager
def running(service: Service, engine: str, options: Sequence[str] = ()) -> Iterator[Running]:
    """Start a container of the service; it goes, with its anonymous volumes, at the end."""
    name = f"lithify-bench-{service.name}-{uuid.uuid4().hex[:8]}"
    command = [
        engine,
        "run",
        "--detach",
        "--name",
        name,
        "--label",
        LABEL,
        *run_options(service),
        *options,
        service.image,
    ]
    try:
        started = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        words = started.stderr.decode(errors="replace").strip() if started.returncode else ""
        yield Running(service=service, engine=engine, name=name, refused=words)
    finally:
        at_once = ["--time", "0"] if engine == "podman" else []
        subprocess.run([engine, "rm", "--force", *at_once, "--volumes", name], capture_output=True, check=False)


def first_failure(container: Running, *, again: bool) -> str:
    """Exercise and check the container, with `again` also after a kill and a start of the same container."""
    service = container.service
    if container.refused:
        return container.refused.splitlines()[-1]
    words = container.drive(service.exercise) or container.drive(service.check, marker=True)
    if words or not again:
        return words
    container.again()
    words = container.drive(service.check, marker=True)
    return f"after a restart: {words}" if words else ""


def try_service(
    service: Service, engine: str, options: Sequence[str] = (), *, again: bool = True
) -> tuple[Outcome, str]:
    """Run a service with options of the engine and return how it went, and its log."""
    started = time.monotonic()
    with running(service, engine, options) as container:
        words = first_failure(container, again=again)
        log = container.log()
    return Outcome(works=not words, reason=words, seconds=time.monotonic() - started), log


def main() -> int:
    """Try the services named, or all, and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m bench.services.direct", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="service (default: all)")
    parser.add_argument("--engine", default="docker", choices=("docker", "podman"))
    parser.add_argument("--read-only", action="store_true", help="with the flag, and nothing else")
    parser.add_argument("--option", action="append", default=[], help="further option of the engine's run command")
    parser.add_argument("--log", action="store_true", help="show the container's log where it fails")
    options = parser.parse_args()
    flags = [*(["--read-only"] if options.read_only else []), *options.option]
    failed = 0
    for service in read_services(tuple(options.names)):
        load(build(service), options.engine)
        outcome, log = try_service(service, options.engine, flags)
        failed += not outcome.works
        word = "works" if outcome.works else "fails"
        print(f"{service.name:14} {word}  {outcome.seconds:5.1f} s  {outcome.reason}", flush=True)
        if options.log and not outcome.works:
            print("    " + "\n    ".join(log.splitlines()[-40:]))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

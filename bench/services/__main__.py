"""Hardens the services and prints what came of it: `python -m bench.services [--engine ...] [--only NAME]`.

Two rows for each service and engine: lithify's plan, and the naive one (every directory that the layer names, on a
volume that starts with what the image has there). What a row says of works, refused and state is tried here, with
containers of the measure's own, and not taken from lithify's report.
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from bench.here import trouble
from bench.services.build import Built, build
from bench.services.hardened import SOURCE, Hardened, harden
from bench.services.places import (
    Place,
    accepting_directories,
    cost,
    naive_places,
    planned_places,
    state_under,
    writable_and_executable,
)
from bench.services.run import Run, line_runs, live, live_next, runs
from bench.services.service import Service, read_services
from lithify.engines.temporary import temporary_folder

if TYPE_CHECKING:
    from lithify.model.mount import MountPlan

SCHEMA = "lithify.dev/bench-services/v1"
ENGINES = ("bundle", "docker", "podman")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What containers of a plan showed."""

    works: bool
    state_safe: bool | None
    """What the exercise left is there in the next container; None for a service that keeps nothing."""
    executable: int | None
    """Places that can be written and run programs from; None where nothing ran."""
    accepting: tuple[str, ...]
    """Directories outside the places that took a file."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    service: str
    engine: str
    plan: str
    """`lithify` or `naive`."""
    flag_alone: bool
    works: bool | None = None
    proved: bool | None = None
    places: int | None = None
    needed: int | None = None
    kept: int | None = None
    refused: bool | None = None
    state_safe: bool | None = None
    rounds: int | None = None
    starts: int | None = None
    seconds: float | None = None
    entries: int | None = None
    executable: int | None = None
    system: int | None = None
    dying: int | None = None
    memory: int | None = None
    paths: tuple[str, ...] = ()
    reason: str = ""


COLUMNS = {
    "service": "SERVICE",
    "engine": "ENGINE",
    "plan": "PLAN",
    "flag_alone": "FLAG ALONE",
    "works": "WORKS",
    "proved": "PROVED",
    "places": "PLACES",
    "needed": "NEEDED",
    "kept": "STATE KEPT",
    "refused": "REST REFUSED",
    "state_safe": "STATE SAFE",
    "rounds": "ROUNDS",
    "starts": "STARTS",
    "seconds": "SECONDS",
    "entries": "ENTRIES",
    "executable": "EXEC",
    "system": "SYSTEM/CODE",
    "dying": "DYING STATE",
    "memory": "MEMORY",
}
LEGEND = """\
FLAG ALONE    works read-only with nothing else          NEEDED      places without which the drop-test saw it fail
WORKS         works with this plan, after a restart too  STATE KEPT  places that hold state, and were not dropped
REST REFUSED  no other directory took a file             STATE SAFE  the marker is there in the next container
ENTRIES       image entries made writable or hidden      EXEC        places both writable and executable
SYSTEM/CODE   places in /etc, /usr or that hold code     DYING STATE directories of state on what dies with it
MEMORY        bytes reserved (MiB)"""


def measured(service: Service, engine: str, work: Path) -> Iterator[Row]:
    """Yield the rows of `measure`; what breaks it off is the reason of the last, so that the others get theirs."""
    try:
        yield from measure(service, engine, work)
    except Exception as error:
        reason = f"broken off: {type(error).__name__}: {error}"
        yield Row(service=service.name, engine=engine, plan="lithify", flag_alone=False, works=False, reason=reason)


def measure(service: Service, engine: str, work: Path) -> Iterator[Row]:
    """Yield lithify's row and the naive plan's."""
    built = build(service)
    flag = try_flag_alone(built, engine)
    prefix = f"lithify-bench-{service.name}-{uuid.uuid4().hex[:6]}"
    with volumes_removed(engine, prefix):
        hardened = harden(built, engine, work, prefix)
        if isinstance(hardened, str):
            yield Row(
                service=service.name, engine=engine, plan="lithify", flag_alone=flag, works=False, reason=hardened
            )
            return
        with bundle_removed(hardened.command):
            yield lithify_row(built, engine, hardened, flag)
        yield naive_row(built, engine, hardened, flag, f"{prefix}-naive")


def try_flag_alone(built: Built, engine: str) -> bool:
    """Tell whether a service works with a read-only root and nothing else."""
    with runs(built, engine, (), None) as containers:
        return not live(next(containers))


def lithify_row(built: Built, engine: str, hardened: Hardened, flag: bool) -> Row:
    """Return the row of lithify's plan, tried as its report says."""
    service, places = built.service, planned_places(hardened.plan)
    if engine == "bundle":
        with runs(built, engine, (), hardened.plan, number=2) as containers:
            tried = try_plan(built, containers, places)
    else:
        with (
            set_up(engine, hardened.setup),
            line_runs(service, hardened.command, 2) as containers,
        ):
            tried = try_plan(built, containers, places)
    return Row(
        **row_of(built, engine, "lithify", flag, places, tried, state_under(hardened.plan, service)),
        proved=hardened.proved,
        needed=hardened.needed,
        kept=hardened.kept,
        rounds=hardened.rounds,
        starts=hardened.starts,
        seconds=round(hardened.seconds, 1),
        reason="; ".join([*filter(None, [tried.reason]), *hardened.failed]),
    )


def naive_row(built: Built, engine: str, hardened: Hardened, flag: bool, prefix: str) -> Row:
    """Return the row of the plan that mounts whatever was written."""
    places = naive_places(hardened.write_set, built.rootfs)
    options = [f"--volume={prefix}-{number}:{place.path}" for number, place in enumerate(places)]
    with runs(built, engine, options, naive_plan(hardened, places), number=2) as containers:
        tried = try_plan(built, containers, places)
    return Row(**row_of(built, engine, "naive", flag, places, tried, built.service.state), reason=tried.reason)


def naive_plan(hardened: Hardened, places: Iterable[Place]) -> "MountPlan":
    """Return the naive plan for the bundle engine: volumes with owner, mode and content of what they cover."""
    from lithify.model.mount import Mount, MountPlan, Seed, StorageKind

    mounts = []
    for number, place in enumerate(places):
        entry = hardened.write_set.image.entry(place.path)
        mode, uid, gid = (0o755, 0, 0) if entry is None else (entry.mode, entry.uid, entry.gid)
        mounts.append(
            Mount(
                path=place.path,
                storage=StorageKind.VOLUME,
                name=f"naive-{number}",
                seed=Seed.CONTENT,
                executable=True,
                mode=mode,
                uid=uid,
                gid=gid,
            )
        )
    return MountPlan(key=hardened.write_set.key, container=hardened.write_set.container, mounts=tuple(mounts))


def row_of(
    built: Built,
    engine: str,
    plan: str,
    flag: bool,
    places: Sequence[Place],
    tried: Tried,
    state: Iterable[PurePosixPath],
) -> dict[str, Any]:
    """Return what both kinds of rows say."""
    return {
        **asdict(cost(built.service, built.rootfs, places, state)),
        "service": built.service.name,
        "engine": engine,
        "plan": plan,
        "flag_alone": flag,
        "works": tried.works,
        "refused": None if tried.executable is None else not tried.accepting,
        "state_safe": tried.state_safe,
        "executable": tried.executable,
        "paths": tuple(str(place.path) for place in places),
    }


def try_plan(built: Built, containers: Iterator[Run], places: Sequence[Place]) -> Tried:
    """Live through a container and the one that comes after it, and look at what can be written meanwhile."""
    service, paths = built.service, [place.path for place in places]
    run = next(containers)
    failed = reason = live(run)
    executable, accepting = None, []
    if pid := run.pid():
        given = [*paths, *service.volumes]
        executable = writable_and_executable(pid, paths)
        accepting = accepting_directories(pid, built.rootfs, given)
    state_safe = None
    if service.marker and not reason:
        run.kill()
        reason = live_next(next(containers))
        state_safe = not reason
    elif service.marker:
        state_safe = False
    return Tried(
        works=not failed,
        state_safe=state_safe,
        executable=executable,
        accepting=tuple(map(str, accepting)),
        reason="; ".join(filter(None, [reason, f"{accepting[0]} took a file" if accepting else ""])),
    )


@contextmanager
def set_up(engine: str, commands: Sequence[Sequence[str]]) -> Iterator[None]:
    """Run the commands that a plan asks for once; the volumes that they made go at the end."""
    before = volume_names(engine)
    try:
        for command in commands:
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        yield
    finally:
        words = {word for command in commands for part in command for word in shlex.split(part)}
        remove_volumes(engine, (volume_names(engine) - before) & words)


@contextmanager
def bundle_removed(command: Sequence[str]) -> Iterator[None]:
    """Remove at the end the bundle that lithify wrote for a command of the bundle engine; others have none."""
    try:
        yield
    finally:
        if "--bundle" in command:
            shutil.rmtree(command[command.index("--bundle") + 1], ignore_errors=True)


@contextmanager
def volumes_removed(engine: str, prefix: str) -> Iterator[None]:
    """Remove the volumes whose names begin with `prefix` at the end."""
    try:
        yield
    finally:
        remove_volumes(engine, (name for name in volume_names(engine) if name.startswith(prefix)))


def volume_names(engine: str) -> set[str]:
    """Return the names of the engine's volumes; the bundle engine removes its own."""
    if engine == "bundle":
        return set()
    listed = subprocess.run([engine, "volume", "ls", "--quiet"], capture_output=True, text=True, check=False)
    return set(listed.stdout.split())


def remove_volumes(engine: str, names: Iterable[str]) -> None:
    """Remove volumes; those in use stay."""
    for name in names:
        subprocess.run([engine, "volume", "rm", name], capture_output=True, check=False)


def cell(value: object) -> str:
    """Return a value as the table shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def render_row(row: Row, widths: dict[str, int]) -> str:
    """Return a row of the table, columns aligned."""
    values = {name: getattr(row, name) for name in COLUMNS}
    if row.memory is not None:
        values["memory"] = row.memory >> 20
    if row.plan == "naive":
        values["flag_alone"] = ""
    cells = [cell(value).ljust(widths[name]) for name, value in values.items()]
    return "  ".join(cells).rstrip()


def summaries(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what the rows come to, a line an engine and plan."""
    for engine in ENGINES:
        for plan in ("lithify", "naive"):
            mine = [row for row in rows if row.engine == engine and row.plan == plan]
            if not mine:
                continue
            number = len(mine)
            sums = {
                name: sum(getattr(row, name) or 0 for row in mine)
                for name in ("places", "entries", "executable", "system", "dying", "memory", "starts", "seconds")
            }
            words = [f"{engine}, {plan}: {sum(bool(row.works) for row in mine)} of {number} work"]
            if plan == "lithify":
                words[0] += f" (with the flag alone {sum(row.flag_alone for row in mine)})"
                words.append(f"{sum(bool(row.proved) for row in mine)} proved")
            words.append(f"state lost or at risk in {sum(row.state_safe is False for row in mine)}")
            words.append(f"{sums['places']} places, {sums['entries']} image entries")
            words.append(f"{sums['executable']} writable and executable, {sums['system']} in system or code")
            words.append(f"{sums['memory'] >> 20} MiB of memory")
            if plan == "lithify":
                words.append(f"{sums['starts']} starts, {sums['seconds']:.0f} s")
            yield "; ".join(words)


def engines_here(wanted: Sequence[str]) -> list[str]:
    """Return those of `wanted` that this machine has, and say which it has not."""
    here = []
    for engine in wanted:
        if why := trouble(engine):
            print(f"nothing is measured on {engine}: {why}", file=sys.stderr)
        else:
            here.append(engine)
    return here


def main() -> int:
    """Measure what was asked for, print the table, return 0 where every service works and is proved."""
    parser = argparse.ArgumentParser(prog="python -m bench.services", description=__doc__)
    parser.add_argument("--engine", default=",".join(ENGINES), help="engines, by comma (default: all three)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a service; may repeat")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep lithify's reports and logs there")
    options = parser.parse_args()
    sys.path.insert(0, str(SOURCE))
    engines = engines_here(options.engine.split(","))
    if not engines:
        return 1
    names = sorted(service.name for service in read_services())
    widths = {name: max(len(title), 4) for name, title in COLUMNS.items()}
    widths |= {"service": max(map(len, names)), "engine": 6, "plan": 7}
    print("  ".join(title.ljust(widths[name]) for name, title in COLUMNS.items()).rstrip(), flush=True)
    rows: list[Row] = []
    with temporary_folder() as temporary:
        work = options.work or temporary
        work.mkdir(parents=True, exist_ok=True)
        for service in read_services(tuple(options.only)):
            for engine in engines:
                if engine == "podman" and not service.podman:
                    continue
                for row in measured(service, engine, work):
                    rows.append(row)
                    print(render_row(row, widths), flush=True)
                    if row.reason:
                        print(f"    {row.reason}", flush=True)
                if options.json:
                    document = {"schema": SCHEMA, "rows": [asdict(row) for row in rows]}
                    options.json.write_text(json.dumps(document, indent=1) + "\n")
    print(f"\n{LEGEND}\n")
    for line in summaries(rows):
        print(line)
    return int(not all(row.works and row.proved for row in rows if row.plan == "lithify"))


if __name__ == "__main__":
    sys.exit(main())

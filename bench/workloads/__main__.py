"""Hardens the services as people deploy them, by their file: `python -m bench.workloads [--on ...] [--only NAME]`.

Each is tried by the measure's own hand: with the flag alone; then as `lithify harden FILE --write` left the file:
deployed, exercised, checked, its first process killed and checked again, replaced by a new container and checked for
what must survive. `pod` hardens a manifest without a cluster, on Docker; what came of it is tried on the cluster all
the same.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.here import insist_on
from bench.services.__main__ import cell
from bench.services.build import build
from bench.services.hardened import call_harden
from bench.services.run import environment
from bench.services.service import Service, read_service
from bench.workloads.deployed import (
    ComposeProject,
    Deployed,
    Kubectl,
    KubernetesWorkload,
    call,
    data_volumes,
    give_image,
    with_flag_alone,
)
from lithify.engines.temporary import temporary_folder

HERE = Path(__file__).parent
SERVICES = HERE.parent / "services"
WAYS = ("compose", "pod", "cluster")
NO_DEFAULT = "storageclass.kubernetes.io/is-default-class=false"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    service: str
    way: str
    kind: str
    flag_alone: bool | None = None
    proved: bool | None = None
    works: bool | None = None
    restarts: bool | None = None
    """Works after its first process was killed, and Docker or the kubelet started it again."""
    state_safe: bool | None = None
    """What the exercise left is there in the next container; None for one that keeps nothing."""
    containers: int | None = None
    """Containers that are read-only in the patched file."""
    places: int | None = None
    lines: int | None = None
    """Lines of the file that the patch added or took away."""
    again: bool | None = None
    """A second `harden` of the patched file changes nothing."""
    seconds: float | None = None
    reason: str = ""


COLUMNS = {
    "service": "SERVICE",
    "way": "BY",
    "kind": "KIND",
    "flag_alone": "FLAG ALONE",
    "proved": "PROVED",
    "works": "WORKS",
    "restarts": "RESTARTS",
    "state_safe": "STATE SAFE",
    "containers": "CONTAINERS",
    "places": "PLACES",
    "lines": "LINES",
    "seconds": "SECONDS",
}


@dataclass(frozen=True)
class Bench:
    """What a measure works with."""

    work: Path
    cluster: Kubectl | None = None
    import_image: Callable[[Path], None] = lambda _: None


def source_of(name: str, way: str) -> Path | None:
    """Return the file or chart of a service that fits a way; None where it has none."""
    names = ("compose.yaml",) if way == "compose" else ("workload.yaml", "chart")
    return next((HERE / name / each for each in names if (HERE / name / each).exists()), None)


def manifests(source: Path) -> str:
    """Return the manifests of a file, or what Helm makes of a chart, with what lithify's page says to give it."""
    if source.is_file():
        return source.read_text()
    given = [word for values in sorted(source.glob("lithify-*/values.yaml")) for word in ("--values", values)]
    text, failed = call(["helm", "template", "bench", source, *given])
    for program in sorted(source.glob("lithify-*/post-render")):  # Helm 4 wants it installed, and calls it like that
        if not failed:
            text, failed = call([program], text)
    if failed:
        raise RuntimeError(f"rendering {source}: {failed}")
    return text


def exercised(service: Service, text: str, *, compose: bool) -> tuple[str, str]:
    """Return the kind of the workload in a file, and the container of it that runs the service's image."""
    for document in yaml.safe_load_all(text):
        if compose:
            for name, each in document["services"].items():
                if service.image in each["image"]:
                    return "Compose", name
            continue
        for item in document["items"] if document["kind"] == "List" else [document]:
            for container in _containers(item):
                if service.image in container["image"]:
                    return item["kind"], container["name"]
    raise SystemExit(f"no container of {service.image} in its file")


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.get("containers") or ()
        for each in value.values():
            yield from _containers(each)


@contextmanager
def deployed(bench: Bench, service: Service, text: str, container: str, kind: str) -> Iterator[Deployed]:
    """Yield a file's content, not deployed yet; all of it is gone at the end."""
    folder = Path(tempfile.mkdtemp(dir=bench.work))
    file = folder / "deployed.yaml"
    file.write_text(text)
    thing: Deployed
    with ExitStack() as stack:
        if kind == "Compose":
            thing = ComposeProject(service=service, file=file, container=container)
        else:
            assert bench.cluster is not None
            job = kind in ("Job", "CronJob")
            thing = KubernetesWorkload(service=service, file=file, container=container, cluster=bench.cluster, job=job)
            claims = text.count("volumeClaimTemplates") + text.count("PersistentVolumeClaim")
            stack.enter_context(data_volumes(bench.cluster, claims))
        stack.callback(thing.remove)
        yield thing


def drive(thing: Deployed, program: Path, *, marker: bool = False) -> str:
    """Run an exercise or a check until it works or the service's time is over; return its last complaint."""
    try:
        done = subprocess.run(
            [program, thing.name],
            env=environment(thing, marker=marker),  # type: ignore[arg-type]
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=thing.service.timeout + 30,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{program.name}: not done in time"
    lines = (done.stderr or done.stdout).strip().splitlines()
    return f"{program.name}: {lines[-1] if lines else done.returncode}" if done.returncode else ""


def try_it(thing: Deployed, *, job: bool) -> tuple[dict[str, bool | None], str]:
    """Return how a deployed file does: works, restarts, state safe; and what first went wrong."""
    service = thing.service
    wrong = thing.start()
    if job:
        return {"works": not wrong}, wrong
    wrong = wrong or drive(thing, service.exercise) or drive(thing, service.check, marker=True)
    found: dict[str, bool | None] = {"works": not wrong}
    if not wrong:
        wrong = thing.crash() or drive(thing, service.check, marker=True)
        found["restarts"] = not wrong
    if not wrong and service.marker:
        wrong = thing.replace() or drive(thing, service.check, marker=True)
        found["state_safe"] = not wrong
    return found, wrong


def measured(bench: Bench, name: str, ways: Sequence[str]) -> Sequence[Row]:
    """Return the rows of a service; what breaks one off is its reason, so that the others get theirs."""
    rows: list[Row] = []
    for way in ways:
        source = source_of(name, way)
        if source is None:
            continue
        # the same file on the same cluster: pods are deployed there however they were hardened
        flag = next((row.flag_alone for row in rows if row.way != "compose" and way != "compose"), None)
        try:
            rows.append(measure(bench, name, way, source, flag))
        except Exception as error:
            reason = f"broken off: {type(error).__name__}: {error}"
            rows.append(Row(service=name, way=way, kind="?", works=False, reason=reason))
    return rows


def measure(bench: Bench, name: str, way: str, source: Path, flag: bool | None) -> Row:
    """Return the row of a service, hardened by its file in one way; `flag` is how the flag alone does, if known."""
    service = read_service(SERVICES / name)
    before = manifests(source)
    kind, container = exercised(service, before, compose=way == "compose")
    job = kind in ("Job", "CronJob")
    built = build(service)
    for engine in {"compose": ("compose",), "pod": ("compose", "cluster"), "cluster": ("cluster",)}[way]:
        give_image(built, engine, bench.import_image, bench.work)
    if flag is None:
        with deployed(bench, service, flag_alone(before, compose=way == "compose"), container, kind) as thing:
            found, _ = try_it(thing, job=job)
            flag = all(value is not False for value in found.values())
    folder = Path(tempfile.mkdtemp(dir=bench.work))
    target = folder / source.name
    (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    begun = time.monotonic()
    report = harden(bench, service, target, way, job=job, container=container)
    seconds = time.monotonic() - begun
    row: dict[str, Any] = {
        "service": name,
        "way": way,
        "kind": "chart" if source.is_dir() else kind,
        "flag_alone": flag,
        "seconds": round(seconds, 1),
    }
    if isinstance(report, str):
        return Row(**row, works=False, proved=False, reason=report)
    row |= facts(report)
    found, wrong = {"works": False}, "the file is left as it is"
    if report["diff"]:
        with deployed(bench, service, manifests(target), container, kind) as thing:
            found, wrong = try_it(thing, job=job)
    reasons = [wrong, *(f"{each['container']}: {each['reason']}" for each in report["refused"])]
    reasons += [f"{each['name']}: {trouble}" for each in report["members"] for trouble in troubles(each)]
    row |= found
    return Row(**row, reason="; ".join(filter(None, reasons)))


def flag_alone(text: str, *, compose: bool) -> str:
    """Return a file with the read-only flag and nothing else."""
    documents = list(yaml.safe_load_all(text))
    if not compose:
        return yaml.safe_dump_all(list(with_flag_alone(documents)))
    for service in documents[0]["services"].values():
        service["read_only"] = True
    return yaml.safe_dump(documents[0])


def asks(program: Path, container: str, folder: Path) -> Path:
    """Return a program that asks this service of a Compose project, whichever is hardened beside it."""
    address = f"LITHIFY_ADDRESS_{container.upper().replace('-', '_')}"
    made = folder / program.name
    made.write_text(f'#!/bin/sh\nLITHIFY_ADDRESS=${{{address}:-$LITHIFY_ADDRESS}} exec {program} "$@"\n')
    made.chmod(0o755)
    return made


def harden(
    bench: Bench, service: Service, target: Path, way: str, *, job: bool, container: str
) -> dict[str, Any] | str:
    """Harden a file as a user does; return the report, or lithify's words where there is none."""
    report = bench.work / f"{service.name}-{way}.json"
    options = ["--write", "--timeout", f"{service.timeout:g}s"]
    if not job:
        exercise, check = service.exercise, service.check
        if way == "compose":
            folder = Path(tempfile.mkdtemp(dir=bench.work))
            exercise, check = (asks(program, container, folder) for program in (exercise, check))
        options += ["--exercise", str(exercise), "--check", str(check)]
    if way == "pod":
        options += ["--engine", "docker"]
    elif way == "cluster":
        assert bench.cluster is not None
        options += ["--kubeconfig", str(bench.cluster.kubeconfig)]
    failed = call_harden([str(target), *options], report, WEB_PORT="0")
    if failed:
        return failed
    document = json.loads(report.read_text())
    assert isinstance(document, dict)
    return document


def facts(report: dict[str, Any]) -> dict[str, Any]:
    """Return what a row takes from lithify's own report."""
    members = [each for each in report["members"] if each.get("hardening")]
    proved = [each for each in members if holds(each["hardening"]["verdict"]) and holds(each.get("together") or {})]
    diff = [line for line in report["diff"].splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return {
        "proved": len(proved) == len(report["members"]) and not report["refused"],
        "containers": len(proved),
        "places": sum(len(each["hardening"]["plan"]["mounts"]) for each in proved),
        "lines": len(diff),
    }


def holds(verdict: dict[str, Any]) -> bool:
    """Tell whether every check of a verdict passed."""
    return all(check["passed"] for part in ("works", "refused", "minimal", "honest") for check in verdict.get(part, ()))


def troubles(member: dict[str, Any]) -> Iterator[str]:
    """Yield what lithify says is wrong with a member."""
    if member.get("trouble"):
        yield member["trouble"]
    verdicts = [(member.get("hardening") or {}).get("verdict"), member.get("together")]
    for verdict in filter(None, verdicts):
        for part in ("works", "refused", "minimal", "honest"):
            yield from (f"{c['name']}: {c['summary']}" for c in verdict.get(part, ()) if not c["passed"])


def render(row: Row, widths: dict[str, int]) -> str:
    """Return a row of the table, columns aligned."""
    return "  ".join(cell(getattr(row, name)).ljust(widths[name]) for name in COLUMNS).rstrip()


@contextmanager
def a_bench(work: Path, ways: Sequence[str], kubeconfig: str) -> Iterator[Bench]:
    """Yield what the ways need: a Kubernetes node of our own, or the cluster that `kubeconfig` names."""
    from tests.cluster.node import DAEMONS, Node, find_programs

    alone = set(ways) == {"compose"}
    programs = find_programs("docker-compose", "helm", *(() if alone else DAEMONS))
    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    if alone:
        yield Bench(work)
        return
    found = Node.find(Path(kubeconfig)) if kubeconfig else None
    with ExitStack() as last:
        node = found or Node(last.enter_context(temporary_folder(on_disk=True)), programs)
        if found is None:
            last.callback(node.down)
            node.up()
            # what makes storage for claims there lets nobody but root write: claims get the measure's own volumes
            node.kubectl("annotate", "storageclass", "--all", "--overwrite", NO_DEFAULT)
        yield Bench(work, Kubectl(programs / "kubectl", node.kubeconfig), node.import_image)


def main() -> int:
    """Measure what was asked for, print the table, return 0 where everything works and is proved."""
    parser = argparse.ArgumentParser(prog="python -m bench.workloads", description=__doc__)
    parser.add_argument("--on", default=",".join(WAYS), help="ways, by comma (default: all three)")
    known = sorted(path.name for path in HERE.iterdir() if (SERVICES / path.name).is_dir())
    parser.add_argument("--only", action="append", choices=known, metavar="NAME", help="a service; may repeat")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="services at a time (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep lithify's reports and logs there")
    parser.add_argument(
        "--kubeconfig", default=os.environ.get("LITHIFY_TEST_KUBECONFIG", ""), help="of a node that runs"
    )
    options = parser.parse_args()
    names = options.only or known
    widths = {name: max(len(title), 4) for name, title in COLUMNS.items()}
    widths |= {"service": max(map(len, names)), "way": 7, "kind": 11}
    print("  ".join(title.ljust(widths[name]) for name, title in COLUMNS.items()).rstrip(), flush=True)
    ways, rows = options.on.split(","), list[Row]()
    if "compose" in ways:
        insist_on("docker")
    with temporary_folder() as temporary:
        work = options.work or temporary
        work.mkdir(parents=True, exist_ok=True)
        with a_bench(work, ways, options.kubeconfig) as bench, ThreadPoolExecutor(options.jobs) as pool:
            for found in pool.map(lambda name: measured(bench, name, ways), names):
                rows += found
                for row in found:
                    print(render(row, widths), flush=True)
                    if row.reason:
                        print(f"    {row.reason}", flush=True)
                if options.json:
                    options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    for way in ways:
        mine = [row for row in rows if row.way == way]
        if mine:
            print(
                f"{way}: {sum(bool(row.works) for row in mine)} of {len(mine)} work"
                f" (with the flag alone {sum(bool(row.flag_alone) for row in mine)});"
                f" {sum(bool(row.proved) for row in mine)} proved;"
                f" {sum(row.restarts is False for row in mine)} fail after a restart;"
                f" state lost in {sum(row.state_safe is False for row in mine)}"
            )
    return int(not all(row.works and row.proved for row in rows))


if __name__ == "__main__":
    sys.exit(main())

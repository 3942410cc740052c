"""How fast `lithify audit` is beside its floors and a peer: `python -m bench.audit [--files 2000] [--seed 1]`.

One corpus, made from the seed; every row in turn, in one run, so that the machine's moods fall on all alike. Time is
from start to end of a process and, beside it, of processors, which says more on a machine that others use too; memory
is the peak of its largest process. Prints a table and, with `--json FILE`, writes it; exit code 1 where a goal is
missed. Checkov and kube-score are rows where they are on the path or named with `--checkov` and `--kube-score` (`go
install github.com/zegl/kube-score/cmd/kube-score@v1.20.0`); where there is Go, so is `bench/scan`, the least that a
compiled linter does.

Goals are for 2,000 files. Walk and read costs half as much a file at 20,000, where starting Python is little of it.
"""

import argparse
import compileall
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import lithify
from bench.corpus import write_corpus
from lithify.engines.temporary import temporary_folder

_RUN = [sys.executable, "-m", "lithify.cli.main", "audit", "--fail-on", "never"]
_FLOOR = """
import argparse, sys
import lithify.cli.audit, lithify.pipeline.audit.files
from lithify.sources.base import read_bytes
from lithify.sources.files import find_inputs
for _, path in find_inputs([sys.argv[1]]):
    read_bytes(path)
"""
_PARSE = """
import gc, sys
gc.disable()
from lithify.documents.yaml import read_documents
from lithify.sources.base import read_bytes
from lithify.sources.files import find_inputs
from lithify.model.workload import may_hold_containers
for _, path in find_inputs([sys.argv[1]]):
    for document in read_documents(read_bytes(path), may_hold_containers):
        pass
"""
_LOADER = """
import sys, yaml
from lithify.sources.base import read_bytes
from lithify.sources.files import find_inputs
for _, path in find_inputs([sys.argv[1]]):
    for document in yaml.load_all(read_bytes(path), yaml.CSafeLoader):
        pass
"""


_CHECK = "container-security-context-readonlyrootfilesystem"
_KUBE_SCORE = """
program="$1"
"$program" list | cut -d, -f1 | grep -v "^$3$" | sed 's/^/--ignore-test=/' > "$4"
find "$2" -name '*.yaml' -print0 | xargs -0 "$program" score --output-format json $(cat "$4")
"""
"""The one check: all others are left out by name."""


class Peers(NamedTuple):
    """Programs of others, where they are there."""

    checkov: str | None
    kube_score: str | None
    scan: str | None


def build_scan(scratch: str) -> str | None:
    """Return the Go program of `bench/scan`, built; None, and why on standard error, where that can't be done."""
    program = os.path.join(scratch, "scan")
    try:
        words = ["go", "build", "-trimpath", "-o", program, "."]
        subprocess.run(words, cwd=Path(__file__).parent / "scan", check=True, capture_output=True, text=True)
    except FileNotFoundError:
        print("no Go: without its row", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"bench/scan can't be built, without its row: {error.stderr.strip()}", file=sys.stderr)
    else:
        return program
    return None


def rows(folder: str, peers: Peers) -> dict[str, list[str]]:
    """Return the command of each row."""
    python = sys.executable
    commands = {
        "python -c pass": [python, "-c", "pass"],
        "walk and read": [python, "-c", _FLOOR, folder],
        "bare parse (composer)": [python, "-c", _PARSE, folder],
        "CSafeLoader": [python, "-c", _LOADER, folder],
        "lithify, one process": [*_RUN, "--no-cache", "--jobs", "1", folder],
        "lithify": [*_RUN, "--no-cache", folder],
        "lithify, to JSON": [*_RUN, "--no-cache", "--format", "json", folder],
        "lithify, unchanged": [*_RUN, folder],
    }
    one = [*_RUN, "--no-cache", "--rule", "writable-root-filesystem"]
    commands["one rule, one process"] = [*one, "--jobs", "1", folder]
    commands["one rule"] = [*one, folder]
    if peers.scan:
        commands["Go, one thread"] = ["env", "GOMAXPROCS=1", peers.scan, folder]
        commands["Go"] = [peers.scan, folder]
    if peers.kube_score:
        ignored = os.path.join(os.path.dirname(folder), "ignored")
        commands["kube-score, one check"] = ["sh", "-c", _KUBE_SCORE, "sh", peers.kube_score, folder, _CHECK, ignored]
    if peers.checkov:
        words = ["--framework", "kubernetes", "--check", "CKV_K8S_22", "--quiet", "--compact", "-d", folder]
        commands["checkov, one check"] = [peers.checkov, *words]
    return commands


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float, int]:
    """Return seconds, seconds of processors and peak bytes of a command and what it starts."""
    report = ["-c", _MEASURE, json.dumps(command)]
    result = subprocess.run([sys.executable, *report], env=environment, check=True, capture_output=True, text=True)
    seconds, processor, kilobytes = result.stdout.split()[-3:]
    return float(seconds), float(processor), int(kilobytes) << 10


_MEASURE = """
import json, resource, subprocess, sys, time
begun = time.perf_counter()
subprocess.run(json.loads(sys.argv[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def run(folder: str, environment: dict[str, str], rounds: int, peers: Peers) -> dict[str, dict[str, float]]:
    """Return the median of seconds and the peak of memory for each row; a slow peer runs once."""
    commands = rows(folder, peers)
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    processor: dict[str, list[float]] = {name: [] for name in commands}
    memory = dict.fromkeys(commands, 0)
    for number in range(rounds):
        for name, command in commands.items():
            if number and name.startswith("checkov"):
                continue
            taken, used, peak = measure(command, environment)
            if number or name != "lithify, unchanged":  # the first fills the cache
                seconds[name].append(taken)
                processor[name].append(used)
            memory[name] = max(memory[name], peak)
    return {
        name: {
            "seconds": statistics.median(seconds[name]),
            "processor": statistics.median(processor[name]),
            "bytes": memory[name],
        }
        for name in commands
    }


GOALS = [
    ("lithify", "CSafeLoader", 0.5),
    ("lithify", "walk and read", 18.0),
    ("lithify, unchanged", "walk and read", 2.0),
    ("lithify", "lithify, one process", 0.7),
    ("one rule, one process", "Go, one thread", 1.1),
    ("one rule", "Go", 1.1),
    ("lithify", "kube-score, one check", 0.7),
    ("lithify, unchanged", "kube-score, one check", 0.15),
    ("lithify", "checkov, one check", 1 / 30),
    ("one rule", "checkov, one check", 1 / 40),
]
"""Rows, what they are held against, and the ratio of seconds that they may reach."""


def main() -> int:
    """Make the corpus, measure, print, and return 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--checkov", default=shutil.which("checkov"))
    parser.add_argument("--kube-score", default=shutil.which("kube-score"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    compileall.compile_dir(str(Path(lithify.__file__).parent), quiet=1)
    with temporary_folder() as base:
        scratch = str(base)
        folder = os.path.join(scratch, "corpus")
        size = write_corpus(folder, options.files, options.seed)
        environment = {**os.environ, "XDG_CACHE_HOME": scratch, "PYTHONPATH": str(Path(lithify.__file__).parents[1])}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        peers = Peers(options.checkov, options.kube_score, build_scan(scratch))
        table = run(folder, environment, max(options.rounds, 2), peers)
        one = measure_one(folder, environment, options.rounds)
    missed = show(table, one, options.files, size)
    if options.json:
        options.json.write_text(
            json.dumps({"files": options.files, "bytes": size, "rows": table, "one": one}, indent=1)
        )
    return 1 if missed else 0


def measure_one(folder: str, environment: dict[str, str], rounds: int) -> float:
    """Return how much longer one small file takes than a bare interpreter."""
    path = os.path.join(folder, "team-00", "00000.yaml")
    pairs = [
        (measure([sys.executable, "-c", "pass"], environment)[0], measure([*_RUN, path], environment)[0])
        for _ in range(max(rounds, 5) * 3)
    ]
    return statistics.median(taken / bare for bare, taken in pairs)


def show(table: dict[str, dict[str, float]], one: float, files: int, size: int) -> list[str]:
    """Print rows and goals, and return the goals that were missed."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    busy = f"; the machine is busy with other things (load {load:.1f})" if load > cores + 1 else ""
    print(f"{files} files, {size / 1e6:.1f} MB, {cores} cores{busy}; seconds, and seconds of processors")
    for name, row in table.items():
        rate = (
            f"{files / row['seconds']:8.0f} files/s {size / 1e6 / row['seconds']:6.1f} MB/s" if name[:2] != "py" else ""
        )
        times = f"{row['seconds']:8.3f} s {row['processor']:8.3f} s"
        print(f"{name:24}{times} {rate:30}{row['bytes'] / 1e6:8.1f} MB")
    print(f"one file: x{one:.2f} of python -c pass")
    checks: list[tuple[str, float, float]] = [("one file / python -c pass", one, 5.0)]
    checks += [
        (f"{name} / {other}", table[name]["seconds"] / table[other]["seconds"], goal)
        for name, other, goal in GOALS
        if other in table
    ]
    if "checkov, one check" in table:
        memory: Any = table["lithify"]["bytes"] / table["checkov, one check"]["bytes"]
        checks.append(("memory of lithify / checkov", memory, 1 / 15))
    used = {
        f"{name} / {other}": table[name]["processor"] / table[other]["processor"]
        for name, other, _ in GOALS
        if other in table
    }
    for name, value, goal in checks:
        print(
            f"{'ok    ' if value <= goal else 'MISSED'} {name}: {value:.3f} (at most {goal:.3f})"
            + (f"; of processors {used[name]:.3f}" if name in used else "")
        )
    return [name for name, value, goal in checks if value > goal]


if __name__ == "__main__":
    sys.exit(main())

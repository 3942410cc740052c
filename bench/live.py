"""Observing a program: its throughput observed ÷ not observed, in one run, rounds interleaved.

Run with `python -m bench.live`; needs root and Docker. Loads in containers: a static C program that creates,
writes, closes and removes files as fast as it can, by itself and each by a process of its own, with live names on, and
under `strace -f` for comparison; redis (redis-benchmark) and nginx (wrk) while their upper layer is read every second.
The median of the rounds' ratios counts, since the speed of a shared machine drifts.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.runtime.conftest import cached, debootstrap

from bench.here import insist_on
from lithify.engines.mounts import root_overlay
from lithify.engines.temporary import temporary_folder
from lithify.observe import live
from lithify.observe.live import LiveNames
from lithify.observe.overlay import read_upper_layer
from lithify.observe.trace import Trace

_SOURCE = Path(__file__).with_name("churn.c")
_LIVE_LEAST, _LAYER_LEAST = 0.95, 0.99
_REDIS = "redis-server --protected-mode no --save '' --dir /var/lib/redis"
_NGINX = "nginx -g 'daemon off;'"


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True, timeout=600).stdout.strip()


@contextmanager
def _image(root: Path) -> Iterator[str]:
    name = f"lithify-bench-live:{os.getpid()}-{root.name}"
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(["docker", "import", "-", name], stdin=tar.stdout, check=True, capture_output=True, timeout=600)
    try:
        yield name
    finally:
        _docker("rmi", "--force", name)


@contextmanager
def _container(image: str, *command: str) -> Iterator[tuple[str, int]]:
    """Run a container; give its address and the pid of its first process."""
    name = _docker("run", "--detach", image, *command)
    try:
        yield (
            _docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name),
            int(_docker("inspect", "--format", "{{.State.Pid}}", name)),
        )
    finally:
        _docker("rm", "--force", "--volumes", name)


def _churn(pid: int, seconds: float, *words: str) -> list[float]:
    """Run the C load beside the first process of a container, in its namespaces.

    Returns files a second, and files a second of processor time.
    """
    # At real-time priority, observed or not: else the ratio tells of what others do on the machine in that round.
    command = ["chrt", "--rr", "1", "nsenter", "--target", str(pid), "--mount", "--root", "--wd", "--pid"]
    command += ["/churn", "/tmp", str(seconds), *words]
    # A session of its own, as a container has: schedulers share the processor out by sessions and groups.
    load = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600, start_new_session=True)
    return list(map(float, load.stdout.split()))


@contextmanager
def _names(pid: int, storage: Path) -> Iterator[None]:
    layer = root_overlay(pid)
    assert layer is not None
    with LiveNames([storage]) as names:
        names.watch(layer.upper)
        yield
    writes, _ = names.writes(layer)
    assert any(write.names for write in writes), "nothing was seen"


@contextmanager
def _reading(pid: int) -> Iterator[None]:
    """Read the upper layer every second meanwhile."""
    layer = root_overlay(pid)
    assert layer is not None
    stop = threading.Event()

    def read() -> None:
        while not stop.wait(1.0):
            read_upper_layer(layer)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _compare(
    title: str,
    work: Callable[[], Sequence[float]],
    observers: Mapping[str, tuple[Callable[[], AbstractContextManager[object]], float | None]],
    rounds: int,
) -> bool:
    """Print the throughput of `work` alone and with each observer; tell whether their least ratios were reached.

    `work` returns its throughput by the clock, and may add that by processor time.
    """
    work()
    alone: list[float] = []
    ratios: dict[str, list[list[float]]] = {name: [] for name in observers}
    for _ in range(rounds):
        before = work()
        for name, (observer, _) in observers.items():
            with observer():
                seen = work()
            after = work()
            ratios[name].append([s / ((b + a) / 2) for s, b, a in zip(seen, before, after, strict=True)])
            alone += [before[0], after[0]]
            before = after
    print(f"\n{title}: {statistics.median(alone):,.0f} a second, not observed; {os.getloadavg()[0]:.1f} processes wait")
    met = True
    for name, (_, least) in observers.items():
        by_clock, *by_processor = (statistics.median(column) for column in zip(*ratios[name], strict=True))
        goal = "no goal"
        if least is not None:
            met = met and by_clock >= least
            goal = f"goal: at least {least}: {'holds' if by_clock >= least else 'MISSED'}"
        processor = "".join(f", {median:.3f} by processor time" for median in by_processor)
        each = " ".join(f"{ratio[0]:.2f}" for ratio in ratios[name])
        print(f"  {name:24} {by_clock:5.3f} of that ({goal}){processor}; rounds: {each}")
    return met


def churn(seconds: float, rounds: int, storage: Path) -> bool:
    """Measure the C load."""
    with temporary_folder() as base:
        root = base / "churn"
        (root / "tmp").mkdir(parents=True)
        subprocess.run(["gcc", "-O2", "-static", "-o", root / "churn", _SOURCE], check=True, timeout=120)
        with _image(root) as image, _container(image, "/churn", "/dev/shm", "86400") as (_, pid):
            subprocess.run(["kill", "-STOP", str(pid)], check=True)  # it only holds the container
            observers: dict[str, tuple[Callable[[], AbstractContextManager[object]], float | None]] = {
                "live names": (lambda: _names(pid, storage), _LIVE_LEAST),
            }
            met = _compare("create, write, close, unlink", lambda: _churn(pid, seconds), observers, rounds)
            title = "the same, each by a process of its own"
            without_goal = {name: (observer, None) for name, (observer, _) in observers.items()}
            _compare(title, lambda: _churn(pid, seconds, "each"), without_goal, rounds)
            traced = _traced_churn(pid, seconds)
            print(f"  {'strace -f':24} {traced / _churn(pid, seconds)[0]:5.3f} of that")
            return met


def _traced_churn(pid: int, seconds: float) -> float:
    """Run the C load under our trace."""
    command = ["nsenter", "--target", str(pid), "--mount", "--root", "--wd", "/churn", "/tmp", str(seconds)]
    gate = ["sh", "-c", 'read go; exec "$@"', "sh", *command]
    with subprocess.Popen(gate, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load, Trace(load.pid):
        assert load.stdin
        assert load.stdout
        load.stdin.write("go\n")
        load.stdin.flush()
        return float(load.stdout.readline().split()[0])


def services(seconds: float, rounds: int) -> bool:
    """Measure redis and nginx by layer alone."""
    root = cached("observe-nginx-redis", lambda directory: debootstrap(directory, "nginx-light", "redis-server"))
    met = True
    with _image(root) as image:
        with _container(image, "sh", "-c", f"exec {_REDIS}") as (address, pid):
            time.sleep(1)
            requests = int(20_000 * seconds)
            met &= _compare(
                "redis-benchmark (SET)",
                lambda: [_redis(address, requests)],
                {"layer read every second": (lambda: _reading(pid), _LAYER_LEAST)},
                rounds,
            )
        with _container(image, "sh", "-c", f"exec {_NGINX}") as (address, pid):
            time.sleep(1)
            met &= _compare(
                "nginx (wrk)",
                lambda: [_wrk(address, seconds)],
                {"layer read every second": (lambda: _reading(pid), _LAYER_LEAST)},
                rounds,
            )
    return met


def _redis(address: str, requests: int) -> float:
    command = ["redis-benchmark", "-h", address, "-t", "set", "-n", str(requests), "-q", "--csv"]
    last = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout.splitlines()[-1]
    return float(last.split(",")[1].strip('"'))


def _wrk(address: str, seconds: float) -> float:
    command = ["wrk", "-t1", "-c8", f"-d{max(1, round(seconds))}", f"http://{address}/"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout.splitlines()
    return float(next(line for line in lines if line.startswith("Requests/sec")).split()[1])


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for which each load runs")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=("churn", "services"))
    arguments = parser.parse_args()
    missing = [name for name in ("docker", "gcc", "strace", "wrk", "redis-benchmark") if not shutil.which(name)]
    if os.geteuid() != 0 or missing:
        parser.error(f"needs root and {', '.join(missing) or 'nothing more'}")
    insist_on("docker")
    storage = Path(_docker("info", "--format", "{{.DockerRootDir}}"))
    reason = live.available(storage)
    if reason:
        parser.error(f"names can't be watched here: {reason}")
    met = True
    if arguments.only != "services":
        met &= churn(arguments.seconds, arguments.rounds, storage)
    if arguments.only != "churn":
        met &= services(arguments.seconds, arguments.rounds)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

"""Reading an upper layer: time ÷ `du -s` of the same tree and ÷ `docker diff` of the same container, and peak memory.

Run with `python -m bench.upper`; needs root. Twenty files in a directory, directories on three levels, a tenth of the
files with content, a hundredth whiteouts. With Docker all that is made in the upper layer of a container that is never
started. Rounds are interleaved, caches warm; the median counts. `du` and the readers run at real-time priority: else
two processes of one session get no more of a busy machine than one, and their ratio tells of the others' work. Docker's
daemon does not, so its ratio needs a quiet machine. Beside the clock stands processor time ÷ that of `du` (with two
processes: the time of both, shared by two).
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lithify.engines.base import UpperLayer
from lithify.engines.temporary import temporary_folder
from lithify.observe.overlay import read_upper_layer

_FILES = 20
_TARGETS = {1: 2.5, 2: 1.3}
"""Most that one process, and two, may take of the time of `du -s`."""


def make_tree(upper: Path, entries: int) -> int:
    """Make a tree of about `entries` entries below `upper`; return how many there are."""
    made = 0
    leaves = max(1, entries // (_FILES + 1))
    for leaf in range(leaves):
        directory = upper / f"opt/t{leaf % 50}/m{leaf // 50 % 50}/d{leaf}"
        os.makedirs(directory)
        here = os.open(directory, os.O_RDONLY)
        for number in range(_FILES):
            if leaf % 5 == 0 and number == 0:
                os.mknod(f"w{number}", 0o020000, dir_fd=here)  # a whiteout: character device 0:0
            else:
                file = os.open(f"f{number}", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=here)
                if number % 10 == 0:
                    os.write(file, b"x" * 300)
                os.close(file)
        os.close(here)
        made += _FILES + 1
    return made


@contextmanager
def layer_with_container(base: Path) -> Iterator[tuple[UpperLayer, str | None]]:
    """Give an upper layer to fill, and the Docker container it belongs to, where there is Docker."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, timeout=60).returncode:
        for name in ("upper", "lower"):
            (base / name).mkdir()
        yield UpperLayer(upper=base / "upper", lowers=(base / "lower",)), None
        return
    image = f"lithify-bench-upper:{os.getpid()}"
    empty = base / "empty.tar"
    subprocess.run(["tar", "-cf", empty, "-T", "/dev/null"], check=True)
    _output("docker", "import", str(empty), image)
    container = _output("docker", "create", image, "/none")
    try:
        graph = "{{.GraphDriver.Data.UpperDir}} {{.GraphDriver.Data.LowerDir}}"
        upper, _, lowers = _output("docker", "inspect", "--format", graph, container).partition(" ")
        yield UpperLayer(upper=Path(upper), lowers=tuple(map(Path, lowers.split(":")))), container
    finally:
        _output("docker", "rm", "--force", container)
        _output("docker", "rmi", "--force", image)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=3600).stdout.strip()


def peak_memory(work: Callable[[], object]) -> int:
    """Return the most bytes that a process which only does `work` held, its interpreter included."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
            work()
            status = Path("/proc/self/status").read_text()
            os.write(writer, status.partition("VmHWM:")[2].split()[0].encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        kilobytes = stream.read()
    os.waitpid(pid, 0)
    return int(kilobytes or 0) * 1024


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return how long `work` took by the clock, and of processor time, its children's included."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        start, used = time.perf_counter(), _processor_seconds()
        work()
        return time.perf_counter() - start, _processor_seconds() - used
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure(entries: int, rounds: int) -> bool:
    """Print one row a way to read a layer of `entries` entries; tell whether the targets were met."""
    with (
        temporary_folder() as base,
        layer_with_container(base) as (layer, name),
    ):
        made = make_tree(layer.upper, entries)
        ways: dict[str, Callable[[], object]] = {
            "du -s": lambda: _output("du", "-s", str(layer.upper)),
            "one process": lambda: read_upper_layer(layer, processes=1),
            "two processes": lambda: read_upper_layer(layer, processes=2),
        }
        if name is not None:
            ways["docker diff"] = lambda: subprocess.run(
                ["docker", "diff", name], stdout=subprocess.DEVNULL, check=True
            )
        writes, notes = read_upper_layer(layer)
        counted = sum(write.entries for write in writes)
        print(
            f"\n{made:,} entries below {layer.upper.parts[1]}; {len(writes)} writes count {counted:,}; notes: {notes}"
        )
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, work in ways.items():
                times[way].append(_seconds(work))
        medians = {way: statistics.median(clock for clock, _ in taken) for way, taken in times.items()}
        processor = {way: statistics.median(used for _, used in taken) for way, taken in times.items()}
        met = True
        for way, median in medians.items():
            ratios = [f"{median / medians[other]:6.2f}" for other in ("du -s", "docker diff") if other in medians]
            memory = ""
            if "process" in way:
                each = processor[way] / (1 if way.startswith("one") else 2) / processor["du -s"]
                ratios.append(f"(processor: {each:.2f} x du)")
                memory = f"{peak_memory(ways[way]) / 2**20:6.1f} MiB at most"
                target = _TARGETS[1 if way.startswith("one") else 2]
                holds = median / medians["du -s"] <= target
                met = met and holds
                memory += f"   (goal: at most {target} x du): {'holds' if holds else 'MISSED'}"
            print(f"  {way:14} {median:7.2f} s   ÷ du, ÷ docker diff: {'  '.join(ratios)}   {memory}")
        return met


def main() -> int:
    """Measure every size asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, nargs="+", default=[200_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root: whiteouts are device nodes")
    results = [measure(entries, arguments.rounds) for entries in arguments.entries]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())

"""How long `lithify --version` and `--help` take beside a bare interpreter: `python -m bench.startup`.

Prints the median of each and its ratio to `python -c pass`, all timed in turn in one run, bytecode compiled first.
"""

import compileall
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import lithify

RUNS = 40
GOAL = 1.5
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "lithify --version": ["-c", "from lithify.cli.main import main; raise SystemExit(main(['--version']))"],
    "lithify --help": ["-c", "from lithify.cli.main import main; raise SystemExit(main(['--help']))"],
}


def measure(runs: int = RUNS) -> dict[str, list[float]]:
    """Return seconds per command, `runs` of each, in turn so that the machine's moods fall on all alike."""
    compileall.compile_dir(str(Path(lithify.__file__).parent), quiet=1)
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name, words in COMMANDS.items():
            taken[name].append(_time([sys.executable, *words]))
    return taken


def _time(command: Sequence[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> int:
    """Print the table; return 1 where the goal is missed."""
    taken = measure()
    bare = taken["python -c pass"]
    worst = 0.0
    for name, seconds in taken.items():
        ratio = statistics.median(b / a for a, b in zip(bare, seconds, strict=True))
        worst = max(worst, ratio)
        goal = f"(goal: at most x{GOAL}): {'holds' if ratio <= GOAL else 'MISSED'}" if seconds is not bare else ""
        print(f"{name:20} {statistics.median(seconds) * 1000:7.1f} ms   x{ratio:.2f}   {goal}")
    return 0 if worst <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())

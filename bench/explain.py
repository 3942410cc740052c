"""Explaining logs: lines a second and memory on a large log, beside `grep -i` for the one text on the same file.

Run with `python -m bench.explain`. Three logs of the same size: one that says nothing, one where one line in a thousand
reports a failed write, one where every line does.
"""

import argparse
import random
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lithify.engines.temporary import temporary_folder
from lithify.observe.erofs import explain, read_blocks

_SEED = 30
_MEBIBYTES = 50
_PLAIN = (
    '2024-05-{d:02d}T12:{m:02d}:{s:02d}.{u:06d}Z level=info msg="handled" path=/api/v1/items/{n} duration={u}us',
    '10.0.{d}.{m} - - [12/May/2024:12:{m:02d}:{s:02d} +0000] "GET /static/app.{n}.js HTTP/1.1" 200 {u} "-" "curl"',
    "2024-05-12 12:{m:02d}:{s:02d},{d:03d} INFO  [main] org.example.Service - Started job {n} in {u} ms",
    '{{"ts":17155{u},"level":"info","msg":"connection accepted","remote":"10.1.{d}.{m}:{n}","id":"{u}-{n}"}}',
    "2024-05-12 12:{m:02d}:{s:02d} ERROR worker: upstream timed out after {n} ms, retrying",
)
_FAILED = (
    '2024/05/12 12:{m:02d}:{s:02d} [crit] 7#7: *{n} open() "/var/cache/web/{d:02d}" failed (30: Read-only file system)',
    "OSError: [Errno 30] Read-only file system: '/srv/app/{d:02d}'",
    'level=error msg="can\'t store" err="mkdir /var/store/{d:02d}: read-only file system"',
    "Error: EROFS: read-only file system, open '/app/.next/{d:02d}.html'",
)


def write_log(path: Path, size: int, share: float) -> int:
    """Write a log of `size` bytes of whose lines `share` report a failed write; return its number of lines."""
    choice = random.Random(_SEED)
    written = lines = 0
    with path.open("w") as file:
        while written < size:
            forms = _FAILED if choice.random() < share else _PLAIN
            values = {"d": choice.randrange(28), "m": choice.randrange(60), "s": choice.randrange(60)}
            line = choice.choice(forms).format(u=choice.randrange(10**6), n=choice.randrange(10**5), **values)
            file.write(f"{line}\n")
            written += len(line) + 1
            lines += 1
    return lines


def best_seconds(work: Callable[[], object], rounds: int) -> float:
    """Return the least time that `work` took in so many rounds."""
    return min(_seconds(work) for _ in range(rounds))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _grep(path: Path) -> None:
    subprocess.run(["grep", "-c", "-i", "read-only file system", str(path)], stdout=subprocess.PIPE, check=False)


def _explain(path: Path) -> None:
    with path.open("rb") as file:
        explain(read_blocks(file))


def rows(directory: Path, mebibytes: int, rounds: int) -> Iterator[str]:
    """Yield a line of the table for each log."""
    for name, share, part in (("says nothing", 0.0, 1.0), ("1 line in 1000", 0.001, 1.0), ("every line", 1.0, 0.1)):
        path = directory / "app.log"
        size = int(mebibytes * part) << 20
        lines = write_log(path, size, share)
        ours = best_seconds(lambda path=path: _explain(path), rounds)  # type: ignore[misc]
        greps = best_seconds(lambda path=path: _grep(path), rounds)  # type: ignore[misc]
        yield (
            f"{name:15}{size >> 20:>6} MiB{lines:>10} lines{lines / ours:>14,.0f} lines/s"
            f"{size / ours / 2**20:>8.0f} MiB/s"
            f"{ours / greps:>10.1f} x grep -i"
        )


def main() -> None:
    """Print the table and the peak of memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=_MEBIBYTES, help="MiB of the logs (50)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, the best counts (3)")
    arguments = parser.parse_args()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with temporary_folder() as directory:
        for row in rows(directory, arguments.size, arguments.rounds):
            print(row, flush=True)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory {after / 1024:.0f} MiB, {(after - before) / 1024:.0f} MiB more than before the first log")


if __name__ == "__main__":
    main()

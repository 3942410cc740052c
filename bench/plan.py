"""Planning: time for each written path at 2,000 and at 200,000, and how little the depth of a path adds.

Run with `python -m bench.plan`. The ratio is what counts: it must not grow with the number of paths.
"""

import argparse
import gc
import time
from pathlib import PurePosixPath

from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.writes import Change, Observation, RunKey, Write, Writer, WriteSet
from lithify.plan import make_plan

_FEW, _MANY = 2_000, 200_000
_IN_A_DIRECTORY = 20
"""Written paths for each written directory: 200,000 paths are 10,000 directories."""
_LIMIT = 2.0
"""The sorts are n log n, and 200,000 paths outgrow the caches of the processor; a scan for each path would be 100."""


def spread(count: int, *, in_a_directory: int = _IN_A_DIRECTORY) -> WriteSet:
    """Return a write set of `count` files, so many in each directory, the directories in a tree of the image."""
    writer = (Writer(program="/usr/bin/app", uid=1000, gid=1000),)
    entries: dict[PurePosixPath, ImageEntry] = {}
    writes = []
    for number in range(count // in_a_directory):
        directory = PurePosixPath(f"/var/lib/app/{number % 100}/{number // 100}")
        for at in (directory, *directory.parents):
            entries.setdefault(at, ImageEntry(type=EntryType.DIRECTORY, mode=0o755, uid=1000, gid=1000, entries=3))
        writes += [
            Write(path=directory / f"file-{index}", change=Change.CREATED, type=EntryType.FILE, size=10, writers=writer)
            for index in range(in_a_directory)
        ]
    return _write_set(writes, entries)


def deep(levels: int) -> WriteSet:
    """Return a write set of one file so many directories down."""
    path = PurePosixPath("/var/lib/app", *["d"] * levels, "file")
    return _write_set([Write(path=path, change=Change.CREATED, type=EntryType.FILE, size=10)], {})


def _write_set(writes: list[Write], entries: dict[PurePosixPath, ImageEntry]) -> WriteSet:
    return WriteSet(
        key=RunKey(image="bench"),
        container="bench",
        image=ImageFacts(reference="bench", entries=entries),
        writes=tuple(writes),
        observation=Observation(seconds=1),
    )


def best_seconds(write_set: WriteSet, rounds: int) -> float:
    """Return the least processor time that planning took in so many rounds."""
    times = []
    gc.collect()
    gc.freeze()  # the collector looks at what planning makes, not at the input again and again
    for _ in range(rounds):
        start = time.process_time()
        make_plan(write_set)
        times.append(time.process_time() - start)
    gc.unfreeze()
    return min(times)


def main() -> int:
    """Print the figures; 1 where the time for each path grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    rounds = parser.parse_args().rounds
    shapes = {
        f"{_IN_A_DIRECTORY} files in a directory": _IN_A_DIRECTORY,
        "each file in a directory of its own": 1,
        "all files in 10 directories": 0,
    }
    grows = False
    for words, each in shapes.items():
        per_path = {}
        for count, times in ((_FEW, 3 * rounds), (_MANY, rounds)):
            seconds = best_seconds(spread(count, in_a_directory=each or count // 10), times)
            per_path[count] = seconds / count * 1e6
        ratio = per_path[_MANY] / per_path[_FEW]
        grows |= ratio > _LIMIT
        print(f"{words}: {per_path[_FEW]:.1f} us a path of {_FEW:,}, {per_path[_MANY]:.1f} of {_MANY:,}: {ratio:.2f}x")
    print(f"one path 10,000 directories deep: {best_seconds(deep(10_000), rounds) * 1e3:.1f} ms")
    print(f"time for each path stays the same (at most {_LIMIT}x): {'no' if grows else 'yes'}")
    return int(grows)


if __name__ == "__main__":
    raise SystemExit(main())

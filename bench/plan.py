"""Planning: time for each written path at 2,000 and at 200,000, and how little the depth of a path adds.

Run with `python -m bench.plan`. The ratio is what counts: it must not grow with the number of paths. Sizes are taken in
turn, and the least time of each counts, since other work on the machine only adds.
"""

import argparse
import gc
import time
from collections.abc import Sequence
from pathlib import PurePosixPath

from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.writes import Change, Observation, RunKey, Write, Writer, WriteSet
from lithify.plan import make_plan

_FEW, _MANY = 2_000, 200_000
_IN_A_DIRECTORY = 20
"""Written paths for each written directory: 200,000 paths are 10,000 directories."""
_LIMIT = 1.25
"""What 200,000 paths may take that outgrow the caches of the processor, and the sorts, which are n log n."""


def spread(count: int, *, in_a_directory: int = _IN_A_DIRECTORY) -> WriteSet:
    """Return a write set of `count` files, so many in each directory, the directories in a tree of the image.

    They come sorted by path, as `learn` gives them.
    """
    writer = (Writer(program="/usr/bin/app", uid=1000, gid=1000),)
    entries: dict[PurePosixPath, ImageEntry] = {}
    writes = []
    paths = (PurePosixPath(f"/var/lib/app/{number % 100}/{number // 100}") for number in range(count // in_a_directory))
    for directory in sorted(paths, key=lambda path: path.parts):
        for at in (directory, *directory.parents):
            entries.setdefault(at, ImageEntry(type=EntryType.DIRECTORY, mode=0o755, uid=1000, gid=1000, entries=3))
        writes += [
            Write(path=directory / name, change=Change.CREATED, type=EntryType.FILE, size=10, writers=writer)
            for name in sorted(f"file-{index}" for index in range(in_a_directory))
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


def best_seconds(write_sets: Sequence[WriteSet], rounds: int) -> list[float]:
    """Return the least processor time that planning each took in so many rounds, taken in turn."""
    times: list[list[float]] = [[] for _ in write_sets]
    most = max(len(write_set.writes) for write_set in write_sets)
    gc.collect()
    gc.freeze()  # the collector is not to look at the input between rounds
    for _ in range(rounds):
        for write_set, taken in zip(write_sets, times, strict=True):
            # The short ones are repeated, so that the least of them is as little a matter of chance.
            for _ in range(max(1, min(10, most // len(write_set.writes)))):
                start = time.process_time()
                make_plan(write_set)
                taken.append(time.process_time() - start)
    gc.unfreeze()
    return [min(taken) for taken in times]


def main() -> int:
    """Print the figures; 1 where the time for each path grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    shapes = {
        f"{_IN_A_DIRECTORY} files in a directory": _IN_A_DIRECTORY,
        "each file in a directory of its own": 1,
        "all files in 10 directories": 0,
    }
    grows = False
    for words, each in shapes.items():
        counts = (_FEW, _MANY)
        best = best_seconds([spread(count, in_a_directory=each or count // 10) for count in counts], rounds)
        few, many = (seconds / count * 1e6 for seconds, count in zip(best, counts, strict=True))
        holds = many / few <= _LIMIT
        grows |= not holds
        print(
            f"{words}: {few:.1f} us a path of {_FEW:,}, {many:.1f} of {_MANY:,}: {many / few:.2f}x "
            f"(goal: the same, at most {_LIMIT}x): {'holds' if holds else 'MISSED'}",
            flush=True,
        )
    print(f"one path 10,000 directories deep: {best_seconds([deep(10_000)], rounds)[0] * 1e3:.1f} ms")
    return int(grows)


if __name__ == "__main__":
    raise SystemExit(main())

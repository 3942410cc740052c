"""Planning: time for each written path at 2,000 and at 200,000, and how little the depth of a path adds.

Run with `python -m bench.plan`. The ratio is what counts: it must not grow with the number of paths. Beside it stands
the least that a program can do with the same paths, sort them and put each under its directory: 200,000 of them are
more than a processor's caches hold, which costs any program. Sizes are taken in turn, and the least time of each
counts, since other work on the machine only adds.
"""

import argparse
import gc
import time
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.writes import Change, Observation, RunKey, Write, Writer, WriteSet
from lithify.plan import make_plan

_FEW, _MANY = 2_000, 200_000
_IN_A_DIRECTORY = 20
"""Written paths for each written directory: 200,000 paths are 10,000 directories."""
_LIMIT = 1.25
"""How much more a path of 200,000 may take than one of 2,000, where sorting them does not take even more."""


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


def sort_and_group(write_set: WriteSet) -> None:
    """Do the least that any planning has to: sort the paths, and know what lies in each directory."""
    held: dict[PurePosixPath, list[PurePosixPath]] = {}
    for path in sorted((write.path for write in write_set.writes), key=lambda path: path.parts):
        held.setdefault(path.parent, []).append(path)


def best_seconds(work: Callable[[WriteSet], object], write_sets: Sequence[WriteSet], rounds: int) -> list[float]:
    """Return the least processor time that `work` took with each in so many rounds, taken in turn."""
    times: list[list[float]] = [[] for _ in write_sets]
    most = max(len(write_set.writes) for write_set in write_sets)
    gc.collect()
    gc.freeze()  # the collector is not to look at the input between rounds
    for _ in range(rounds):
        for write_set, taken in zip(write_sets, times, strict=True):
            # The short ones are repeated, so that the least of them is as little a matter of chance.
            for _ in range(max(1, min(10, most // len(write_set.writes)))):
                start = time.process_time()
                work(write_set)
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
        write_sets = [spread(count, in_a_directory=each or count // 10) for count in (_FEW, _MANY)]
        few, many = _per_path(make_plan, write_sets, rounds)
        fewest, most = _per_path(sort_and_group, write_sets, rounds)
        holds = many / few <= max(_LIMIT, most / fewest)
        grows |= not holds
        print(
            f"{words}: {few:.1f} us a path of {_FEW:,}, {many:.1f} of {_MANY:,}: {many / few:.2f}x; sorted and grouped "
            f"{fewest:.1f} and {most:.1f}: {most / fewest:.2f}x (goal: at most {_LIMIT}x, or as sorting): "
            f"{'holds' if holds else 'MISSED'}",
            flush=True,
        )
    print(f"one path 10,000 directories deep: {best_seconds(make_plan, [deep(10_000)], rounds)[0] * 1e3:.1f} ms")
    return int(grows)


def _per_path(work: Callable[[WriteSet], object], write_sets: Sequence[WriteSet], rounds: int) -> list[float]:
    """Return the microseconds that `work` takes for each path of each."""
    best = best_seconds(work, write_sets, rounds)
    return [seconds / len(one.writes) * 1e6 for seconds, one in zip(best, write_sets, strict=True)]


if __name__ == "__main__":
    raise SystemExit(main())

"""What patching costs beside reading: `python -m bench.patch [--files 2000] [--megabytes 100] [--seed 1]`.

Every container of a corpus made from the seed gets a plan of three places. Against it stands a bare parse of the same
bytes with positions, in the same process and turn about, so that the machine's moods fall on both alike. Then what
is patched grows to `--megabytes`, and a file to a tenth of it: the time per byte must stay what a process takes that
patches a hundredth of it and nothing else. Such processes, forked before anything grew, take turns with the parts of
the large ones: the same work was seen to take half as long again a minute later. Exit code 1 where a goal is missed.
"""

import argparse
import gc
import itertools
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path, PurePosixPath

from bench.corpus import write_corpus
from lithify.documents.yaml import read_documents
from lithify.engines.temporary import temporary_folder
from lithify.model.mount import Mount, MountPlan, StorageKind
from lithify.model.patch import Planned
from lithify.model.workload import may_hold_containers
from lithify.model.writes import RunKey
from lithify.patch.kubernetes import patch
from lithify.sources.manifest import read_manifest

TIMES_PARSE = 8.0
"""Patching may take this many times a bare parse: the file is parsed, changed, and what changed is parsed again."""
GROWTH = 1.3
"""Time per byte of the largest folder, against that of the smallest."""
_PARTS = 10
MOUNTS = tuple(
    Mount(path=PurePosixPath(path), storage=kind, size=1 << 20)
    for path, kind in (
        ("/tmp", StorageKind.MEMORY),
        ("/run", StorageKind.MEMORY),
        ("/var/cache/app", StorageKind.SCRATCH),
    )
)

Work = list[tuple[bytes, list[Planned]]]


def read_work(folder: Path) -> Work:
    """Return each file of a folder that holds containers, with a plan for each of them."""
    work = []
    for path in sorted(folder.rglob("*.yaml")):
        data = path.read_bytes()
        containers = [c for workload in read_manifest(str(path), data).workloads for c in workload.containers]
        planned = [
            Planned(
                document=container.location.document,
                route=container.location.route,
                container=container.name,
                plan=MountPlan(key=RunKey(image=container.image), container=container.name, mounts=MOUNTS),
            )
            for container in containers
        ]
        work.append((data, planned))
    return work


def parse(work: Work) -> int:
    """Read every document with positions, as a patch has to."""
    return sum(1 for data, _ in work for _ in read_documents(data, may_hold_containers))


def patch_all(work: Work) -> int:
    """Patch every file; return how many containers were left out."""
    return sum(len(patch(data, planned).refused) for data, planned in work)


def timed(run: Callable[[Work], int], work: Work) -> float:
    """Return the processor seconds that something takes; as in the command, without the search for cycles."""
    gc.collect()
    gc.disable()
    begun = time.process_time()
    run(work)
    gc.enable()
    return time.process_time() - begun


def compare(work: Work, rounds: int) -> tuple[float, float]:
    """Return the medians of seconds for a bare parse and for a patch, taken in turn."""
    pairs = [(timed(parse, work), timed(patch_all, work)) for _ in range(rounds)]
    return statistics.median(one for one, _ in pairs), statistics.median(other for _, other in pairs)


def main(words: list[str] | None = None) -> int:
    """Measure, print the table, return 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.patch", description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(words)
    with temporary_folder() as folder:
        work = _corpus(folder, arguments.files, arguments.seed)
    size = _size(work)
    bare, patched = compare(work, arguments.rounds)
    left_out = patch_all(work)
    containers = sum(len(planned) for _, planned in work)
    print(f"{len(work)} files, {size / 1e6:.1f} MB, {containers} containers, {left_out} left out; processor time")
    print(f"bare parse: {bare:6.2f} s  {len(work) / bare:7.0f} files/s  {size / bare / 1e6:6.1f} MB/s")
    print(f"patch:      {patched:6.2f} s  {len(work) / patched:7.0f} files/s  {size / patched / 1e6:6.1f} MB/s")
    print(f"patch / bare parse: {patched / bare:.1f} (goal: at most {TIMES_PARSE})")
    growth = _grow(work, arguments.megabytes)
    print(f"time per byte, largest / smallest: {growth:.2f} (goal: at most {GROWTH})")
    return 0 if patched / bare <= TIMES_PARSE and growth <= GROWTH and not left_out else 1


def _corpus(folder: Path, files: int, seed: int) -> Work:
    write_corpus(str(folder), files, seed)
    return read_work(folder)


def _grow(work: Work, megabytes: int) -> float:
    """Return how the time per byte grows from a hundredth of `megabytes` to all of it."""
    small, _ = _repeated(work, 0, megabytes * 10_000)
    whole = _joined(work, megabytes * 100_000)
    fresh = [_Fresh(small) for _ in range(2 * _PARTS)]
    parts: list[tuple[str, float, float]] = []  # what, seconds per byte, those of a fresh process in the same turn
    files = total = 0
    for one in fresh[:_PARTS]:
        part, files = _repeated(work, files, megabytes * 1_000_000 // _PARTS)
        total += (size := _size(part))
        parts.append((f"{total / 1e6:6.1f} MB in {files} files", timed(patch_all, part) / size, one.seconds_per_byte()))
    for one in fresh[_PARTS:]:
        seconds = timed(patch_all, [whole]) / len(whole[0])
        parts.append((f"{len(whole[0]) / 1e6:6.1f} MB in one file", seconds, one.seconds_per_byte()))
    for what, seconds, alone in parts:
        print(f"{what}: {1e-6 / seconds:.1f} MB/s; {_size(small) / 1e6:.1f} MB alone: {1e-6 / alone:.1f} MB/s")
    ratios = [seconds / alone for _, seconds, alone in parts]
    # Of the folder the second half, where what grows has grown.
    return max(statistics.median(ratios[_PARTS // 2 : _PARTS]), statistics.median(ratios[_PARTS:]))


class _Fresh:
    """A process that has patched nothing yet, and waits to be asked what patching `work` takes."""

    def __init__(self, work: Work) -> None:
        context = multiprocessing.get_context("fork")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=self._answer, args=(theirs, work), daemon=True)
        self._process.start()

    @staticmethod
    def _answer(asked: Connection, work: Work) -> None:
        asked.recv()
        asked.send(timed(patch_all, work) / _size(work))

    def seconds_per_byte(self) -> float:
        self._ours.send(None)
        seconds: float = self._ours.recv()
        self._process.join()
        return seconds


def _size(work: Work) -> int:
    return sum(len(data) for data, _ in work)


def _repeated(work: Work, begin: int, size: int) -> tuple[Work, int]:
    """Return so many bytes of `work`, over and over, from its file `begin` on; and with which file to go on."""
    held: Work = []
    total = 0
    while total < size:
        held.append(work[(begin + len(held)) % len(work)])
        total += len(held[-1][0])
    return held, begin + len(held)


def _joined(work: Work, size: int) -> tuple[bytes, list[Planned]]:
    """Return one file of many documents, with the plans for all of them."""
    parts: list[bytes] = []
    plans: list[Planned] = []
    total = documents = 0
    for data, planned in itertools.cycle(work):
        if total >= size:
            break
        parts.append(data)
        plans += [replace(one, document=one.document + documents) for one in planned]
        documents += sum(1 for _ in read_documents(data))
        total += len(data)
    return b"\n---\n".join(parts), plans


if __name__ == "__main__":
    os.nice(5)
    sys.exit(main())

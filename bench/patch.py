"""What patching costs beside reading: `python -m bench.patch [--files 2000] [--megabytes 100] [--seed 1]`.

Every container of a corpus made from the seed gets a plan of three places. Against it stands a bare parse of the same
bytes with positions, in the same process and turn about, so that the machine's moods fall on both alike. Then what
is patched grows to `--megabytes`, tenfold each step, and at last to one file of a tenth of it: the time per byte must
stay what it was. Exit code 1 where a goal
is missed.
"""

import argparse
import gc
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from bench.corpus import write_corpus
from lithify.documents.yaml import read_documents
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
    with tempfile.TemporaryDirectory(prefix="lithify-bench-") as name:
        work = _corpus(Path(name), arguments.files, arguments.seed)
    size = sum(len(data) for data, _ in work)
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
    per_byte = []
    for target in (megabytes * 10_000, megabytes * 100_000, megabytes * 1_000_000):
        held: Work = []
        total = 0
        while total < target:
            data, planned = work[len(held) % len(work)]
            held.append((data, planned))
            total += len(data)
        seconds = timed(patch_all, held)
        per_byte.append(seconds / total)
        print(f"{total / 1e6:6.1f} MB in {len(held)} files: {seconds:.1f} s, {total / seconds / 1e6:.1f} MB/s")
    whole = _joined(work, megabytes * 100_000)
    seconds = timed(patch_all, [whole])
    per_byte.append(seconds / len(whole[0]))
    print(f"{len(whole[0]) / 1e6:6.1f} MB in one file: {seconds:.1f} s, {len(whole[0]) / seconds / 1e6:.1f} MB/s")
    return max(per_byte[-2:]) / per_byte[0]


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

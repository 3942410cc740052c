"""Audits files: finds them, reads and judges each, on every core and from a cache, and hands back a Report.

Results are kept as bytes, for many inputs in a file without a name, so that memory does not grow with a corpus. A
child that dies takes only the inputs with it that it was reading, and these are tried again, each alone.
"""

from __future__ import annotations

import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import lithify
from lithify.model.collection import no_collection
from lithify.model.finding import FileResult, Report
from lithify.model.text import as_utf8
from lithify.model.workload import Exemption
from lithify.pipeline.extensions import Extension, foreign_sources
from lithify.pipeline.judge import ALL, Judge, depends_on_more, pack, unpack
from lithify.sources.base import Reading, left_out, read_bytes, unreadable
from lithify.sources.files import Input, find_inputs, kind_of, read_source, read_stdin

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from lithify.pipeline.cache import Cache

PARALLEL_FROM = 300
"""Inputs from which on a second process pays for its start."""
CACHED_FROM = 20
"""Inputs from which on the cache pays for being read."""

Record = tuple[bytes, bytes]
"""The key of a result in the cache (nothing where it may not be kept), and the result as `pack` writes it."""


def audit(
    paths: Sequence[str],
    *,
    rules: Iterable[str] | None = None,
    today: str = "",
    baseline: Mapping[str, Exemption] | None = None,
    ignore: bool = True,
    stack: bool = False,
    shard: tuple[int, int] | None = None,
    workers: int | None = None,
    cache: str | None = None,
    values: Sequence[str] = (),
    edits: bool = False,
) -> Report:
    """Return what came of all files that `paths` name; findings and unreadable inputs are values in the report.

    `rules` limits it to those named; `baseline` exempts findings by fingerprint; `stack` reads Compose files as Swarm
    would; `shard` (i, n) examines the i-th of n parts, from 1; `workers` is how many processes work at most; `cache`
    is a folder that keeps results of files by their content; `values` are value files for charts; `edits` works out
    the text that fixes change, in small runs. `today` (YYYY-MM-DD) decides which exemptions have expired.
    NothingToExamine where a path does not exist.
    """
    sources = foreign_sources()
    suffixes = tuple(suffix for source in sources for suffix in source.value.SUFFIXES)
    inputs = find_inputs(paths, ignore=ignore, suffixes=suffixes)
    if shard is not None:
        inputs = [entry for entry in inputs if _part(entry[1], shard[1]) == shard[0] - 1]
    judge = Judge(today or time.strftime("%Y-%m-%d"), rules)
    examiner = Examiner(judge, inputs, stack=stack, values=tuple(values))
    examiner.sources = sources
    # The code of others may change without a trace that the cache could see.
    if cache is not None and len(inputs) >= CACHED_FROM and not sources and not judge.foreign:
        from lithify.pipeline.cache import Cache

        examiner.cache = Cache(
            cache,
            "|".join(
                (os.getcwd(), *paths, *sorted(judge.names), str(stack), *(source.distribution for source in sources))
            ),
        )
    with no_collection():  # there are hundreds of thousands of nodes
        records = _examine(inputs, examiner, workers)
        if examiner.cache is not None:
            examiner.cache.save(records)

    def results() -> Iterator[FileResult]:
        for (_, path), (_, blob) in zip(inputs, records(), strict=True):
            result = unpack(path, blob, baseline)
            if edits:
                add_edits(result, stack=stack)
            yield result

    if edits:
        from lithify.pipeline.edits import EDITED_UP_TO, add_edits

        edits = len(inputs) <= EDITED_UP_TO
    return Report(
        results,
        examined=len(inputs),
        rules=[(module.RULE, module) for module in ALL if module.RULE.name in judge.names],
        tool_version=lithify.__version__,
        today=judge.today,
    )


def _examine(inputs: list[Input], examiner: Examiner, workers: int | None) -> Callable[[], Iterator[Record]]:
    """Return what yields the record of each input: first those that the cache knows, then the others, on all cores."""
    known = _known(inputs, examiner)
    others = [entry for entry, record in zip(inputs, known, strict=True) if record is None] if known else inputs
    threads = sys.modules.get("threading")
    if len(others) < PARALLEL_FROM or (threads is not None and threads.active_count() > 1):  # fork copies one thread
        kept = [examiner.examine(entry) for entry in others]
        examined: Callable[[], Iterator[Record]] = lambda: iter(kept)  # noqa: E731
    else:
        from lithify.pipeline.spread import spread

        count = min(workers or len(os.sched_getaffinity(0)), 64)
        examined = spread(others, examiner.examine, count, _died)
    if not known:
        return examined

    def records() -> Iterator[Record]:
        fresh = examined()
        for key in known:
            yield next(fresh) if key is None else (key, examiner.recall(key))

    return records


def _known(inputs: list[Input], examiner: Examiner) -> list[bytes | None]:
    """Return for each input the key under which the cache has its result; nothing where it is not worth asking."""
    if examiner.cache is None or examiner.cache.empty:
        return []
    known: list[bytes | None] = []
    missed = 0
    for entry in inputs:
        key = examiner.key(entry)
        known.append(key)
        missed += key is None
        if missed > PARALLEL_FROM and missed > len(known) // 4:
            return []  # another tree: all cores read it faster than this one asks
    return known


def _died(entry: Input) -> Record:
    return b"", pack(Judge("").judge(unreadable(entry[1], "reading it ended the process that did")))


def _part(path: str, parts: int) -> int:
    """Return which of `parts` a path falls into, the same on every machine."""
    return zlib.crc32(path.encode("utf-8", "surrogateescape")) % parts


class Examiner:
    """Takes an input to its result, as bytes."""

    __slots__ = ("_files", "_inputs", "cache", "judge", "sources", "stack", "values")

    def __init__(
        self, judge: Judge, inputs: Sequence[Input] = (), *, stack: bool = False, values: tuple[str, ...] = ()
    ) -> None:
        self.judge = judge
        self._inputs = inputs
        self._files: set[str] | None = None
        self.stack = stack
        self.values = values
        self.sources: list[Extension] = []
        self.cache: Cache | None = None

    def key(self, entry: Input) -> bytes | None:
        """Return the key of an input whose result is in the cache; None for all others."""
        data = read_bytes(entry[1]) if entry[0] == "file" else ""
        if isinstance(data, str) or self.cache is None:
            return None
        data = as_utf8(data)
        key = self.cache.key(kind_of(entry[1], data), data)
        return key if self.cache.get(key) is not None else None

    def examines(self, path: str) -> bool:
        """Tell whether a file is an input of its own."""
        if self._files is None:
            self._files = {os.path.abspath(path) for kind, path in self._inputs if kind == "file"}
        return os.path.abspath(path) in self._files

    def recall(self, key: bytes) -> bytes:
        """Return a result that `key` found."""
        known = self.cache.get(key) if self.cache is not None else None
        assert known is not None
        return known

    def examine(self, entry: Input) -> Record:
        """Return the result of one input, and the key it may be cached under; no key where it may not."""
        kind, path = entry
        if kind == "chart" or kind == "kustomization":
            return b"", self._result(self._rendered(kind, path))
        if kind == "patch":
            reason = "a patch of the kustomization beside it: name its folder, and it is built"
            return b"", self._result(left_out(path, reason))
        data = read_stdin() if kind == "stdin" else read_bytes(path) if kind == "file" else "no permission to list it"
        if isinstance(data, str):
            return b"", self._result(unreadable(path, data))
        data = as_utf8(data)
        key = b"" if self.cache is None or kind == "stdin" else self.cache.key(kind_of(path, data), data)
        reading = self._foreign(path, data)
        if reading is not None:
            return b"", self._result(reading)
        reading = read_source(path, data, stack=self.stack, elsewhere=self.examines)
        return b"" if depends_on_more(reading) else key, self._result(reading)

    def _foreign(self, path: str, data: bytes) -> Reading | None:
        """Return what a source of others makes of a file; None where none of them wants it."""
        for source in self.sources:
            try:
                if source.value.wanted(path, data):
                    reading: Reading = source.value.read(path, data)
                    return reading
            except Exception as error:
                return unreadable(path, f"{source.distribution} failed on it: {type(error).__name__}: {error}")
        return None

    def _rendered(self, kind: str, path: str) -> Reading:
        if kind == "chart":
            from lithify.sources.helm import read_chart

            return read_chart(path, self.values)
        from lithify.sources.kustomize import read_kustomization

        return read_kustomization(path)

    def _result(self, reading: Reading) -> bytes:
        packed = pack(self.judge.judge(reading))
        for workload in reading.workloads:
            workload.containers = ()  # ends the only cycle, so that counting references frees all of it
        return packed

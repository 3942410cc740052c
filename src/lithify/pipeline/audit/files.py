"""Audits files: finds them, reads and judges each, on every core and from a cache, and hands back a Report.

Results are kept as bytes, for many inputs in a file without a name, so that memory does not grow with a corpus. A
child that dies takes only the inputs with it that it was reading, and these are tried again, each alone.
"""

from __future__ import annotations

import marshal
import os
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import lithify
from lithify.model.collection import no_collection
from lithify.model.finding import FileResult, Report
from lithify.model.text import as_utf8, printable
from lithify.model.workload import Exemption
from lithify.pipeline.audit.judge import ALL, Judge, depends_on_more, pack, unpack
from lithify.pipeline.audit.spool import Spool
from lithify.pipeline.audit.spread import Results, spread
from lithify.pipeline.extensions import Extension, foreign_sources
from lithify.sources.base import Reading, left_out, read_bytes, unreadable
from lithify.sources.files import (
    Input,
    find_inputs,
    kind_by_name,
    leave_out_broken,
    read_named,
    read_parts,
    read_source,
    read_stdin,
)

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from lithify.pipeline.audit.cache import Cache

PARALLEL_FROM = 300
"""Inputs from which on a second process pays for its start."""
READ_AGAIN = 1 << 20
"""Bytes that may be read again for the edits of one input; later findings of a huge one have none."""
CACHED_FROM = 20
"""Inputs from which on the cache pays for being read."""


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
    as_json: bool = False,
) -> Report:
    """Return what came of all files that `paths` name; findings and unreadable inputs are values in the report.

    `rules` limits it to those named; `baseline` exempts findings by fingerprint; `stack` reads Compose files as Swarm
    would; `shard` (i, n) examines the i-th of n parts, from 1; `workers` is how many processes work at most; `cache`
    is a folder that keeps results of files by their content; `values` are value files for charts; `edits` works out
    the text that fixes change, in small runs; `as_json` has a JSON report written by whoever judges, in others. `today`
    (YYYY-MM-DD) decides which exemptions have expired. NothingToExamine where a path does not exist.
    """
    sources = foreign_sources()
    suffixes = tuple(suffix for source in sources for suffix in source.value.SUFFIXES)
    inputs = find_inputs(paths, ignore=ignore, suffixes=suffixes)
    everything = inputs
    if shard is not None:
        inputs = [entry for entry in inputs if _part(entry[1], shard[1]) == shard[0] - 1]
    judge = Judge(today or time.strftime("%Y-%m-%d"), rules)
    examiner = Examiner(judge, stack=stack, values=tuple(values))
    examiner.sources = sources
    examiner.named = frozenset(paths)
    if edits:
        from lithify.pipeline.audit.edits import EDITED_UP_TO, add_edits

        edits = len(inputs) <= EDITED_UP_TO
    examiner.as_json = as_json and not edits and baseline is None
    # The code of others may change without a trace that the cache could see.
    if cache is not None and len(inputs) >= CACHED_FROM and not sources and not judge.foreign:
        from lithify.pipeline.audit.cache import Cache

        examiner.cache = Cache(
            cache,
            "|".join(
                (os.getcwd(), *paths, *sorted(judge.names), str(stack), *(source.distribution for source in sources))
            ),
            by_path=examiner.as_json,
        )
    with no_collection():  # there are hundreds of thousands of nodes
        kept = _examine(inputs, examiner, workers)
        if examiner.cache is not None:
            examiner.cache.save(kept)
        others = set(everything).difference(inputs) if shard is not None else ()
        notes = [*kept.notes, *examiner.notes_of(others)]
        users = _users(everything, notes) if notes else {}

    def results() -> Iterator[FileResult]:
        for (_, path), parts in zip(inputs, kept, strict=True):
            left = READ_AGAIN if edits else 0
            if path in users:
                yield unpack(path, examiner.pack(left_out(path, _belongs(users[path]))))
                continue
            for number, part in enumerate(parts):
                result = unpack(path, part, baseline)
                result.continued = number > 0
                left = add_edits(result, left, stack=stack) if left > 0 else 0
                yield result

    return Report(
        results,
        examined=len(inputs),
        rules=[(module.RULE, module) for module in ALL if module.RULE.name in judge.names],
        tool_version=lithify.__version__,
        today=judge.today,
    )


def _examine(inputs: list[Input], examiner: Examiner, workers: int | None) -> Results:
    """Return what came of each input, from the cache or examined, on all cores where there are many."""
    threads = sys.modules.get("threading")
    alone = len(inputs) < PARALLEL_FROM or (threads is not None and threads.active_count() > 1)
    count = 1 if alone else min(workers or len(os.sched_getaffinity(0)), 64)  # fork copies one thread
    elsewhere = examiner.cache.results if examiner.cache is not None else None
    return spread(inputs, examiner.examine, count, _died, elsewhere)


def _died(entry: Input, spool: Spool) -> bytes:
    spool.keep(pack(Judge("").judge(unreadable(entry[1], "reading it ended the process that did"))))
    return b""


def _part(path: str, parts: int) -> int:
    """Return which of `parts` a path falls into, the same on every machine."""
    return zlib.crc32(path.encode("utf-8", "surrogateescape")) % parts


def _users(inputs: Sequence[Input], notes: Iterable[bytes]) -> dict[str, str]:
    """Return which input each one is part of, by path, where all that it describes is judged with that one.

    Of those that are parts of each other the first counts.
    """
    said: dict[str, dict[str, tuple[str, ...]]] = dict(map(marshal.loads, notes))
    parts = {part for named in said.values() for part in named}
    real = {path: os.path.realpath(path) for kind, path in inputs if kind == "file"}
    alone: set[str] = set()
    users: dict[str, str] = {}
    left: dict[str, set[str]] = {}
    for path in sorted((path for path in real if path in said), key=lambda path: real[path] in parts):
        if real[path] in users:
            continue
        alone.add(real[path])
        for part, missing in said[path].items():
            if part not in alone:
                left[part] = left.get(part, set(missing)).intersection(missing)
                if not left[part]:
                    users.setdefault(part, path)
    return {path: users[part] for path, part in real.items() if part in users}


def _belongs(user: str) -> str:
    return f"only a part of {printable(user)}, which includes, extends or merges it: judged there"


class Examiner:
    """Takes an input to its result, as bytes."""

    __slots__ = ("as_json", "cache", "judge", "named", "sources", "stack", "values")

    def __init__(self, judge: Judge, *, stack: bool = False, values: tuple[str, ...] = ()) -> None:
        self.judge = judge
        self.stack = stack
        self.values = values
        self.sources: list[Extension] = []
        self.named: frozenset[str] = frozenset()
        """Paths that were named: where no container is in one, it is said, as it is not of all that a folder holds."""
        self.as_json = False
        """True to have results written as JSON as well, with their paths."""
        self.cache: Cache | None = None

    def notes_of(self, inputs: Iterable[Input]) -> Iterator[bytes]:
        """Yield what inputs of other shards say of ours: of those that are called as Compose's files are."""
        for kind, path in inputs:
            data = read_bytes(path) if kind == "file" and "compose" in os.path.basename(path) else ""
            if isinstance(data, bytes) and (b"include" in data or b"extends" in data):
                yield _note(path, read_source(path, as_utf8(data), stack=self.stack))

    def pack(self, reading: Reading) -> bytes:
        """Return what comes of a reading, as bytes."""
        return pack(self.judge.judge(reading), as_json=self.as_json)

    def examine(self, entry: Input, spool: Spool) -> bytes:
        """Keep the result of one input; return the key it may be cached under, and nothing where it may not."""
        kind, path = entry
        if kind == "chart" or kind == "kustomization":
            self._keep(self._rendered(kind, path), spool)
            return b""
        if kind == "patch":
            reason = "a patch of the kustomization beside it: name its folder, and it is built"
            self._keep(left_out(path, reason), spool)
            return b""
        data = read_stdin() if kind == "stdin" else read_bytes(path) if kind == "file" else "no permission to list it"
        if isinstance(data, str):
            self._keep(unreadable(path, data), spool)
            return b""
        data = as_utf8(data)
        key = b""
        if self.cache is not None and kind != "stdin":
            key = self.cache.key(path, kind_by_name(path) + ("+" if path in self.named else ""), data)
            found = self.cache.find(key)
            if found is not None:
                spool.refer(*found)
                return key
        foreign = self._foreign(path, data)
        if foreign is not None:
            self._keep(foreign, spool)
            return b""
        silent = path in self.named
        for reading in read_parts(path, data, stack=self.stack):
            key = b"" if depends_on_more(reading) else key
            if reading.oddities and kind == "file" and path not in self.named:
                leave_out_broken(reading, data)
            silent = silent and not (reading.workloads or reading.oddities or reading.skipped)
            if reading.parts:
                spool.notes.append(_note(path, reading))
            if not silent:
                self._keep(reading, spool)
        if silent:
            self._keep(read_named(path, data), spool)
        return key

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

    def _keep(self, reading: Reading, spool: Spool) -> None:
        spool.keep(self.pack(reading))
        for workload in reading.workloads:
            workload.containers = ()  # ends the only cycle, so that counting references frees all of it


def _note(path: str, reading: Reading) -> bytes:
    return marshal.dumps((path, reading.parts))

"""Finds in a log the writes that failed, and says what they mean.

`read_log` takes lines as they come, `explain` whole logs. Most lines of a log say nothing: one search of each block for
a few fixed strings finds those that may, and only they are decoded and read. A line is cut at 64 KiB, so that hostile
input costs no more than its length.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

from lithify.engines.mounts import MountPoint
from lithify.model.log import Explanation, LogCause, LogError, LogEvent, Operation
from lithify.model.path import ROOT, printable
from lithify.observe.logs.drafts import Draft, Offer, Pending, awaiting, examine
from lithify.observe.logs.envelopes import unwrap
from lithify.observe.logs.places import judge_path
from lithify.observe.logs.prefilter import candidates
from lithify.observe.logs.remedies import explained
from lithify.observe.logs.shapes import Failure

LINE_LIMIT = 1 << 16
"""Bytes of a line that are read."""
BLOCK = 1 << 20
_TAIL = 4096
"""Bytes before a line in which the pieces that belong to it are looked for."""
_RAW_LIMIT = 400
_NAME_LIMIT = 300
_PLACES_LIMIT = 5000
"""Places an explanation lists; a log that names more is counted, not listed."""
_NAMES_LIMIT = 5
_PENDING_LIMIT = 64
"""Containers of which an event may wait for its next lines."""
_PATIENCE = 200
"""Lines of other containers after which an event waits no longer."""


def read_log(
    lines: Iterable[bytes],
    *,
    working_directory: PurePosixPath = ROOT,
    mounts: Sequence[MountPoint] = (),
) -> Iterator[LogEvent]:
    """Yield the failed writes that `lines` report, each as soon as the lines that belong to it are read.

    A line may end in a line end or not, and an item may hold several. `working_directory` is where relative paths are
    resolved; `mounts`, the container's mount table, tells the root from other mounts. Never raises on what it reads.
    """
    reader = LogReader(working_directory=working_directory, mounts=mounts)
    for line in lines:
        yield from reader.feed(line if line.endswith(b"\n") else line + b"\n")
    yield from reader.finish()


def read_blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield what is in `file`, in pieces of a bounded size."""
    while block := file.read(BLOCK):
        yield block


def explain(
    blocks: Iterable[bytes],
    *,
    source: str = "",
    working_directory: PurePosixPath = ROOT,
    mounts: Sequence[MountPoint] = (),
) -> Explanation:
    """Return what a log says about failed writes; `blocks` are the log, cut into pieces anywhere, `source` its name."""
    reader = LogReader(working_directory=working_directory, mounts=mounts)
    summary = _Summary()
    for block in blocks:
        summary.take(reader.feed(block))
    summary.take(reader.finish())
    return Explanation(
        causes=summary.causes(),
        lines=reader.lines,
        source=source,
        events=summary.events,
        omitted=summary.omitted,
    )


class LogReader:
    """Reads a log fed to it in pieces of any size."""

    def __init__(self, *, working_directory: PurePosixPath = ROOT, mounts: Sequence[MountPoint] = ()) -> None:
        self._judge = lru_cache(maxsize=1024)(partial(_judge, working_directory, tuple(mounts)))
        self._rest = bytearray()
        self._unfinished = False
        self._tail = b""
        self._pending: dict[str, Pending] = {}
        self._last: tuple[object, ...] = ()
        self.lines = 0
        """Lines read so far."""

    def feed(self, data: bytes) -> Iterator[LogEvent]:
        """Yield the events that `data` completes."""
        for start in range(0, len(data), BLOCK):
            yield from self._feed(data[start : start + BLOCK])

    def _feed(self, data: bytes) -> Iterator[LogEvent]:
        if self._unfinished:
            end = data.find(b"\n")
            self._rest += data[: LINE_LIMIT - len(self._rest) if end < 0 else min(end, LINE_LIMIT - len(self._rest))]
            if end < 0:
                return
            data = data[end + 1 :]
            yield from self._finish_line()
        last = data.rfind(b"\n") + 1
        yield from self._read_block(data[:last] if last < len(data) else data)
        if last < len(data):
            self._rest += data[last : last + LINE_LIMIT]
            self._unfinished = True

    def finish(self) -> Iterator[LogEvent]:
        """Yield what the end of the log completes."""
        if self._unfinished:
            yield from self._finish_line()
        for container in list(self._pending):
            yield from self._release(container)

    def _finish_line(self) -> Iterator[LogEvent]:
        line = bytes(self._rest)
        self._rest.clear()
        self._unfinished = False
        yield from self._read_block(line + b"\n")

    def _read_block(self, block: bytes) -> Iterator[LogEvent]:
        """Read complete lines: those that may say something, and those that may belong to them."""
        yield from self._read_candidates(block, candidates(block))
        self._tail = (self._tail + block)[-_TAIL:] if len(block) < _TAIL else block[-_TAIL:]

    def _read_candidates(self, block: bytes, starts: Sequence[int]) -> Iterator[LogEvent]:
        position = index = 0
        while position < len(block):
            while index < len(starts) and starts[index] < position:
                index += 1
            start = position if self._pending else starts[index] if index < len(starts) else len(block)
            self.lines += block.count(b"\n", position, start)
            if start == len(block):
                return
            end = block.find(b"\n", start)
            position = end + 1
            self.lines += 1
            hit = index < len(starts) and starts[index] == start
            line = block[start : min(end, start + LINE_LIMIT)]
            if hit:
                before = block[max(0, start - _TAIL) : start]
                line = _join_pieces(before if start >= _TAIL else self._tail + before, line)
            yield from self._read_line(line, hit=hit)

    def _read_line(self, line: bytes, *, hit: bool) -> Iterator[LogEvent]:
        text = line.decode("utf-8", "surrogateescape").replace("\r", "\n").rstrip("\n")
        if self._pending:
            yield from self._expire()
            messages = tuple(unwrap(text))
            pending = self._pending.get(messages[0].container)
            offer = pending.offer(messages) if pending else Offer.RELEASED
            if offer is Offer.CONSUMED:
                return
            yield from self._release(messages[0].container)
            if offer is Offer.COMPLETED:
                return
        if not hit:
            return
        for draft in examine(unwrap(text), line=self.lines, raw=printable(text.strip()[: _RAW_LIMIT * 2])[:_RAW_LIMIT]):
            container = draft.message.container
            yield from self._release(container)
            pending = awaiting(draft)
            if pending and len(self._pending) < _PENDING_LIMIT:
                self._pending[container] = pending
            elif draft.counts:
                yield from self._emit(draft)

    def _release(self, container: str) -> Iterator[LogEvent]:
        pending = self._pending.pop(container, None)
        if pending and pending.draft.counts:
            yield from self._emit(pending.draft)

    def _expire(self) -> Iterator[LogEvent]:
        """Let go of events whose container has been silent for long."""
        for container, pending in list(self._pending.items()):
            if self.lines - pending.draft.line > _PATIENCE:
                yield from self._release(container)

    def _emit(self, draft: Draft) -> Iterator[LogEvent]:
        message = draft.message
        claim = _Claim(
            draft.failure,
            draft.confidence,
            draft.cause,
            draft.remedy,
            draft.climbs,
            message.container[:_NAME_LIMIT],
            message.program[:_NAME_LIMIT],
        )
        event = self._judge(claim)
        # `Caused by:` repeats what the first line of a trace has said already
        said = (event.container, event.path, event.error)
        if not (draft.repeats and said == self._last):
            yield replace(event, line=draft.line, raw=draft.raw, time=printable(message.time[:64]))
        self._last = said


# conmon (CRI-O, Podman) logs each write by itself and marks with P those that end no line: coreutils write a
# complaint in three pieces.
_PIECE = re.compile(rb"\S+ (stdout|stderr) ([FP])(?::\S+)? ")


def _join_pieces(before: bytes, line: bytes) -> bytes:
    """Return `line` with the pieces put before it that `before`, what stands before it in the log, ends in."""
    own = _PIECE.match(line)
    if not own:
        return line
    pieces = [line[own.end() :]]
    while before.endswith(b"\n"):
        start = before.rfind(b"\n", 0, -1) + 1
        piece = _PIECE.match(before, start)
        if not piece or piece[1] != own[1] or piece[2] != b"P":
            break
        pieces.append(before[piece.end() : -1])
        before = before[:start]
    return own[0] + b"".join(reversed(pieces))


class _Claim(NamedTuple):
    """What a line claims, its number and time left out: a program that fails mostly fails in the same way again."""

    failure: Failure
    confidence: float | None
    cause: str
    remedy: str
    climbs: bool
    container: str
    program: str


def _judge(working_directory: PurePosixPath, mounts: tuple[MountPoint, ...], claim: _Claim) -> LogEvent:
    """Return the event that a claim makes, its line left open."""
    failure = claim.failure
    event = LogEvent(
        error=failure.error,
        line=0,
        raw="",
        operation=failure.operation,
        container=printable(claim.container),
        program=printable((failure.program or claim.program)[:_NAME_LIMIT]),
        deeper=failure.deeper,
        cause=claim.cause,
        remedy=claim.remedy,
    )
    if failure.path is None:
        return explained(event, mounts)
    place = judge_path(failure.path, working_directory, temporary=failure.temporary, normalise=claim.climbs)
    second = judge_path(failure.second, working_directory).path if failure.second else None
    confidence = claim.confidence
    if confidence is None:
        confidence = 0.9 if failure.delimited else 0.6
    if place.relative:
        confidence = min(confidence, 0.4)
    elif place.folded:
        confidence = min(confidence, 0.6)
    event = replace(
        event,
        path=place.path,
        second=second,
        confidence=confidence if place.path else 0.0,
        relative=place.relative,
        folded=place.folded,
        renames=place.renames and failure.operation is not Operation.MKDIR,
        refused=place.refused,
    )
    return explained(event, mounts)


@dataclass(slots=True)
class _Tally:
    """What is kept of events that say the same."""

    first: LogEvent
    line: int
    last_line: int
    count: int = 0
    names: tuple[str, ...] = ()


class _Summary:
    """Counts events by what they say."""

    def __init__(self) -> None:
        self.events = 0
        self.omitted = 0
        self._tallies: dict[tuple[object, ...], _Tally] = {}

    def take(self, events: Iterable[LogEvent]) -> None:
        for event in events:
            self.events += 1
            key = (event.container, event.place, event.operation, event.error, event.path is None and event.cause)
            tally = self._tallies.get(key)
            if tally is None and len(self._tallies) >= _PLACES_LIMIT:
                self.omitted += 1
                continue
            if tally is None:
                tally = self._tallies[key] = _Tally(event, event.line, event.line)
            self._add(tally, event)

    def _add(self, tally: _Tally, event: LogEvent) -> None:
        tally.count += event.count
        tally.last_line = event.line
        if event.confidence > tally.first.confidence:
            tally.first = event
        if event.folded and event.path and len(tally.names) < _NAMES_LIMIT:
            tally.names = tuple(dict.fromkeys((*tally.names, printable(event.path.name))))

    def causes(self) -> tuple[LogCause, ...]:
        """Return the causes: named errors first, hints last, each in the order of the log."""
        causes = (
            LogCause(
                first=replace(tally.first, line=tally.line),
                place=tally.first.place,
                count=tally.count,
                last_line=tally.last_line,
                names=tally.names,
            )
            for tally in self._tallies.values()
        )
        return tuple(sorted(causes, key=lambda cause: (_rank(cause.first), cause.first.line)))


def _rank(event: LogEvent) -> int:
    """Order what is known before what is guessed."""
    if event.error is LogError.DISGUISE:
        return 3
    if event.path is None:
        return 2
    return 0 if event.error is LogError.EROFS else 1

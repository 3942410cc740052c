"""Joins evidence: of several sources on one path, and of several runs, replicas or days on one workload."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TypeVar

from lithify.errors import NothingToExamine
from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.writes import Change, Observation, Process, Source, Write, Writer, WriterStyle, WriteSet

MAX_NAMES = 48
MAX_WRITERS = 16
_STRENGTH = (
    Change.REPLACED,
    Change.DELETED,
    Change.CREATED,
    Change.CAME_AND_WENT,
    Change.CHANGED,
    Change.OPENED,
    Change.METADATA,
    Change.ATTEMPTED,
)
_LAYERS = frozenset((Source.LAYER, Source.VOLUME))
_GUESSES = frozenset((Source.LIVE, Source.DIFF, Source.LOG, Source.IMAGE))
"""Sources that can't tell what exactly happened to an entry that is still there; the layers can."""
_Value = TypeVar("_Value")


def strongest(changes: Iterable[Change]) -> Change:
    """Return that change which asks most of a place."""
    return min(changes, key=_STRENGTH.index)


def merge_writes(*groups: Iterable[Write]) -> tuple[Write, ...]:
    """Return all writes of `groups`, one a path, sorted by path.

    Evidence, writers and names are united, sizes are the greatest seen, and the change is the strongest that was seen,
    where what a layer shows outranks what other sources had to guess. What lies below a directory that a layer shows
    as new or replaced becomes part of that one.
    """
    by_path: dict[PurePosixPath, list[Write]] = {}
    for group in groups:
        for write in group:
            by_path.setdefault(write.path, []).append(write)
    joined = [_join(by_path[path]) for path in sorted(by_path, key=lambda path: path.parts)]
    return tuple(_fold(joined))


def _join(same: Sequence[Write]) -> Write:
    first = same[0]
    if len(same) == 1:
        return first
    seen = [write for write in same if _LAYERS.intersection(write.evidence)] or list(same)
    facts = seen + [w for w in same if w not in seen and not _GUESSES.issuperset(w.evidence)]
    return replace(
        first,
        change=strongest(write.change for write in facts),
        type=_known(write.type for write in seen) or _known(write.type for write in same) or EntryType.UNKNOWN,
        evidence=_united(source for write in same for source in write.evidence),
        size=max(write.size for write in same),
        peak=max((write.peak for write in same if write.peak is not None), default=None),
        entries=max(write.entries for write in same),
        mode=_first(write.mode for write in facts),
        uid=_first(write.uid for write in facts),
        gid=_first(write.gid for write in facts),
        style=_style(same),
        executed=any(write.executed for write in same),
        content=_first(write.content for write in facts),
        as_before=all(write.as_before for write in seen),
        writers=merge_writers(writer for write in same for writer in write.writers),
        names=_united(name for write in same for name in write.names)[:MAX_NAMES],
    )


def _style(same: Iterable[Write]) -> WriterStyle:
    # One rename is enough to break a single-file mount, however often the file was written in place.
    styles = {write.style for write in same}
    if WriterStyle.RENAME in styles:
        return WriterStyle.RENAME
    return WriterStyle.IN_PLACE if WriterStyle.IN_PLACE in styles else WriterStyle.UNKNOWN


def merge_writers(writers: Iterable[Writer]) -> tuple[Writer, ...]:
    """Return the different `writers` in order; of one that is known less well, only where nothing better is known."""
    distinct = _united(writers)
    known = [writer for writer in distinct if writer.program != UNKNOWN_PROGRAM]
    with_users = {writer.program for writer in known if writer.uid is not None}
    known = [writer for writer in known if writer.uid is not None or writer.program not in with_users]
    return tuple(known or distinct)[:MAX_WRITERS]


UNKNOWN_PROGRAM = "unknown"
"""The program of a process that was gone before it could be looked at."""


def _fold(writes: Sequence[Write]) -> list[Write]:
    """Put what lies below a directory that is new, on a layer's word, into that directory's write."""
    kept: list[Write] = []
    inner: list[Write] = []
    top: Write | None = None
    for write in writes:
        if top is not None and write.path.is_relative_to(top.path):
            inner.append(write)
            continue
        if top is not None:
            kept[-1] = _with_inner(top, inner)
            top, inner = None, []
        kept.append(write)
        if _is_new_directory(write):
            top = write
    if top is not None:
        kept[-1] = _with_inner(top, inner)
    return kept


def _is_new_directory(write: Write) -> bool:
    return (
        write.type is EntryType.DIRECTORY
        and write.change in (Change.CREATED, Change.REPLACED)
        and bool(_LAYERS.intersection(write.evidence))
    )


def _with_inner(top: Write, inner: Sequence[Write]) -> Write:
    if not inner:
        return top
    names = [str(write.path.relative_to(top.path)) for write in inner if write.type is not EntryType.DIRECTORY]
    deeper = [str(write.path.relative_to(top.path) / name) for write in inner for name in write.names]
    everything = [top, *inner]
    return replace(
        top,
        evidence=_united(source for write in everything for source in write.evidence),
        peak=_sum_of_peaks(top, inner),
        executed=any(write.executed for write in everything),
        content=_first(write.content for write in everything),
        writers=merge_writers(writer for write in everything for writer in write.writers),
        names=_united([*top.names, *names, *deeper])[:MAX_NAMES],
    )


def _sum_of_peaks(top: Write, inner: Sequence[Write]) -> int | None:
    peaks = [write.peak for write in inner if write.peak is not None]
    if not peaks:
        return top.peak
    return max(top.peak or 0, top.size, sum(peaks))


def _known(types: Iterable[EntryType]) -> EntryType | None:
    """Return what is known; of two runs that differ the directory, which can hold what the other run had there."""
    known = set(types) - {EntryType.UNKNOWN}
    return EntryType.DIRECTORY if EntryType.DIRECTORY in known else min(known, default=None)


def _first(values: Iterable[_Value | None]) -> _Value | None:
    return next((value for value in values if value is not None), None)


def _united(values: Iterable[_Value]) -> tuple[_Value, ...]:
    return tuple(dict.fromkeys(values))


def merge_write_sets(first: WriteSet, *others: WriteSet) -> WriteSet:
    """Return one write set for what several runs, replicas or days of one workload wrote.

    What they were observed by is united, times and restarts are added, and where their keys differ a note says in what.
    The least memory limit holds. Raises NothingToExamine where they are of different containers.
    """
    every = (first, *others)
    names = _united(each.container for each in every)
    if len(names) > 1 and len({each.key.image for each in every}) > 1:
        raise NothingToExamine(
            f"write sets of different containers can't be merged: {', '.join(names[:5])}",
            hint="merge runs of one workload; make one plan for each of the others",
        )
    return replace(
        first,
        image=_merge_images([each.image for each in every]),
        writes=merge_writes(*(each.writes for each in every)),
        observation=_merge_observations(every),
        processes=_merge_processes(every),
        memory_limit=_least(each.memory_limit for each in every),
        mounted=tuple(sorted(set.intersection(*(set(each.mounted) for each in every)))),
    )


def _merge_observations(every: Sequence[WriteSet]) -> Observation:
    observations = [each.observation for each in every]
    different = _united(part for each in every[1:] for part in every[0].key.differences(each.key))
    notes = [note for each in observations for note in each.notes]
    if different:
        notes.append(f"the merged write sets differ in: {', '.join(different)}")
    return Observation(
        seconds=sum(each.seconds for each in observations),
        exercise="; ".join(_united(each.exercise for each in observations if each.exercise)),
        restarts=sum(each.restarts for each in observations),
        from_start=any(each.from_start for each in observations),
        asked_to_end=any(each.asked_to_end for each in observations),
        sources=_united(source for each in observations for source in each.sources),
        notes=_united(notes),
    )


def _merge_images(images: Sequence[ImageFacts]) -> ImageFacts:
    entries: dict[PurePosixPath, ImageEntry] = {}
    for image in reversed(images):
        entries.update(image.entries)
    return replace(
        images[0],
        entries=entries,
        code_roots=tuple(sorted({root for image in images for root in image.code_roots})),
        volumes=_united(volume for image in images for volume in image.volumes),
    )


def _merge_processes(every: Sequence[WriteSet]) -> tuple[Process, ...]:
    return _united(process for each in every for process in each.processes)


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)

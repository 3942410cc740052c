"""Writes from an engine's own list of changes: the fallback where a container's layers can't be read."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath

from lithify.model.image import EntryType
from lithify.model.path import is_pseudo
from lithify.model.writes import BLIND_SPOTS, Change, Source, Write
from lithify.observe.entries import SAMPLE

_CHANGES = {"A": Change.CREATED, "C": Change.CHANGED, "D": Change.DELETED}


def writes_of_diff(entries: Iterable[tuple[str, PurePosixPath]]) -> tuple[tuple[Write, ...], tuple[str, ...]]:
    """Return the writes that an engine's `diff` names, as (`A`, `C` or `D`, path), and notes on what it can't tell.

    What was added below an added directory becomes part of that one. A changed entry with changed entries below it is
    their parent, and left out: the engine lists it for their sake.
    """
    kinds = {path: kind for kind, path in entries if kind in _CHANGES and not is_pseudo(path)}
    parents = {parent for path in kinds for parent in path.parents}
    writes: dict[PurePosixPath, Write] = {}
    inside: dict[PurePosixPath, list[str]] = {}
    tops: dict[PurePosixPath, PurePosixPath] = {}
    for path in sorted(kinds, key=lambda path: path.parts):
        top = tops.get(path.parent)
        if top is not None and kinds[path] == "A":
            tops[path] = top
            inside.setdefault(top, []).append(str(path.relative_to(top)))
            continue
        if kinds[path] == "C" and path in parents:
            continue
        directory = path in parents
        if kinds[path] == "A" and directory:
            tops[path] = path
        kind = EntryType.DIRECTORY if directory else EntryType.UNKNOWN
        writes[path] = Write(path=path, change=_CHANGES[kinds[path]], type=kind, evidence=(Source.DIFF,))
    for top, names in inside.items():
        writes[top] = replace(writes[top], entries=1 + len(names), names=tuple(names[:SAMPLE]))
    return tuple(writes.values()), (BLIND_SPOTS[Source.DIFF],)

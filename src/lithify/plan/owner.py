"""Sets who a place belongs to and who may write there: as the image has it, unless the writers could not write then.

A fresh tmpfs or volume belongs to root. The owner comes from what was really there: the directory as the program left
it, or as the image has it; the writers come from who really wrote, not from the image's USER.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from lithify.model.image import EntryType, ImageEntry
from lithify.model.writes import Change, Write, may_write
from lithify.plan.needs import Need
from lithify.plan.settings import PlanSettings

SHARED_MODE = 0o1777
"""Everybody may make names, and nobody may take another's away: what `/tmp` is, and what some languages insist on."""
_PLAIN_MODE = 0o755
_FOR_ALL = frozenset({PurePosixPath("/tmp"), PurePosixPath("/var/tmp")})  # noqa: S108 - paths in containers
_MAKES_NAMES = frozenset({Change.CREATED, Change.REPLACED, Change.DELETED, Change.CAME_AND_WENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Owner and mode of a place, and why."""

    uid: int
    gid: int
    mode: int
    because: str


def choose_owner(
    path: PurePosixPath,
    entry: ImageEntry | None,
    needs: Iterable[Need],
    metadata: Mapping[PurePosixPath, Write],
    settings: PlanSettings,
    *,
    moved: bool = False,
) -> Ownership:
    """Return the owner and mode of the directory `path`; `moved` says that a redirect brings the writes here."""
    there = entry if entry is not None and entry.type is EntryType.DIRECTORY else None
    sure = path in metadata or there is not None
    where = metadata[path].entry if path in metadata else there
    writers = _writers(path, needs, where, moved=moved, sure=sure)
    if override := settings.owners.get(path):
        base = _found(path, entry, metadata, writers)
        mode = base.mode if override.mode is None else override.mode
        return Ownership(uid=override.uid, gid=override.gid, mode=mode, because="as a run showed that it must be")
    return _let_write(_found(path, entry, metadata, writers), writers, sure=sure)


def _found(
    path: PurePosixPath,
    entry: ImageEntry | None,
    metadata: Mapping[PurePosixPath, Write],
    writers: Counter[tuple[int, int]],
) -> Ownership:
    write = metadata.get(path)
    if write is not None and (end := write.entry) is not None:
        because = "as the program set it" if entry is not None else "as the program made it"
        return Ownership(uid=end.uid, gid=end.gid, mode=end.mode, because=because)
    if entry is not None and entry.type is EntryType.DIRECTORY:
        return Ownership(uid=entry.uid, gid=entry.gid, mode=entry.mode & 0o7777, because="as the image has it")
    if path in _FOR_ALL:
        return Ownership(uid=0, gid=0, mode=SHARED_MODE, because="as everywhere for temporary files")
    if writers:
        (uid, gid), _ = min(writers.items(), key=lambda item: (item[0][0] == 0, -item[1], item[0]))
        return Ownership(uid=uid, gid=gid, mode=_PLAIN_MODE, because="those of its writer, for the image has nothing")
    return Ownership(uid=0, gid=0, mode=_PLAIN_MODE, because="the usual ones, for neither image nor writer is known")


def _let_write(found: Ownership, writers: Counter[tuple[int, int]], *, sure: bool) -> Ownership:
    shut_out = {ids: n for ids, n in writers.items() if not may_write(found, *ids)}
    if not shut_out or (sure and len(shut_out) < len(writers)):
        # One that gave up root is looked at too late: where root wrote as well, the rest could not have.
        return found
    (uid, gid), _ = min(shut_out.items(), key=lambda item: (-item[1], item[0]))
    given = Ownership(
        uid=uid, gid=gid, mode=found.mode | 0o300, because=f"for uid {uid} writes here and could not otherwise"
    )
    if all(may_write(given, *ids) for ids in writers):
        return given
    everybody = ", ".join(str(uid) for uid in sorted({uid for uid, _ in writers}))
    return Ownership(
        uid=found.uid, gid=found.gid, mode=SHARED_MODE, because=f"for several users write here: uids {everybody}"
    )


def _writers(
    path: PurePosixPath, needs: Iterable[Need], where: ImageEntry | None, *, moved: bool, sure: bool
) -> Counter[tuple[int, int]]:
    """Count who makes names in `path` itself, which is as `where`; deeper directories have owners of their own.

    `sure` says that owner and mode of the directory are known: then only who was seen counts against them.
    """
    found: Counter[tuple[int, int]] = Counter()
    for need in needs:
        for seen in need.seen:
            write = seen.write
            if write.change not in _MAKES_NAMES:
                continue
            parts = write.path.parts
            inside = parts[:-1] == path.parts and write.change is not Change.CAME_AND_WENT
            if not (moved or inside or parts == path.parts):
                continue
            if sure and not write.was_seen:
                continue  # whose it is now says little: root gives files away
            found.update(write.makers(where if inside else None))
    return found

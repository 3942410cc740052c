"""Finds what every start writes the same, and has it put into a copy of the image.

Two new containers are started; what both have written when they are ready, byte for byte, and what the exercise leaves
alone in the second, every start writes the same. Only configuration, code and identity are baked in: an empty directory
or a cache that a start makes is there to be filled later. Whether the program then does without writing, only its
planned run shows: a start script that rewrites the file all the same fails on it.
"""

import io
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from lithify.engines.base import Baker, Container, Root
from lithify.engines.ids import IdMap
from lithify.errors import OutputFailed, UsageError
from lithify.model.bake import ARCHIVE, Baked, Left, dockerfile
from lithify.model.image import EntryType
from lithify.model.mount import MountPlan, PathClass
from lithify.model.path import ROOT, printable
from lithify.model.run import Exercise
from lithify.model.writes import Change, Write, WriteSet
from lithify.observe.start import read_left
from lithify.pipeline.trial import Life, Trials, Watcher

_BAKED = frozenset({PathClass.CONFIG, PathClass.CODE, PathClass.IDENTITY})
_NEVER = frozenset({PathClass.STATE, PathClass.LOG, PathClass.RUNTIME})
_PASSING = frozenset({Change.CAME_AND_WENT, Change.ATTEMPTED, Change.OPENED})
"""What leaves nothing that could be baked in."""
_KINDS = {EntryType.DIRECTORY: tarfile.DIRTYPE, EntryType.FILE: tarfile.REGTYPE, EntryType.SYMLINK: tarfile.SYMTYPE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One place or refused path, and what to put into the image in its stead."""

    serves: PurePosixPath
    entries: Mapping[PurePosixPath, Left]


@dataclass
class _Looker(Watcher):
    """Reads what is in the layer when the program is ready, and before it is stopped."""

    paths: Sequence[PurePosixPath]
    found: dict[PurePosixPath, Left] = field(default_factory=dict)

    def running(self, container: Container, pid: int) -> None:
        layer = container.upper_layer()
        if layer is not None:
            self.found = read_left(layer, self.paths, IdMap.read(pid))


def insist_on_room(directory: Path) -> None:
    """Raise UsageError where `directory` holds something already: nothing of the user's is overwritten."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"--bake: {printable(directory)} is not an empty directory", hint="name a new one")


def find_batches(trials: Trials, write_set: WriteSet, plan: MountPlan) -> tuple[Batch, ...]:
    """Return what every start of the target writes the same, by the place that it would make needless."""
    groups = {place: writes for place, writes in _groups(write_set, plan) if not _has_already(writes)}
    if not groups:
        return ()
    paths = [write.path for writes in groups.values() for write in writes if write.change not in _PASSING]
    trials.tell("starting it twice more, to see what every start writes the same")
    alone = replace(trials, exercise=Exercise(timeout=trials.exercise.timeout), original=None)
    used = replace(trials, original=None)
    seen = [_look(one, paths) for one in (alone, used)]
    return tuple(
        Batch(serves=place, entries=entries)
        for place, writes in groups.items()
        if (entries := _the_same(writes, seen[0], seen[1]))
    )


def _look(trials: Trials, paths: Sequence[PurePosixPath]) -> dict[PurePosixPath, Left]:
    looker = _Looker(paths)
    trials.run(Life(root=Root.WRITABLE, restart=False, purpose="start"), looker)
    return looker.found


def _groups(write_set: WriteSet, plan: MountPlan) -> list[tuple[PurePosixPath, list[Write]]]:
    """Return what was written at each place of configuration, and at each path that no place may serve."""
    places = [m.path for m in plan.mounts if m.classes and _BAKED.issuperset(m.classes)]
    places += [refusal.path for refusal in plan.refusals if refusal.path_class not in _NEVER]
    moved = {redirect.new for redirect in plan.redirects}
    return [
        (place, [write for write in write_set.writes if write.path.is_relative_to(place)])
        for place in dict.fromkeys(places)
        if place != ROOT and not any(new.is_relative_to(place) for new in moved)
    ]


def _has_already(writes: Sequence[Write]) -> bool:
    """Tell whether the image holds all that is left of `writes`, so that it would be the same with it baked in."""
    lasting = [write for write in writes if write.change not in _PASSING]
    return all(write.as_before for write in lasting)


def _the_same(
    writes: Sequence[Write], one: Mapping[PurePosixPath, Left], other: Mapping[PurePosixPath, Left]
) -> dict[PurePosixPath, Left]:
    """Return the entries of a place where all that was written there is the same in both starts; else nothing."""
    lasting = [write.path for write in writes if write.change not in _PASSING]
    below = [path for path in {*one, *other} if any(path.is_relative_to(top) for top in lasting)]
    if not lasting or any(one.get(path) is None or one.get(path) != other.get(path) for path in (*lasting, *below)):
        return {}
    entries = {path: one[path] for path in sorted(below)}
    made = [path for path, left in entries.items() if left.type is EntryType.DIRECTORY]
    # an empty directory is made for what comes later
    return {} if any(not any(path in other.parents for other in entries) for path in made) else entries


class Kitchen:
    """Bakes batches into copies of the target's image, one after the other; writes what it did to `directory`."""

    def __init__(self, trials: Trials, engine: Baker, user: str, directory: Path) -> None:
        self._trials = trials
        self._engine = engine
        self._user = user
        self._directory = directory
        self._original = trials.target

    def bake(self, batches: Sequence[Batch]) -> Baked:
        """Have the trials run an image with `batches` in it, until `take_out`."""
        entries = {path: left for batch in batches for path, left in batch.entries.items()}
        kept = {path: left for path, left in entries.items() if not left.deleted}
        removed = tuple(sorted(path for path, left in entries.items() if left.deleted))
        base = self._engine.image_of(self._original)
        lines = dockerfile(base, self._user, paths=tuple(kept), removed=removed)
        self._write(lines, _archive(kept) if kept else None)
        self._trials.target = self._engine.bake(
            self._original,
            self._directory,
            dockerfile("{base}", self._user, paths=tuple(kept), removed=removed),
            removed,
        )
        return Baked(
            serves=tuple(batch.serves for batch in batches),
            paths=tuple(kept),
            removed=removed,
            dockerfile=tuple(lines),
            directory=str(self._directory),
        )

    def take_out(self) -> None:
        """Go back to the image as it is; nothing of what was baked stays."""
        self.clear()
        for name in ("Dockerfile", ARCHIVE):
            (self._directory / name).unlink(missing_ok=True)
        if self._directory.exists():
            self._directory.rmdir()

    def clear(self) -> None:
        """Remove the copy of the image; the Dockerfile stays."""
        if self._trials.target is not self._original:
            self._engine.discard(self._trials.target)
            self._trials.target = self._original

    def _write(self, lines: Sequence[str], archive: bytes | None) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            (self._directory / "Dockerfile").write_text(
                "\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape"
            )
            if archive is not None:
                (self._directory / ARCHIVE).write_bytes(archive)
        except OSError as error:
            raise OutputFailed(f"can't write to {printable(self._directory)}: {error.strerror}") from error


def _archive(entries: Mapping[PurePosixPath, Left]) -> bytes:
    """Return a tar archive, the same for the same entries."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, left in sorted(entries.items()):
            member = tarfile.TarInfo(str(path).lstrip("/"))
            member.type, member.mode, member.uid, member.gid = _KINDS[left.type], left.mode, left.uid, left.gid
            if left.type is EntryType.SYMLINK:
                member.linkname = os.fsdecode(left.data)
                archive.addfile(member)
            else:
                member.size = len(left.data)
                archive.addfile(member, io.BytesIO(left.data))
    return buffer.getvalue()

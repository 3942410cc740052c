"""Says what the plan can't know: what only the user can decide, what was not exercised, and how sure each part is.

A confidence is no probability. It orders parts of plans by how well they are founded: 1 is seen by the kernel and what
it is for is plain; below 0.5 rests on a name, a log line, or a run that was only started.
"""

import re
from collections.abc import Iterable, Sequence
from heapq import nsmallest
from pathlib import PurePosixPath

from lithify.model.image import EntryType
from lithify.model.mount import Mount, PathClass, Question, StorageKind
from lithify.model.path import is_pseudo, is_system, printable
from lithify.model.writes import Change, Observation, Source, WriteSet
from lithify.plan.classify import LEFT_OVER, OWN_SETTINGS, STORES
from lithify.plan.cover import Means, Place
from lithify.plan.needs import Need, Seen, looks_random, tolerated_by_its_program
from lithify.plan.settings import PlanSettings

TRUST = {
    Source.LAYER: 0.95,
    Source.TRACE: 0.95,
    Source.LIVE: 0.9,
    Source.VOLUME: 0.9,
    Source.PROOF: 0.8,
    Source.DIFF: 0.8,
    Source.PROCESSES: 0.7,
    Source.IMAGE: 0.4,
    Source.LOG: 0.3,
}
"""How far one source alone is believed; independent ones add up."""
_UNSURE_CLASS = 0.8
_MEANS = {Means.PLACE: 1.0, Means.FILES: 0.7, Means.REDIRECT: 0.7}
_ONLY_STARTED = 0.6
_NO_RESTART = 0.85
_FROM_THE_MIDDLE = 0.8
_LISTED = 20
_OTHERS_WRITE = 0o002
_NUMBERED = re.compile(r".*\D\d+")
"""A name that ends in a process or port: `nsd-xfr-1`."""


def confidence_of(place: Place) -> float:
    """Return how well founded `place` is."""
    seen = [s for need in place.needs for s in need.seen]
    doubt = 1.0
    for source in {source for s in seen for source in s.write.evidence}:
        doubt *= 1 - TRUST[source]
    sure = any(s.classified.certain for s in seen)
    return round((1 - doubt) * (1.0 if sure else _UNSURE_CLASS) * _MEANS[place.means], 2)


def confidence_in(observation: Observation, mounts: Iterable[Mount]) -> float:
    """Return how well founded a whole plan is: its weakest part, and how far the observation reached."""
    weakest = min((mount.confidence for mount in mounts), default=1.0)
    if not observation.exercise:
        weakest *= _ONLY_STARTED
    if not observation.restarts:
        weakest *= _NO_RESTART
    if not observation.from_start:
        weakest *= _FROM_THE_MIDDLE
    return round(weakest, 2)


def questions(mounts: Sequence[tuple[Mount, tuple[Need, ...]]], settings: PlanSettings) -> list[Question]:
    """Return what only the user can decide."""
    asked = []
    for mount, needs in mounts:
        if settings.decision(mount.path) is not None:
            continue
        seen = [seen for need in needs for seen in need.seen]
        text = _question(mount, seen)
        if text is not None:
            other = "ephemeral" if mount.storage is StorageKind.VOLUME else "volume"
            asked.append(Question(path=mount.path, text=text, option=f"--state {mount.path}={other}"))
        elif mount.storage is not StorageKind.VOLUME:
            left = {s.write.path for s in seen if _left_data(s) and settings.decision(s.write.path) is None}
            asked += [_whether_data(path, mount) for path in nsmallest(_LISTED, left)]
    return asked


def _whether_data(path: PurePosixPath, mount: Mount) -> Question:
    where = f"{printable(mount.path)}, which ends with the container"
    text = f"{printable(path)} was still there at the end and lies in {where}. Is it data?"
    return Question(path=path, text=text, option=f"--state {path}=volume")


def _question(mount: Mount, seen: list[Seen]) -> str | None:
    where = printable(mount.path)
    if mount.storage is StorageKind.VOLUME:
        state = [s for s in seen if s.path_class is PathClass.STATE]
        reasons = {s.classified.because for s in state}
        if reasons and reasons <= {LEFT_OVER, OWN_SETTINGS}:
            why = " and because ".join(sorted(reasons))
            return f"{where} is kept on a volume because {why}. May it go with the container?"
        if mount.executable and not any(s.classified.certain for s in state):
            return f"{where} is kept on a volume, and code runs from there. May it go with the container?"
        return None
    if PathClass.LOG in mount.classes and PathClass.CACHE not in mount.classes:
        return f"{where} holds logs, which end with the container. Does anybody read them later?"
    stores = sorted({printable(s.write.path) for s in seen if s.write.content in STORES})
    if stores:
        return f"{stores[0]} looks like a store and lies in {where}, which ends with the container. Must it be kept?"
    if any(_left_nothing_where_state_lies(s) for s in seen):
        return f"Nothing was left in {where} at the end, so it ends with the container. Is anything kept there later?"
    return None


def _left_nothing_where_state_lies(seen: Seen) -> bool:
    parts = seen.write.path.parts[1:3]
    return seen.path_class in (PathClass.SCRATCH, PathClass.RUNTIME) and parts in (("var", "lib"), ("var", "opt"))


def _left_data(seen: Seen) -> bool:
    """Tell whether a directory with bytes and a name that the next start would take again was left in `/tmp`.

    Defaults of programs that keep their data there are meant for a first look, and get into production.
    """
    write = seen.write
    made = write.change is Change.CREATED and write.type is EntryType.DIRECTORY and write.size > 0
    passing = looks_random(write.path.name) or _NUMBERED.fullmatch(write.path.name)
    return made and seen.path_class is PathClass.SCRATCH and not passing and not tolerated_by_its_program(write)


def unexercised(write_set: WriteSet, covered: Iterable[PurePosixPath]) -> list[str]:
    """Return what the image hints at and the observation did not reach, in words."""
    image, observation = write_set.image, write_set.observation
    served = {*covered, *write_set.mounted}
    users = {image.uid, *(process.uid for process in write_set.processes)} - {0}
    idle = [
        path
        for path, entry in image.entries.items()
        if entry.type is EntryType.DIRECTORY
        and (entry.uid in users or entry.mode & _OTHERS_WRITE)
        and not is_system(path)
        and not is_pseudo(path)
        and served.isdisjoint((path, *path.parents))
    ]
    written: set[PurePosixPath] = set()
    if idle or image.volumes:
        written = {write.path for write in write_set.writes} | {write.directory for write in write_set.writes}
    found = []
    if not observation.exercise:
        ports = f", though it offers {', '.join(map(printable, image.exposed))}" if image.exposed else ""
        found.append(f"nothing used the program while it was observed{ports}")
    if not observation.restarts:
        found.append("no restart was observed: what is written only at a second start, or at a stop, may be missing")
    if not observation.from_start:
        found.append("the container ran already: what is written only at its first start may be missing")
    found.extend(
        f"{printable(volume)} is declared as a volume and was not written"
        for volume in sorted(image.volumes)
        if not any(_touches(volume, path) for path in served) and not any(p.is_relative_to(volume) for p in written)
    )
    missed = nsmallest(_LISTED, set(idle) - written)
    found.extend(f"{printable(path)} may be written by its user and was not" for path in missed)
    return found


def _touches(volume: PurePosixPath, place: PurePosixPath) -> bool:
    return volume.is_relative_to(place) or place.is_relative_to(volume)

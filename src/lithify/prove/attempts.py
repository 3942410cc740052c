"""Tries to write in a running planned container: where it has to be refused, and where it has to be let."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lithify.model.path import printable
from lithify.model.verdict import Check, Exposed
from lithify.prove.probe import try_every_directory, try_remount, writable_mounts, write_as

_DEVICES = frozenset(PurePosixPath(f"/dev/{name}") for name in ("null", "zero", "full", "random", "urandom", "tty"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a plan lets the container write."""

    path: PurePosixPath
    users: tuple[tuple[int, int], ...]
    """The (uid, gid) of those who write there."""
    is_file: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What the tries met."""

    refused: tuple[Check, ...] = ()
    places: tuple[Check, ...] = ()
    exposed: tuple[Exposed, ...] = ()
    untried: str = ""
    """Why nothing could be tried; nothing where all was."""


def attempt(pid: int, places: Sequence[Place]) -> Attempts:
    """Try everything in the container of process `pid`."""
    if not os.path.exists(f"/proc/{pid}/ns/mnt"):
        return Attempts(untried="its processes are not on this host, so no write was tried from its mount namespace")
    try:
        return Attempts(
            refused=(_root_refuses(pid), _remount_refused(pid)),
            places=tuple(_place_takes(pid, place) for place in places),
            exposed=tuple(_exposed(pid, places)),
        )
    except ProcessLookupError:
        return Attempts(untried="the program ended while its refusals were tried")


def _root_refuses(pid: int) -> Check:
    met = try_every_directory(pid)
    evidence = [f"{path} took a file" for path in met.accepted[:20]]
    evidence += [f"{path} answered {name}" for path, name in met.other[:20]]
    passed = not met.accepted and not met.other
    summary = f"{met.refused} directories of the root filesystem refuse a new file (EROFS)"
    if not passed:
        summary += f"; {len(met.accepted)} take one, {len(met.other)} answer something else"
    return Check(name="root-refuses", passed=passed, summary=summary, evidence=tuple(map(printable, evidence)))


def _remount_refused(pid: int) -> Check:
    why = try_remount(pid)
    summary = (
        f"can't be remounted writable: {why}" if why else "can be remounted writable from inside: the flag is no hold"
    )
    return Check(name="remount-refused", passed=bool(why), summary=summary)


def _place_takes(pid: int, place: Place) -> Check:
    """Write at a place as each user that was seen there; one has to succeed.

    Not all: a worker that holds a log which its master opened shows as a writer and may not open it.
    """
    met = {(uid, gid): write_as(pid, place.path, uid, gid, file=place.is_file) for uid, gid in place.users}
    able = [f"{uid}:{gid}" for (uid, gid), error in met.items() if not error]
    told = [f"user {uid}:{gid} gets {error}" for (uid, gid), error in met.items() if error]
    summary = f"user {', '.join(able)} can write there" if able else "; ".join(told)
    return Check(name=f"place {place.path}", passed=bool(able), summary=summary, evidence=tuple(told))


def _exposed(pid: int, places: Sequence[Place]) -> list[Exposed]:
    planned = {place.path for place in places}
    found = []
    for mount in writable_mounts(pid):
        why = "planned" if mount.path in planned else f"the engine's own {mount.filesystem}"
        if mount.filesystem in ("mqueue", "devpts") or mount.path.is_relative_to("/proc"):
            continue  # nothing can be kept there; single entries of /proc are masked by mounts of /dev/null
        if mount.path in _DEVICES:
            continue  # mounted one by one where none can be made, in a user namespace
        found.append(Exposed(path=mount.path, executable=mount.executable, reason=why))
    return found

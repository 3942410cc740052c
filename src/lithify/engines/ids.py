"""How the users of a container's user namespace are numbered on the host: Docker's userns-remap, Podman's --userns."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_Ranges = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class IdMap:
    """Ranges of (first id in the namespace, first id on the host, how many); none where both are the same."""

    uids: _Ranges = ()
    gids: _Ranges = ()

    @classmethod
    def read(cls, pid: int) -> "IdMap":
        """Return the map of the namespace that `pid` is in, as seen from ours; none where it can't be read."""
        try:
            same = os.stat(f"/proc/{pid}/ns/user").st_ino == os.stat("/proc/self/ns/user").st_ino
        except OSError:
            same = False
        if same:  # a namespace's own map is shown to itself as its parent sees it (user_namespaces(7))
            return cls()
        return cls(_read(pid, "uid_map"), _read(pid, "gid_map"))

    @property
    def changes(self) -> bool:
        """Tell whether any id has another number on the host."""
        return any(inner != outer for inner, outer, _ in (*self.uids, *self.gids))

    def uid(self, host: int) -> int:
        """Return the container's number of a user of the host."""
        return _inner(host, self.uids)

    def gid(self, host: int) -> int:
        """Return the container's number of a group of the host."""
        return _inner(host, self.gids)

    def host_uid(self, inside: int) -> int:
        """Return the host's number of a user of the container."""
        return _inner(inside, _turned(self.uids))

    def host_gid(self, inside: int) -> int:
        """Return the host's number of a group of the container."""
        return _inner(inside, _turned(self.gids))


def _read(pid: int, name: str) -> _Ranges:
    try:
        lines = Path(f"/proc/{pid}/{name}").read_text(encoding="ascii").splitlines()
        rows = [tuple(map(int, line.split())) for line in lines]
    except (OSError, ValueError):
        return ()
    return tuple((row[0], row[1], row[2]) for row in rows if len(row) == 3)


def _turned(ranges: _Ranges) -> _Ranges:
    return tuple((outer, inner, count) for inner, outer, count in ranges)


def _inner(host: int, ranges: Iterable[tuple[int, int, int]]) -> int:
    """Return where the ranges take an id; an id that they don't know is the same everywhere.

    Such a one is nobody in the container. But image layers may hold it (an id-mapped mount shows them as they are), and
    then it is the container's number already.
    """
    return next((inner + host - outer for inner, outer, count in ranges if outer <= host < outer + count), host)

"""A container that already runs, known only by a process in it: whatever engine started it, or none."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NoReturn

from lithify.engines.base import Exit, UpperLayer
from lithify.engines.bundle.network import local_address
from lithify.engines.bundle.state import start_time
from lithify.engines.mounts import read_mounts, root_overlay
from lithify.errors import EngineRefused

_CGROUPS = "/sys/fs/cgroup"
NOISE = frozenset(
    PurePosixPath(path)
    for path in (
        "/.dockerenv", "/run/.containerenv", "/run/secrets", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
        "/etc/mtab", "/dev", "/proc", "/sys", "/sbin/docker-init", "/usr/sbin/docker-init", "/run/podman-init",
    )
)  # fmt: skip
"""What engines make in every container before anything in it runs."""


class ProcessContainer:
    """A view of the container that process `pid` is in; everything that would touch it is refused."""

    engine = "bundle"

    def __init__(self, pid: int, name: str) -> None:
        self.name = name
        self._pid = pid
        self._start = start_time(pid)

    def pid(self) -> int | None:
        """Return the pid it was found by; None once that process is gone."""
        return self._pid if self._start is not None and start_time(self._pid) == self._start else None

    def exit_code(self) -> int | None:
        """Return None while it runs, and 255 after: the kernel tells the exit code to the parent only."""
        return None if self.pid() is not None else 255

    def address(self) -> str | None:
        """Return an address of its network namespace; None where it has loopback only."""
        pid = self.pid()
        return local_address(pid) if pid is not None else None

    def upper_layer(self) -> UpperLayer | None:
        """Return its overlay; None where its root is no overlay or its layers are not visible here."""
        pid = self.pid()
        if pid is None:
            return None
        return root_overlay(pid, NOISE | {mount.path for mount in read_mounts(pid)})

    def logs(self, limit: int = 1 << 20) -> bytes:  # noqa: ARG002 - the Protocol's
        """Return nothing: where its output goes only its engine knows."""
        return b""

    def volumes(self) -> Mapping[PurePosixPath, Path]:
        """Return nothing: which mounts the user asked for only its engine knows."""
        return {}

    def diff(self) -> Sequence[tuple[str, PurePosixPath]] | None:
        """Return None: there is no engine to ask."""
        return None

    @property
    def cannot_show(self) -> tuple[str, ...]:
        """Nothing: no proof is made in a container that is only looked at."""
        return ()

    def start(self) -> None:
        """Refuse."""
        self._refuse()

    def stop(self, timeout: float) -> int:  # noqa: ARG002 - the Protocol's
        """Refuse."""
        self._refuse()

    def kill(self) -> None:
        """Refuse."""
        self._refuse()

    def execute(self, command: Sequence[str], *, user: str | None = None, timeout: float = 30.0) -> Exit:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def keep(self) -> None:
        """Do nothing: it is not ours to remove."""

    def remove(self) -> None:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise EngineRefused(
            f"{self.name} is not ours: it is looked at, never touched", hint="use its own engine to start or stop it"
        )


def find_process(reference: str) -> int | None:
    """Return the pid that `reference` names: a number, or a cgroup (its oldest process); None where there is none."""
    if reference.isascii() and reference.isdecimal():
        return int(reference) if start_time(int(reference)) is not None else None
    if not reference.startswith("/"):
        return None
    pids = [pid for directory in cgroup_directories(reference) for pid in _members(directory)]
    started = [(start, pid) for pid in pids if (start := start_time(pid)) is not None]
    return min(started)[1] if started else None


def shares_our_root(pid: int) -> bool:
    """Tell whether a process has the very root directory that we have; False where we may not look, or it is gone."""
    try:
        return os.path.samefile(f"/proc/{pid}/root", "/")
    except OSError:
        return False


def cgroup_directories(reference: str) -> list[str]:
    """Return where a cgroup may be: as given below /sys/fs/cgroup, or by its path in any hierarchy."""
    path = os.path.normpath(reference)
    if path.startswith(_CGROUPS + "/"):
        return [path]
    try:
        hierarchies = sorted(entry.path for entry in os.scandir(_CGROUPS) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
    return [candidate + path for candidate in (_CGROUPS, *hierarchies) if os.path.isdir(candidate + path)]


def _members(directory: str) -> list[int]:
    """Return the processes of a cgroup and of those below it."""
    pids: list[int] = []
    for base, _, names in os.walk(directory):
        if "cgroup.procs" in names:
            try:
                with open(os.path.join(base, "cgroup.procs"), encoding="ascii") as file:
                    pids += [int(line) for line in file]
            except (OSError, ValueError):
                continue
    return pids

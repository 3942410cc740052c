"""Where the bundle engine keeps what it makes, and how it knows what earlier lithify processes left behind.

    STATE/runs/PID-START-RANDOM/owner              locked while the process that made all of it lives
    STATE/runs/PID-START-RANDOM/runtime/           the OCI runtime's own state
    STATE/runs/PID-START-RANDOM/containers/NAME/   one container: layers, seeds, log, records
    STATE/runs/PID-START-RANDOM/volumes/           named volumes
    STATE/images/DIGEST/                           root filesystems unpacked from images

The kernel lets go of a lock when its holder dies, in whatever way and whatever PID namespace: what nobody locks and
nobody asked to keep is left behind.
"""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from lithify.engines.mounts import mount_holding, read_mounts
from lithify.engines.process import run
from lithify.engines.tree import remove_tree
from lithify.errors import EngineRefused, NotPermitted
from lithify.model.path import printable

_INHERITED = 3.0
"""Seconds for which the lock of an owner that is gone may still be held by a child of its."""
_NO_UPPER = frozenset({"overlay", "nfs", "nfs4", "cifs", "smb3", "9p", "vfat", "exfat", "ecryptfs", "virtiofs"})
"""Filesystems that can't hold the upper layer of an overlay: no whiteouts or no trusted attributes."""


class RunDirectory:
    """The directory of one lithify process, made when first needed and gone with its last container."""

    def __init__(self, state: Path) -> None:
        self._lock: int | None
        self.path, self._lock = _claim(state)
        self._process = os.getpid()
        for name in ("runtime", "containers", "volumes"):
            (self.path / name).mkdir(mode=0o700, exist_ok=True)

    @property
    def runtime(self) -> Path:
        """The OCI runtime's state."""
        return self.path / "runtime"

    def container(self, name: str) -> Path:
        """The directory of container `name`."""
        return self.path / "containers" / name

    @property
    def volumes(self) -> Path:
        """Named volumes."""
        return self.path / "volumes"

    def holds_any(self) -> bool:
        """Tell whether a container, kept or not, is left in it."""
        return any((self.path / "containers").iterdir())

    def release(self) -> None:
        """Give it up: remove it if it holds nothing, leave it to `abandoned` if it does. Again does nothing."""
        if self._lock is None or os.getpid() != self._process:
            return
        if not self.holds_any():
            discard(self.path)
        os.close(self._lock)
        self._lock = None


def _claim(state: Path) -> tuple[Path, int]:
    """Make a run directory and lock it."""
    name = f"{os.getpid()}-{start_time(os.getpid())}-{secrets.token_hex(4)}"
    try:
        (state / "runs").mkdir(mode=0o711, parents=True, exist_ok=True)
        with _guard(state):
            path = state / "runs" / name
            path.mkdir(mode=0o700)
            if _needs_memory(path):
                result = run(["mount", "-t", "tmpfs", "-o", "mode=0700", "lithify", str(path)])
                if result.code != 0:
                    raise EngineRefused(
                        f"{printable(state)} is on a filesystem that can't hold an upper layer",
                        hint="set LITHIFY_STATE to a directory on ext4, xfs, btrfs or tmpfs",
                    )
            return path, _locked(path / "owner")
    except PermissionError as error:
        hint = "run lithify as root, or set LITHIFY_STATE"
        raise NotPermitted(f"may not write to {printable(state)}", hint=hint) from error
    except OSError as error:
        raise EngineRefused(f"can't make {printable(state)}: {error.strerror}", hint="set LITHIFY_STATE") from error


def _needs_memory(path: Path) -> bool:
    """Tell whether layers can't lie here, as inside most containers, so that memory must serve."""
    mount = mount_holding(read_mounts(), PurePosixPath(os.path.realpath(path)))
    return mount is not None and (mount.filesystem in _NO_UPPER or mount.filesystem.startswith("fuse"))


@contextmanager
def abandoned(state: Path) -> Iterator[list[Path]]:
    """Give the run directories whose owner is gone, held by us until the block ends, so that two sweeps do not meet."""
    found: list[Path] = []
    locks: list[int] = []
    try:
        runs = sorted((state / "runs").iterdir())
    except (FileNotFoundError, NotADirectoryError):
        runs = []
    except PermissionError as error:
        raise NotPermitted(f"may not read {printable(state)}", hint="run lithify as root") from error
    try:
        for path in runs:
            with _guard(state):
                lock = _try_lock(path / "owner")
            if lock is None and not is_alive(_owner(path.name)):
                lock = _await_lock(path / "owner")
            if lock is not None:
                found.append(path)
                locks.append(lock)
        yield found
    finally:
        for lock in locks:
            os.close(lock)


def discard(path: Path) -> None:
    """Remove a run directory, whatever of ours is still mounted at or below it included."""
    below = [str(mount.path) for mount in read_mounts() if mount.path.is_relative_to(os.path.realpath(path))]
    for mounted in reversed(below):
        run(["umount", "--lazy", "--", mounted])
    remove_tree(path)


@contextmanager
def _guard(state: Path) -> Iterator[None]:
    """Hold the lock under which run directories come and are judged: a new one is not mistaken for one left behind."""
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _try_lock(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _await_lock(path: Path) -> int | None:
    """Lock the file of an owner that is gone: a child it had not yet turned into another program may still hold it."""
    deadline = time.monotonic() + _INHERITED
    while (lock := _try_lock(path)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return lock


def _owner(name: str) -> dict[str, Any]:
    """Return the process that a run directory is named after."""
    pid, _, rest = name.partition("-")
    start = rest.partition("-")[0]
    return {"pid": int(pid), "start": int(start)} if pid.isdigit() and start.isdigit() else {}


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record whole or not at all."""
    partial = path.with_name(f"{path.name}.tmp")
    partial.write_text(json.dumps(record), encoding="utf-8", errors="surrogateescape")
    partial.replace(path)


def read_record(path: Path) -> dict[str, Any]:
    """Return a record; nothing where there is none, or none that can be read."""
    try:
        return read_json(path.read_bytes())
    except OSError:
        return {}


def read_json(data: bytes) -> dict[str, Any]:
    """Return the JSON object that `data` is; nothing where it is none."""
    try:
        record = json.loads(data.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def start_time(pid: int) -> int | None:
    """Return when process `pid` started, in clock ticks since boot; None where it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def is_alive(record: dict[str, Any]) -> bool:
    """Tell whether the very process that a record names by `pid` and `start` still runs."""
    pid, start = record.get("pid"), record.get("start")
    return isinstance(pid, int) and start is not None and start_time(pid) == start

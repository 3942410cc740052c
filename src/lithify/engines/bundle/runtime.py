"""The OCI runtime that does the work: runc or crun, with a state directory of its own."""

import json
import os
from pathlib import Path

from lithify.engines import process
from lithify.engines.bundle.rootless import in_user_namespace
from lithify.engines.bundle.spec import unified_cgroups
from lithify.errors import EngineRefused, EngineUnreachable
from lithify.model.path import printable

_CGROUPS = "/sys/fs/cgroup"
_HYBRID = f"{_CGROUPS}/unified"
_WORDS = 2000


class Runtime:
    """Commands of one OCI runtime on containers whose state is kept in `state`."""

    def __init__(self, name: str, state: Path) -> None:
        self.name = name
        self.state = state
        self.program = process.find(name)
        self.cgroups = _can_write_cgroups()
        if name == "runc" and not self.cgroups and not in_user_namespace():
            raise EngineUnreachable(
                "runc needs a cgroup hierarchy that it can write to",
                hint="install crun, which can do without, and choose it with --runtime crun",
            )

    @property
    def hidden(self) -> tuple[str, ...]:
        """Mounts that it must not see: crun refuses to work where cgroups of both versions are mounted."""
        return (_HYBRID,) if self._is_hybrid() and not in_user_namespace() else ()

    @property
    def covered(self) -> tuple[str, ...]:
        """Directories to cover for the same reason, where what is mounted there is others' and can't be taken away."""
        return (_CGROUPS,) if self._is_hybrid() and in_user_namespace() else ()

    def _is_hybrid(self) -> bool:
        return self.name == "crun" and os.path.ismount(_HYBRID)

    def command(self, *words: str) -> list[str]:
        """Return an argument list for the runtime."""
        without = ("--cgroup-manager=disabled",) if self.name == "crun" and not self.cgroups else ()
        return [self.program, *without, "--root", str(self.state), *words]

    def visible(self, *words: str) -> list[str]:
        """Return an argument list for the runtime that hides from it what it must not see."""
        command = self.command(*words)
        if "NOTIFY_SOCKET" in os.environ or "LISTEN_FDS" in os.environ:
            # set to nothing they still count for crun, which then mounts a socket without a name over the root
            command = ["env", "--unset=NOTIFY_SOCKET", "--unset=LISTEN_FDS", *command]
        if not self._is_hybrid():
            return command
        hide = "mount -t tmpfs none" if self.covered else "umount --lazy"
        unshare = process.find("unshare", package="util-linux")
        shell = [unshare, "--mount", "--propagation", "slave", "sh", "-c", f'{hide} "$0" && exec "$@"']
        return [*shell, *(self.covered or self.hidden), *command]

    def create(self, name: str, *, bundle: Path, pid_file: Path, log: Path) -> list[str]:
        """Return the command that creates a container; the shim runs it."""
        words = ("--log", str(log), "--log-format", "json", "create", "--bundle", str(bundle))
        return self.command(*words, "--pid-file", str(pid_file), name)

    def start(self, name: str) -> None:
        """Let a created container run its program; EngineRefused, in the runtime's words, where it can't."""
        result = process.run(self.visible("start", name))
        if result.code != 0:
            raise EngineRefused(f"{self.name} can't start {name}: {printable(result.message[-_WORDS:])}")

    def delete(self, name: str) -> None:
        """Forget a container, killing what is left of it; no error where there is none."""
        if (self.state / name).exists():
            process.run(self.visible("delete", "--force", name))


def said(log: Path) -> str:
    """Return the last error in a runtime's JSON log, fit for a terminal; nothing where it holds none."""
    try:
        lines = log.read_bytes()[-(1 << 16) :].splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("level") == "error":
            return printable(str(record.get("msg", "")).strip()[:_WORDS])
    return ""


def _can_write_cgroups() -> bool:
    """Tell whether a cgroup can be made where a runtime makes one."""
    if unified_cgroups():
        return os.access(f"{_CGROUPS}/cgroup.procs", os.W_OK)
    return os.access(f"{_CGROUPS}/devices", os.W_OK)

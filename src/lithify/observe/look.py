"""What a running container shows at a glance: whether it lives, listens, and what it runs."""

from dataclasses import dataclass

from lithify.observe.processes import read_listeners, read_processes
from lithify.observe.work import cpu_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A container at one moment."""

    alive: bool = False
    listeners: frozenset[str] = frozenset()
    """What it listens on: `tcp/80`, `udp/53`, `unix//run/x.sock`, whatever the address."""
    programs: frozenset[str] = frozenset()
    cpu: float = 0.0
    """Processor seconds that it has used."""


def look(pid: int) -> Look:
    """Return what is to be seen of the container whose first process is `pid`."""
    if not is_alive(pid):
        return Look()
    return Look(
        alive=True,
        listeners=frozenset(f"{kind}/{port if kind != 'unix' else where}" for kind, where, port in read_listeners(pid)),
        programs=frozenset(process.program for process in read_processes(pid)),
        cpu=cpu_seconds(pid),
    )


def is_alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[:1] not in ([b"Z"], [b"X"])
    except (FileNotFoundError, ProcessLookupError):
        return False

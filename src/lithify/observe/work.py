"""How much processor time a container has used."""

import os

from lithify.observe.processes import members

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return the processor seconds that the container of `pid` has used, by processes that live or were reaped."""
    return sum(map(_ticks, members(pid))) / _TICKS


def _ticks(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # utime, stime, cutime, cstime are fields 14 to 17; the program's name before them may hold anything
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15]))

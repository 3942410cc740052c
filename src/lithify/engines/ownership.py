"""Marks what lithify makes in an engine with the process that made it, and tells what was left behind.

A pid alone comes again; with its start time, boot and PID namespace it names one process for ever. What another host or
namespace made can't be judged from here and is left alone.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from lithify.engines.bundle.state import start_time

RUN = "dev.lithify.run"
OWNER = "dev.lithify.owner"
BOOT = "dev.lithify.boot"
NAMESPACE = "dev.lithify.pid-namespace"

KEPT = "lithify-kept-"
"""Containers of this name were left for a look and are nobody's rubbish."""


def new_run() -> str:
    """Return a short name for one container and all that is made for it."""
    return secrets.token_hex(4)


def labels(run: str) -> tuple[str, ...]:
    """Return the labels, as `key=value`, of what this process makes for `run`."""
    pid = os.getpid()
    return (
        f"{RUN}={run}",
        f"{OWNER}={pid}:{start_time(pid)}",
        f"{BOOT}={boot_id()}",
        f"{NAMESPACE}={_namespace()}",
    )


def is_abandoned(marks: Mapping[str, str], *, local: bool) -> bool:
    """Tell whether the process that made something so labelled is gone; `local` says the engine is on this host."""
    if RUN not in marks or not local:
        return False
    if marks.get(BOOT) != boot_id():
        return True
    pid, _, started = marks.get(OWNER, "").partition(":")
    if marks.get(NAMESPACE) != _namespace() or not pid.isdigit():
        return False
    return str(start_time(int(pid))) != started


def boot_id() -> str:
    """Return what names this start of this kernel."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid").strip("pid:[]")

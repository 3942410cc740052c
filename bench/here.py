"""Which engines this machine has, for measures that need one."""

import shutil
import subprocess

_PROGRAMS = {"bundle": "runc", "docker": "docker", "podman": "podman"}


def trouble(engine: str) -> str:
    """Return why nothing can be run on an engine; nothing where it can."""
    program = _PROGRAMS.get(engine)
    if program is None:
        return f"known are {', '.join(_PROGRAMS)}"
    if not shutil.which(program):
        return f"no {program} on this machine"
    if engine != "bundle" and subprocess.run([program, "version"], capture_output=True, timeout=60).returncode:
        return f"it does not answer: try `{program} version`"
    return ""


def insist_on(engine: str) -> None:
    """End with exit code 1 where an engine can't be had, and say why."""
    if why := trouble(engine):
        raise SystemExit(f"nothing can be measured on {engine}: {why}")

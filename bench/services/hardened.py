"""Calls `lithify harden` as a user does, and reads its report: the only place that knows what is in it."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.services.build import Built
from bench.services.run import run_line

if TYPE_CHECKING:
    from lithify.model.mount import MountPlan
    from lithify.model.writes import WriteSet

LIMIT = 2400.0
"""Seconds after which `harden` is given up."""
SOURCE = Path(__file__).parents[2] / "src"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardened:
    """What lithify answered."""

    proved: bool
    flag_alone_works: bool
    plan: "MountPlan"
    write_set: "WriteSet"
    command: tuple[str, ...]
    setup: tuple[tuple[str, ...], ...]
    needed: int
    """Places without which the drop-test saw it fail."""
    kept: int
    """Places that were not dropped, because they hold state."""
    refused: bool
    """Every other directory of the image refuses a write."""
    rounds: int
    starts: int
    seconds: float
    failed: tuple[str, ...]
    """Checks of the proof that failed, and refusals that stand in the way, in lithify's words."""


def harden(built: Built, engine: str, work: Path, prefix: str) -> Hardened | str:
    """Harden a service on an engine and return what came of it, or lithify's words where nothing did.

    Volumes of the plan are called by names that begin with `prefix`; `work` is a directory for the report and for what
    was said on the way.
    """
    service = built.service
    report = work / f"{service.name}-{engine}.json"
    options = ["--exercise", str(service.exercise), "--check", str(service.check), "--timeout", f"{service.timeout:g}s"]
    options += ["--volume-prefix", prefix]
    if engine == "bundle":
        memory = [] if service.memory is None else ["--memory", str(service.memory)]
        target = [str(built.layout), *memory]
    else:
        target = ["--", *run_line(service, engine)]
    begun = time.monotonic()
    return call_harden([*options, *target], report) or read_report(report, time.monotonic() - begun)


def call_harden(words: Sequence[str], report: Path, **environment: str) -> str:
    """Harden as `words` say, the report going to `report` and what is said beside it; return why there is none."""
    report.unlink(missing_ok=True)
    with open(report.with_suffix(".log"), "wb") as log:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "lithify.cli.main", "harden", "--format=json", f"--output={report}", *words],
                env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"not done after {LIMIT:g} s"
    if done.returncode in (0, 1) and report.exists():
        return ""
    lines = Path(log.name).read_text(errors="replace").strip().splitlines()
    return next((line for line in lines if line.startswith("error:")), f"exit code {done.returncode}")


def read_report(report: Path, seconds: float) -> Hardened:
    """Return what a report of `harden` says."""
    from lithify.model.hardening import Hardening
    from lithify.report.wire import read_json

    result = read_json(report, Hardening)
    verdict = result.verdict
    failed = [f"{check.name}: {check.summary}" for check in verdict.checks if not check.passed]
    failed += [f"{refusal.path}: {refusal.reason}" for refusal in result.plan.refusals if refusal.blocking]
    kept = sum(not check.tried for check in verdict.minimal)
    return Hardened(
        proved=verdict.proved,
        flag_alone_works=result.flag_alone_works,
        plan=result.plan,
        write_set=result.write_set,
        command=result.command,
        setup=result.setup,
        needed=sum(check.passed for check in verdict.minimal) - kept,
        kept=kept,
        refused=bool(verdict.refused) and all(check.passed for check in verdict.refused),
        rounds=verdict.rounds,
        starts=len(verdict.starts),
        seconds=seconds,
        failed=tuple(failed),
    )

"""`lithify prove`: whether a plan works, refuses the rest and has no place too many."""

import argparse
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lithify.cli.harden import overrides_of
from lithify.cli.options import add_exercise, add_output, add_target, exercise_of, settings_of
from lithify.errors import UsageError

if TYPE_CHECKING:
    from lithify.model.mount import Mount, MountPlan
    from lithify.model.run import Target


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_target(parser)
    group = parser.add_argument_group("the plan to judge")
    group.add_argument("--plan", type=Path, metavar="FILE", help="the JSON output of lithify plan or lithify harden")
    group.add_argument(
        "--tmpfs", action="append", default=[], metavar="PATH[:OPTIONS]", help="a tmpfs, as docker run has it"
    )
    group.add_argument("--volume", action="append", default=[], metavar="NAME:PATH", help="a named volume")
    parser.add_argument("--keep", action="store_true", help="leave the planned container for a look")
    parser.add_argument("--no-live", action="store_true", help="don't listen to the kernel for names that come and go")
    add_exercise(parser)
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prove the plan, print the verdict, return 0 where it holds and 1 where it does not."""
    from lithify.cli.console import Progress, painter, width
    from lithify.cli.output import write_results
    from lithify.cli.pairs import pairs
    from lithify.pipeline.harden import Wishes, prove_plan
    from lithify.pipeline.target import choose
    from lithify.report.page import render_proof
    from lithify.report.wire import render_json

    pairs(arguments)
    settings = settings_of(arguments)
    exercise = exercise_of(arguments)
    engine, target = choose(arguments.target, arguments.rest, settings, overrides_of(arguments))
    wishes = Wishes(jobs=settings.parallel, live=not arguments.no_live, keep=arguments.keep)
    plan = _plan_of(arguments, target)
    verdict = prove_plan(engine, target, plan, exercise, wishes, tell=Progress())
    heading = f"{target.title} ({engine.name})"
    write_results(
        arguments,
        {
            "text": lambda color: render_proof(verdict, plan, heading, paint=painter(color), width=width()),
            "json": lambda _: render_json(verdict),
        },
    )
    return 0 if verdict.proved else 1


def _plan_of(arguments: argparse.Namespace, target: "Target") -> "MountPlan":
    """Return the plan to judge: a file's, the options', or nothing but what the run line itself mounts."""
    from lithify.model.hardening import Hardening
    from lithify.model.mount import MountPlan
    from lithify.model.writes import RunKey
    from lithify.report.wire import read_json

    if arguments.plan:
        types: tuple[type[Hardening | MountPlan], ...] = (Hardening, MountPlan)
        given = read_json(arguments.plan, *types)
        return given.plan if isinstance(given, Hardening) else given
    mounts = [_tmpfs(word) for word in arguments.tmpfs] + [_volume(word) for word in arguments.volume]
    return MountPlan(key=RunKey(image=target.reference), container="judged", mounts=tuple(mounts))


def _tmpfs(word: str) -> "Mount":
    """Return `PATH[:OPTIONS]` as docker run has it; UsageError where it is none."""
    from lithify.model.mount import Mount, StorageKind
    from lithify.model.quantity import parse_engine_size

    path, _, options = word.partition(":")
    values = dict(option.partition("=")[::2] for option in options.split(",") if option)
    try:
        return Mount(
            path=_path(path),
            storage=StorageKind.MEMORY,
            size=parse_engine_size(values["size"]) if "size" in values else None,
            uid=int(values.get("uid", "0")),
            gid=int(values.get("gid", "0")),
            mode=int(values.get("mode", "1777"), 8),
            executable="exec" in values,
        )
    except ValueError as error:
        raise UsageError(f"--tmpfs: {word!r}: {error}", hint="write it as /path:size=64m,uid=33,mode=1777") from error


def _volume(word: str) -> "Mount":
    from lithify.model.mount import Mount, Seed, StorageKind

    name, _, path = word.partition(":")
    try:
        return Mount(path=_path(path), storage=StorageKind.VOLUME, name=name, executable=True, seed=Seed.CONTENT)
    except ValueError as error:
        raise UsageError(f"--volume: {word!r}: {error}", hint="write it as name:/path") from error


def _path(text: str) -> PurePosixPath:
    from lithify.model.path import container_path

    return container_path(text)

"""`lithify harden`: from a program that dies on a read-only root to one that runs, proved."""

import argparse
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from lithify.cli.options import (
    add_exercise,
    add_output,
    add_target,
    environment_of,
    exercise_of,
    memory_of,
    settings_of,
)
from lithify.errors import UsageError

if TYPE_CHECKING:
    from lithify.pipeline.target import Overrides
    from lithify.plan import PlanSettings


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_target(parser)
    add_exercise(parser)
    add_plan_options(parser)
    parser.add_argument("--keep", action="store_true", help="leave the proved container for a look")
    parser.add_argument("--no-live", action="store_true", help="don't listen to the kernel for names that come and go")
    parser.add_argument("--trace", action="store_true", help="also trace system calls: sizes and failed writes, slower")
    add_output(parser)


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Add what settles a plan where only the user can."""
    group = parser.add_argument_group("the plan")
    group.add_argument(
        "--state",
        dest="states",
        action="append",
        default=[],
        metavar="PATH=volume|ephemeral",
        help="whether data written below PATH must survive the container",
    )
    group.add_argument("--volume-prefix", default="", metavar="NAME", help="what the names of volumes begin with")


def run(arguments: argparse.Namespace) -> int:
    """Harden the target, print the page, return 0 where the proof holds and 1 where it does not."""
    from lithify.cli.console import Progress, painter, width
    from lithify.cli.output import pairs, write_results
    from lithify.pipeline.harden import Wishes, harden
    from lithify.pipeline.target import choose
    from lithify.report.page import render_hardening
    from lithify.report.wire import render

    pairs(arguments)
    settings = settings_of(arguments)
    wishes = Wishes(
        settings=plan_settings_of(arguments),
        jobs=settings.parallel,
        live=not arguments.no_live,
        trace=arguments.trace,
        keep=arguments.keep,
    )
    exercise = exercise_of(arguments)
    engine, target = choose(arguments.target, arguments.rest, settings, overrides_of(arguments))
    result = harden(engine, target, exercise, wishes, tell=Progress())
    write_results(
        arguments,
        {
            "text": lambda color: render_hardening(result, paint=painter(color), width=width()),
            "json": lambda _: render(result),
        },
    )
    return 0 if result.verdict.proved else 1


def overrides_of(arguments: argparse.Namespace) -> "Overrides":
    """Return what the user said about running a root filesystem."""
    from lithify.pipeline.target import Overrides

    return Overrides(
        user=arguments.user,
        environment=environment_of(arguments),
        working_directory=arguments.workdir,
        entrypoint=arguments.entrypoint,
        memory=memory_of(arguments),
    )


def plan_settings_of(arguments: argparse.Namespace) -> "PlanSettings":
    """Return the user's decisions; UsageError where --state is no PATH=volume or PATH=ephemeral."""
    from lithify.model.path import container_path
    from lithify.plan import PlanSettings, StateDecision

    decisions: dict[PurePosixPath, StateDecision] = {}
    for word in arguments.states:
        path, _, decision = word.rpartition("=")
        try:
            decisions[container_path(path)] = StateDecision(decision)
        except ValueError as error:
            raise UsageError(
                f"--state: {word!r}: {error}", hint="write --state /path=volume or /path=ephemeral"
            ) from error
    return PlanSettings(state_decisions=decisions, volume_prefix=arguments.volume_prefix)

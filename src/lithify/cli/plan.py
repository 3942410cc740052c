"""`lithify plan`: where a container must be allowed to write, and why."""

import argparse
from pathlib import Path

from lithify.cli.harden import add_plan_options, plan_settings_of
from lithify.cli.options import add_output


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "writes",
        type=Path,
        metavar="WRITES.json",
        help="a write set: the JSON output of lithify learn; - for standard input",
    )
    add_plan_options(parser)
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Plan for a write set and print the plan; 1 where it refuses what the program needs."""
    from lithify.cli.console import painter, width
    from lithify.cli.output import write_results
    from lithify.cli.pairs import pairs
    from lithify.errors import NothingToExamine
    from lithify.model.writes import WriteSet
    from lithify.plan import make_plan
    from lithify.report.page import render_plan
    from lithify.report.wire import read_json, render_json

    pairs(arguments)
    plan = make_plan(read_json(arguments.writes, WriteSet, missing=NothingToExamine), plan_settings_of(arguments))
    write_results(
        arguments,
        {
            "text": lambda color: render_plan(plan, paint=painter(color), width=width()),
            "json": lambda _: render_json(plan),
        },
    )
    return 1 if any(refusal.blocking for refusal in plan.refusals) else 0

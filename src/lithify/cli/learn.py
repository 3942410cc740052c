"""`lithify learn`: what a container writes, and how that is known."""

import argparse
from pathlib import Path

from lithify.cli.harden import overrides_of
from lithify.cli.options import add_exercise, add_output, add_target, exercise_of, settings_of


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_target(parser)
    parser.add_argument("--merge", nargs="+", type=Path, metavar="FILE", help="join write sets instead of learning one")
    parser.add_argument("--attach", action="store_true", help="watch TARGET as it runs already: a container or a pid")
    parser.add_argument("--keep", action="store_true", help="leave the container for a look")
    parser.add_argument("--no-live", action="store_true", help="don't listen to the kernel for names that come and go")
    parser.add_argument("--trace", action="store_true", help="also trace system calls: sizes and failed writes, slower")
    add_exercise(parser)
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Learn the target's writes and print them."""
    from lithify.cli.console import Progress, painter, width
    from lithify.cli.output import pairs, write_results
    from lithify.pipeline.learn import learn_target
    from lithify.report.page import render_write_set
    from lithify.report.wire import render

    pairs(arguments)
    if arguments.merge:
        from lithify.model.writes import WriteSet
        from lithify.observe.merge import merge_write_sets
        from lithify.report.wire import read

        write_set = merge_write_sets(*(read(path, WriteSet) for path in arguments.merge))
    else:
        write_set = learn_target(
            arguments.target,
            arguments.rest,
            settings_of(arguments),
            overrides_of(arguments),
            exercise_of(arguments),
            attach=arguments.attach,
            live=not arguments.no_live,
            trace=arguments.trace,
            keep=arguments.keep,
            tell=Progress(),
        )
    write_results(
        arguments,
        {
            "text": lambda color: render_write_set(write_set, paint=painter(color), width=width()),
            "json": lambda _: render(write_set),
        },
    )
    return 0

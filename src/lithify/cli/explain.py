"""`lithify explain`: what the read-only errors in a log mean, and what to do."""

import argparse
import sys
from pathlib import Path, PurePosixPath

from lithify.cli.options import add_output, settings_of
from lithify.errors import NothingToExamine, UsageError

_ENGINES = ("docker", "podman")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "source",
        nargs="?",
        metavar="LOG",
        help="a log file; - for standard input (the default where that is no terminal); docker:NAME or podman:NAME, or "
        "with --engine a name, for the log of a container",
    )
    parser.add_argument("--engine", choices=_ENGINES, help="take LOG for a container of this engine")
    parser.add_argument("--workdir", metavar="PATH", help="where the program's relative paths start (default: /)")
    parser.add_argument(
        "--mountinfo",
        type=Path,
        metavar="FILE",
        help="a copy of the container's /proc/1/mountinfo: tells the root from other read-only mounts",
    )
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what the log says; 3 where it says nothing."""
    from lithify.cli.console import painter, width
    from lithify.cli.output import write_results
    from lithify.cli.pairs import pairs
    from lithify.pipeline.explain import explain_container, explain_file, explain_stream
    from lithify.report.explanation import render_explanation
    from lithify.report.wire import render_json

    pairs(arguments)
    if arguments.source in (None, "-") and sys.stdin is None:
        raise UsageError("standard input is closed", hint="name a log file or a container")
    if arguments.source is None:
        if sys.stdin.isatty():
            raise UsageError("nothing to explain", hint="name a log file, a container, or pipe a log in")
        arguments.source = "-"
    workdir = PurePosixPath("/", arguments.workdir) if arguments.workdir else None
    engine, _, name = arguments.source.partition(":")
    if arguments.engine is None and engine in _ENGINES and name:
        arguments.engine, arguments.source = engine, name
    if arguments.engine is not None:
        settings = settings_of(arguments)
        explanation = explain_container(
            arguments.source, settings, working_directory=workdir, mountinfo=arguments.mountinfo
        )
    elif arguments.source == "-":
        explanation = explain_stream(
            sys.stdin.buffer, source="", working_directory=workdir, mountinfo=arguments.mountinfo
        )
    else:
        explanation = explain_file(arguments.source, working_directory=workdir, mountinfo=arguments.mountinfo)
    write_results(
        arguments,
        {
            "text": lambda color: render_explanation(explanation, paint=painter(color), width=width()),
            "json": lambda _: render_json(explanation),
        },
    )
    return 0 if explanation.causes else NothingToExamine.exit_code

"""`lithify report merge`: audit reports joined, and written in any format."""

import argparse
import sys
from collections.abc import Iterator
from io import BufferedReader, TextIOWrapper
from json import detect_encoding
from typing import IO

from lithify.cli.audit import FORMATS, exit_code, insist_on_formats, threshold, write_reports
from lithify.cli.pairs import pairs
from lithify.errors import UsageError
from lithify.model.text import THRESHOLDS


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("action", choices=("merge",), help="what to do with them")
    parser.add_argument("reports", nargs="+", metavar="REPORT.json", help="what `lithify audit --format json` wrote")
    parser.add_argument("--fail-on", choices=THRESHOLDS, help="as for audit (default: high)")
    parser.add_argument(
        "--format", action="append", metavar="NAME", help=f"{', '.join(FORMATS)}; may repeat, each with its --output"
    )
    parser.add_argument("--output", action="append", metavar="FILE", help="where the format goes; - is standard output")
    parser.add_argument("--merge-into", metavar="FILE", help="answer the rules of this checklist (format cklb)")


def _opened(path: str) -> BufferedReader:
    if path != "-":
        return open(path, "rb")
    if sys.stdin is None:
        raise UsageError("standard input is closed", hint="name files that audit wrote")
    return open(sys.stdin.fileno(), "rb", closefd=False)


def run(arguments: argparse.Namespace) -> int:
    """Join the reports, write them, and return 1 where a finding is as severe as --fail-on."""
    from lithify.errors import InvalidInput, NothingToExamine
    from lithify.model.text import printable
    from lithify.pipeline.audit.merge import merge_reports

    outputs = pairs(arguments)
    insist_on_formats(outputs, arguments.merge_into)
    path = ""

    def files() -> Iterator[IO[str]]:
        nonlocal path
        for path in arguments.reports:
            try:
                with _opened(path) as file:  # once: a pipe gives what it has to its first reader
                    yield TextIOWrapper(file, encoding=detect_encoding(file.peek(4)))
            except FileNotFoundError as error:
                raise NothingToExamine(f"no file {printable(path)}", hint="name files that audit wrote") from error
            except OSError as error:
                raise InvalidInput(
                    f"{printable(path)}: {error.strerror}", hint="name files that audit wrote"
                ) from error

    try:
        report = merge_reports(files())
    except ValueError as error:
        hint = "these are the JSON reports of lithify audit, of this version's schema"
        raise InvalidInput(f"{path} can't be merged: {error}", hint=hint) from error
    write_reports(report, outputs, arguments)
    return exit_code(report, threshold(arguments))

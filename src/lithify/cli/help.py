"""`lithify help NAME`: the page that an error names."""

import argparse
from importlib.resources import files

from lithify.cli.stdout import standard_output
from lithify.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="a command, or what stands behind `page:` below an error")


def run(arguments: argparse.Namespace) -> int:
    """Print a page."""
    pages = {page.name.removesuffix(".md"): page for page in files("lithify").joinpath("pages").iterdir()}
    if arguments.name not in pages:
        raise UsageError(f"no command and no page {arguments.name!r}", hint=f"pages: {', '.join(sorted(pages))}")
    with standard_output() as stream:
        stream.write(pages[arguments.name].read_bytes())
    return 0

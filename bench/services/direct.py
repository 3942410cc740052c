"""Tries services straight on an engine: `python -m bench.services.direct [--read-only] [NAME...]`.

Says what is true of a service before lithify has a word: that its exercise and its check work, and what the flag alone
does to it.
"""

import argparse
import sys
import time

from bench.here import insist_on
from bench.services.build import build
from bench.services.run import live, runs
from bench.services.service import read_services


def main() -> int:
    """Try the services named, or all, and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m bench.services.direct", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="service (default: all)")
    parser.add_argument("--engine", default="docker", choices=("bundle", "docker", "podman"))
    parser.add_argument("--read-only", action="store_true", help="with the flag, and nothing else")
    parser.add_argument("--option", action="append", default=[], help="further option of the engine's run command")
    parser.add_argument("--log", action="store_true", help="show the container's log where it fails")
    options = parser.parse_args()
    insist_on(options.engine)
    failed = 0
    for service in read_services(tuple(options.names)):
        built = build(service)
        started = time.monotonic()
        with runs(built, options.engine, options.option, None, read_only=options.read_only) as containers:
            run = next(containers)
            words = live(run)
            log = run.log()
        failed += bool(words)
        took = time.monotonic() - started
        print(f"{service.name:14} {'fails' if words else 'works'}  {took:5.1f} s  {words}", flush=True)
        if options.log and words:
            print("    " + "\n    ".join(log.splitlines()[-40:]))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

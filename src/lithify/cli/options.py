"""Options that several commands share, and what they come to."""

import argparse
import os
import shlex
from pathlib import Path

from lithify.errors import UsageError
from lithify.model.path import printable
from lithify.model.quantity import parse_engine_size
from lithify.model.run import Exercise
from lithify.settings import ENGINES, RUNTIMES, Settings, read_settings

DEFAULT_TIMEOUT = "60s"
TARGETS = "a root filesystem directory, OCI layout, image archive, image or container; or a run line after --"


def add_target(parser: argparse.ArgumentParser, targets: str = TARGETS) -> None:
    """Add TARGET, which may be any of `targets`, and what says how to run it."""
    parser.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help=targets,
    )
    group = parser.add_argument_group("the target")
    group.add_argument("--engine", choices=ENGINES, help="where TARGET is (default: by what it is)")
    group.add_argument("--runtime", choices=RUNTIMES, help="the bundle engine's OCI runtime")
    group.add_argument("--state-dir", dest="state", type=Path, metavar="DIR", help="the bundle engine's directory")
    group.add_argument("--user", help="run a root filesystem as this user")
    group.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="set a variable in it")
    group.add_argument("--workdir", metavar="PATH", help="its working directory")
    group.add_argument("--entrypoint", metavar="PROGRAM", help="its entrypoint")
    group.add_argument("--memory", metavar="SIZE", help="its memory limit, such as 256m")
    group.add_argument(
        "--join-networks", action="store_true", help="let trials join the networks that a run line or container names"
    )


def add_exercise(parser: argparse.ArgumentParser) -> None:
    """Add what counts as working and how the program is driven."""
    group = parser.add_argument_group("what counts as working")
    group.add_argument("--check", metavar="CMD", help="host command that exits with 0 when it works")
    group.add_argument("--check-inside", metavar="CMD", help="the same, run within the container")
    group.add_argument("--http", metavar="URL", help="a URL that must answer")
    group.add_argument("--tcp", type=int, metavar="PORT", help="a port that must accept connections")
    group.add_argument("--exercise", metavar="SCRIPT", help="host command that uses the program as its users do")
    group.add_argument("--for", dest="seconds", default="0", metavar="TIME", help="go on watching for 30s, 5m, ...")
    limit = f"limit of each check and exercise ({DEFAULT_TIMEOUT})"
    group.add_argument("--timeout", default=DEFAULT_TIMEOUT, metavar="TIME", help=limit)
    group.add_argument("--jobs", type=int, metavar="N", help="containers that may run at once (default: one a core)")


def add_output(parser: argparse.ArgumentParser, formats: tuple[str, ...] = ("text", "json")) -> None:
    """Add --format and --output, which repeat in pairs."""
    group = parser.add_argument_group("output")
    group.add_argument("--format", action="append", choices=formats, help=f"one of {', '.join(formats)}; may repeat")
    group.add_argument("--output", action="append", metavar="FILE", help="where the format goes; - is standard output")


def add_cluster(group: "argparse._ArgumentGroup", namespace: str) -> None:
    """Add which cluster is meant, and what is to look into its nodes; `namespace` says what --namespace is for."""
    group.add_argument("--kubeconfig", metavar="FILE", help="the same on the cluster of this file")
    group.add_argument("--context", metavar="NAME", help="the same on the cluster of this context")
    group.add_argument("-n", "--namespace", default="", metavar="NAME", help=namespace)
    group.add_argument(
        "--node-image",
        metavar="IMAGE",
        help="what holds lithify, for pods on nodes that can't be read from here",
    )


def names_cluster(arguments: argparse.Namespace) -> bool:
    """Tell whether any of the options about a cluster was given."""
    return bool(arguments.cluster or arguments.kubeconfig or arguments.context or arguments.namespace)


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return the settings that hold for these arguments."""
    return read_settings(vars(arguments), file=arguments.config)


def exercise_of(arguments: argparse.Namespace) -> Exercise:
    """Return what the user said counts as working; UsageError where it can't be."""
    try:
        inside = tuple(shlex.split(arguments.check_inside or ""))
    except ValueError as error:
        raise UsageError(f"--check-inside: {error}", hint="quote it as in a shell") from error
    _insist_on_url(arguments.http)
    if arguments.tcp is not None and not 0 < arguments.tcp < 1 << 16:
        raise UsageError(f"--tcp: {arguments.tcp} is no port", hint="a port is a number from 1 to 65535")
    for option in ("check", "exercise"):
        _insist_on_script(getattr(arguments, option), f"--{option}")
    return Exercise(
        check=arguments.check,
        check_inside=inside,
        http=arguments.http,
        tcp=arguments.tcp,
        script=arguments.exercise,
        seconds=duration(arguments.seconds, "--for"),
        timeout=duration(arguments.timeout, "--timeout") or 60.0,
    )


def _insist_on_url(url: str | None) -> None:
    """Raise UsageError for a URL that no HTTP server could answer; one without a scheme is taken for http."""
    if url is None:
        return
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        _ = parts.port  # raises for what is none
        wrong = "" if parts.scheme in ("http", "https") else "neither http nor https"
    except ValueError as error:
        wrong = str(error)
    if wrong:
        raise UsageError(f"--http: {url!r}: {wrong}", hint="write it as http://localhost:8080/")


def _insist_on_script(command: str | None, option: str) -> None:
    """Raise UsageError where a host command is a script by its path, and no such file is there."""
    if not command:
        return
    from lithify.prove.exercise import script_of

    script = script_of(command)
    if script and not os.path.exists(script):
        raise UsageError(f"{option}: no file {printable(script)} on this host", hint="is the path right?")


def environment_of(arguments: argparse.Namespace) -> dict[str, str]:
    """Return what --env sets; UsageError where a word is no NAME=VALUE."""
    for word in arguments.env:
        if not word.partition("=")[0] or "=" not in word:
            raise UsageError(f"--env: {word!r} is not NAME=VALUE", hint="write --env NAME=VALUE")
    return dict(word.split("=", 1) for word in arguments.env)


def memory_of(arguments: argparse.Namespace) -> int | None:
    """Return --memory in bytes; UsageError where it is no size."""
    if not arguments.memory:
        return None
    try:
        return parse_engine_size(arguments.memory)
    except ValueError as error:
        raise UsageError(f"--memory: {error}", hint="write it as 256m or 1g") from error


def duration(text: str, option: str) -> float:
    """Return "30", "30s", "5m" or "1h" in seconds; UsageError where it is none of these."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], text[-1:]) if text[-1:] in units else (text, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e7:
        raise UsageError(f"{option}: {text!r} is not a time", hint="write it as 30s, 5m or 1h")
    return seconds

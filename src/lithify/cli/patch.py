"""`lithify patch`: a plan written into the file that describes its container."""

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lithify.errors import UsageError

if TYPE_CHECKING:
    from lithify.model.patch import Patched, PatchedFiles
    from lithify.pipeline.files.patch import GivenPlan, PatchOptions


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="a manifest, Compose file, unit, script, chart, ...; - is stdin")
    parser.add_argument(
        "--plan",
        dest="plans",
        type=Path,
        action="append",
        default=[],
        metavar="PLAN.json",
        help="the JSON output of lithify plan or lithify harden; may repeat",
    )
    parser.add_argument(
        "--container",
        "--service",
        dest="containers",
        action="append",
        default=[],
        metavar="NAME",
        help="whom the plan is for, as web, deploy/web or Deployment/deploy/web; repeats with --plan, in pairs",
    )
    add_kubernetes_options(parser)
    add_chart_options(parser)
    parser.add_argument("--stack", action="store_true", help="the Compose file is one that Swarm runs")
    add_writing(parser)
    parser.add_argument("--output", metavar="FILE", help="put the whole patched file there; - is standard output")
    parser.add_argument("--state-dir", dest="state", type=Path, metavar="DIR", help="where what was replaced is kept")


def add_writing(parser: argparse.ArgumentParser) -> None:
    """Add what is to become of the patched file."""
    group = parser.add_argument_group("the file").add_mutually_exclusive_group()
    group.add_argument("--diff", action="store_true", help="print what would change (the default)")
    group.add_argument("--write", action="store_true", help="replace the file")
    group.add_argument("--revert", action="store_true", help="put back what stood there before the last --write")


def add_chart_options(parser: argparse.ArgumentParser) -> None:
    """Add what is said about a chart."""
    group = parser.add_argument_group("a Helm chart")
    group.add_argument(
        "--values",
        dest="chart_values",
        action="append",
        default=[],
        metavar="FILE",
        help="render the chart with these values; may repeat",
    )
    group.add_argument("--release", default="", metavar="NAME", help="what the release is called (release)")
    group.add_argument(
        "--into", default="", metavar="FILE", help="write values into this file instead of a new one in the chart"
    )


def add_kubernetes_options(parser: argparse.ArgumentParser) -> None:
    """Add what a patch of a manifest may rely on."""
    group = parser.add_argument_group("Kubernetes")
    group.add_argument("--kubernetes-version", metavar="1.N", help="the server's version; unlocks what only it has")
    group.add_argument(
        "--feature-gate", dest="gates", action="append", default=[], metavar="GATE", help="a gate that is open there"
    )
    group.add_argument("--copier", default="", metavar="IMAGE", help="has a shell, for images that have none")
    group.add_argument("--exact-modes", action="store_true", help="give every place its mode, by an init container")
    group.add_argument(
        "--fresh-start",
        action="append",
        default=[],
        metavar="NAME",
        help="a container whose run-time files are removed at each of its starts",
    )
    group.add_argument("--storage-class", default="", metavar="NAME", help="of new claims")
    group.add_argument("--claim-size", default="1Gi", metavar="SIZE", help="of new claims (1Gi)")


def run(arguments: argparse.Namespace) -> int:
    """Print or write the patched file; 1 where a container was left out of it."""
    from lithify.cli.options import settings_of
    from lithify.model.path import printable
    from lithify.pipeline.files.patch import patch_file
    from lithify.pipeline.files.write import replace_file
    from lithify.pipeline.files.write_folder import write_files

    gc.disable()  # a short process, and its many nodes hold no cycles
    state = settings_of(arguments).state
    if arguments.revert:
        return revert(arguments.file, state)
    if not arguments.plans:
        raise UsageError("no plan", hint="give one with --plan: the JSON output of lithify plan or lithify harden")
    plans = _plans(arguments)
    if Path(arguments.file).is_dir():
        return _patch_folder(arguments, plans, state)
    if arguments.file == "-":
        if arguments.write:
            raise UsageError("standard input can't be written to", hint="print the patched file with --output -")
        data = _standard_input()
        patched = patch_file("-", data, plans, patch_options_of(arguments))
    else:
        from lithify.pipeline.files.write import read_original

        original = read_original(Path(arguments.file))
        data = original.data
        patched = patch_file(arguments.file, data, plans, patch_options_of(arguments))
        if arguments.output and patched.files:
            named = os.path.abspath(arguments.file)
            changed = (file.path for file in patched.files)
            others = ", ".join(printable(path) for path in changed if os.path.abspath(path) != named)
            raise UsageError(
                f"--output is for one file, and {others} would change too",
                hint="print the diff, or write the files with --write",
            )
        if arguments.write:
            written = (
                write_files(arguments.file, patched.files, state)
                if patched.files
                else replace_file(original, patched.text, state)
            )
            if written:
                tell_revert(arguments.file, state, [file.path for file in patched.files])
            elif not patched.refused:
                _tell_unchanged(arguments.file)
    _show(arguments, data, patched)
    return 1 if patched.refused else 0


def _patch_folder(arguments: argparse.Namespace, plans: "list[GivenPlan]", state: Path) -> int:
    """Print or write the files of a chart or kustomization."""
    from lithify.pipeline.files.patch import patch_folder
    from lithify.pipeline.files.write_folder import write_files

    if arguments.output:
        raise UsageError("--output is for one file", hint="print the diff, or write the files with --write")
    patched = patch_folder(arguments.file, plans, patch_options_of(arguments))
    if arguments.write:
        if write_files(arguments.file, patched.files, state):
            tell_revert(arguments.file, state)
        elif not patched.refused:
            _tell_unchanged(arguments.file)
    else:
        _print_diff(arguments, "".join(file.diff for file in patched.files))
    show_refused(patched)
    if patched.command:
        import shlex

        print(f"from now on: {shlex.join(patched.command)}", file=sys.stderr)
    return 1 if patched.refused else 0


def revert(file: str, state: Path) -> int:
    """Put back what stood in a file or folder before it was patched last, and say so."""
    from lithify.model.path import printable
    from lithify.pipeline.files import write_folder

    if file == "-":
        raise UsageError("standard input can't be reverted", hint="name the file")
    reverted = write_folder.revert(file, state)
    for path in [file] if Path(file).is_dir() else reverted:
        print(f"{printable(path)} is what it was before it was patched", file=sys.stderr)
    return 0


def tell_revert(file: str, state: Path, files: "Sequence[str]" = ()) -> None:
    """Say on stderr that a file was replaced, or those that belong to it, and how that is taken back.

    A state directory that is not the default one is named, wherever it was said: the next shell may not know of it.
    """
    import shlex

    from lithify.model.path import printable
    from lithify.settings import default_state

    named = ", ".join(map(printable, files)) or printable(file)
    verb = "are" if len(files) > 1 else "is"
    undo = ["lithify", "patch", "--revert", file]
    if state != default_state():
        undo += ["--state-dir", str(state)]
    print(f"{named} {verb} patched; take it back with: {shlex.join(undo)}", file=sys.stderr)


def _tell_unchanged(file: str) -> None:
    from lithify.model.path import printable

    print(f"{printable(file)}: nothing has to change", file=sys.stderr)


def show_refused(patched: "Patched | PatchedFiles") -> None:
    """Print on stderr which containers were left out and why, what to write by hand, and what to know."""
    from lithify.model.path import printable

    for refused in patched.refused:
        print(f"{printable(refused.container)}: left as it is: {printable(refused.reason)}", file=sys.stderr)
        if refused.remedy:
            print(f"  {refused.remedy}", file=sys.stderr)
        if refused.by_hand:
            print("  by hand:", file=sys.stderr)
            for line in refused.by_hand.splitlines():
                print(f"    {printable(line)}", file=sys.stderr)
    for note in patched.notes:
        print(f"note: {printable(note)}", file=sys.stderr)


def patch_options_of(arguments: argparse.Namespace) -> "PatchOptions":
    """Return what a patch may rely on; UsageError for what is no version or no size."""
    from lithify.model.quantity import parse_quantity
    from lithify.patch.kubernetes import Options
    from lithify.pipeline.files.patch import PatchOptions

    try:
        size = parse_quantity(arguments.claim_size)
    except ValueError as error:
        raise UsageError(f"--claim-size: {error}", hint="write it as 1Gi or 500Mi") from error
    return PatchOptions(
        kubernetes=Options(
            version=_version(arguments.kubernetes_version),
            gates=frozenset(arguments.gates),
            copier=arguments.copier,
            exact_modes=arguments.exact_modes,
            fresh_start=frozenset(arguments.fresh_start),
            storage_class=arguments.storage_class,
            claim_size=size,
        ),
        stack=getattr(arguments, "stack", False),
        values=tuple(arguments.chart_values),
        release=arguments.release,
        into=arguments.into,
    )


def _version(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.removeprefix("v").split(".")
    if len(parts) < 2 or not parts[0].isdigit() or not parts[1].rstrip("+").isdigit():
        raise UsageError(f"--kubernetes-version: {text!r} is no version", hint="write it as 1.34")
    return int(parts[0]), int(parts[1].rstrip("+"))


def _plans(arguments: argparse.Namespace) -> "list[GivenPlan]":
    from lithify.pipeline.files.patch import read_plans

    containers = arguments.containers
    if len(arguments.plans) == 1:
        return read_plans(arguments.plans[0], containers)
    if containers and len(containers) != len(arguments.plans):
        raise UsageError(
            f"{len(arguments.plans)} times --plan, {len(containers)} times --container",
            hint="give each plan its own --container, in the same order",
        )
    names = [[name] for name in containers] or [[]] * len(arguments.plans)
    return [one for path, own in zip(arguments.plans, names, strict=True) for one in read_plans(path, own)]


def _standard_input() -> bytes:
    from lithify.errors import InvalidInput
    from lithify.sources.files import read_stdin

    data = read_stdin()
    if isinstance(data, str):
        raise InvalidInput(f"standard input: {data}", hint="give a file of a size that a person keeps")
    return data


def _show(arguments: argparse.Namespace, data: bytes, patched: "Patched") -> None:
    from lithify.cli.output import write_file
    from lithify.cli.stdout import standard_output
    from lithify.model.patch import unified_diff

    show_refused(patched)
    if arguments.output == "-":
        with standard_output() as stream:
            stream.write(patched.text)
    elif arguments.output:
        write_file(Path(arguments.output), patched.text)
    elif not arguments.write:
        one = unified_diff(arguments.file, data, patched.text)
        _print_diff(arguments, "".join(file.diff for file in patched.files) or one)


def _print_diff(arguments: argparse.Namespace, diff: str) -> None:
    from lithify.cli.color import wants_color
    from lithify.cli.console import painter
    from lithify.cli.stdout import standard_output

    with standard_output() as stream:
        terminal = stream.isatty()
        color = wants_color(arguments.color or "auto", terminal=terminal)
        if terminal or color:
            diff = _painted(diff, painter(color))
        stream.write(diff.encode("utf-8", "surrogateescape"))


def _painted(diff: str, paint: "Callable[[str, str], str]") -> str:
    """Return a diff for a terminal, which must not see control characters."""
    from lithify.model.path import printable

    styles = {"+": "green", "-": "red", "@": "bold"}
    lines = [line.removesuffix("\r") for line in diff.split("\n")]
    return "\n".join(
        paint(styles[line[0]], printable(line)) if line[:1] in styles else printable(line) for line in lines
    )

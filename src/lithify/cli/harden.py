"""`lithify harden`: from a program that dies on a read-only root to one that runs, proved."""

import argparse
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lithify.cli.options import (
    TARGETS,
    add_cluster,
    add_exercise,
    add_output,
    add_target,
    environment_of,
    exercise_of,
    memory_of,
    names_cluster,
    settings_of,
)
from lithify.cli.patch import (
    add_chart_options,
    add_kubernetes_options,
    add_writing,
    patch_options_of,
    revert,
    tell_revert,
)
from lithify.errors import FileChanged, UsageError
from lithify.model.path import printable

if TYPE_CHECKING:
    from lithify.model.group import GroupHardening
    from lithify.model.run import Exercise
    from lithify.pipeline.files.write import Original
    from lithify.pipeline.groups.group import Group
    from lithify.pipeline.groups.options import GroupOptions
    from lithify.pipeline.harden import Wishes
    from lithify.pipeline.target import Overrides
    from lithify.plan import PlanSettings
    from lithify.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_target(parser, f"a file, chart or kustomization of containers; with a cluster KIND/NAME; {TARGETS}")
    _add_group_options(parser)
    add_chart_options(parser)
    _add_cluster_options(parser)
    add_kubernetes_options(parser)
    add_exercise(parser)
    add_plan_options(parser)
    parser.add_argument(
        "--bake",
        type=Path,
        metavar="DIR",
        help="put what every start writes the same into a copy of the image, and the Dockerfile for that into DIR",
    )
    parser.add_argument("--keep", action="store_true", help="leave the proved container for a look")
    parser.add_argument("--no-live", action="store_true", help="don't listen to the kernel for names that come and go")
    parser.add_argument("--trace", action="store_true", help="also trace system calls: sizes and failed writes, slower")
    add_writing(parser)
    add_output(parser)


def _add_group_options(parser: argparse.ArgumentParser) -> None:
    """Add what is said about a file whose containers run together."""
    group = parser.add_argument_group("a file of containers")
    group.add_argument(
        "--service",
        "--container",
        dest="members",
        action="append",
        default=[],
        metavar="NAME",
        help="harden this one only, beside the others; may repeat",
    )
    group.add_argument(
        "--image",
        dest="images",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="run an image of the file from a root filesystem directory, OCI layout or archive; may repeat",
    )
    group.add_argument(
        "--with",
        dest="beside",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a file or folder with config maps and secrets that the file refers to; may repeat",
    )


def _add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """Add what names a cluster; without any of it none is touched."""
    group = parser.add_argument_group("a real cluster")
    group.add_argument(
        "--cluster",
        action="store_true",
        help="prove a manifest on the cluster of the current context, in scratch namespaces that are removed again",
    )
    add_cluster(
        group, "where KIND/NAME is, or the config maps, secrets and claims that a manifest refers to and does not hold"
    )
    group.add_argument(
        "--apply", action="store_true", help="change KIND/NAME in the cluster once all of it is proved; else only print"
    )


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
    from lithify.cli.pairs import pairs
    from lithify.pipeline.harden import Wishes

    pairs(arguments)
    settings = settings_of(arguments)
    if arguments.revert:
        return revert(_file(arguments), settings.state)
    wishes = Wishes(
        settings=plan_settings_of(arguments),
        jobs=settings.parallel,
        live=not arguments.no_live,
        trace=arguments.trace,
        keep=arguments.keep,
        bake=arguments.bake,
    )
    exercise = exercise_of(arguments)
    group = _group(arguments, settings, exercise)
    if group is None:
        return _harden_target(arguments, settings, exercise, wishes)
    with group if isinstance(group, AbstractContextManager) else nullcontext():
        return _harden_group(arguments, group, wishes, settings)


def _group(arguments: argparse.Namespace, settings: "Settings", exercise: "Exercise") -> "Group | None":
    """Return the containers that the target describes; None where it is one container by itself."""
    from lithify.pipeline.groups.openers import open_group

    named = arguments.target is not None and not arguments.rest
    on_cluster = names_cluster(arguments) or arguments.apply
    if on_cluster and not named:
        hint = "lithify harden deploy.yaml --cluster, or lithify harden deployment/web -n shop"
        raise UsageError("a cluster proves a manifest or a workload, and none is named", hint=hint)
    if not named:
        return None
    options = _group_options(arguments, settings, exercise, on_cluster=on_cluster)
    if on_cluster and not Path(arguments.target).exists():
        from lithify.pipeline.groups.live_workload import names_workload, open_workload

        if names_workload(arguments.target):
            return open_workload(arguments.target, options)
    if arguments.apply:
        raise UsageError("--apply changes a workload that runs", hint="name it as KIND/NAME; a file takes --write")
    group = open_group(arguments.target, options)
    if on_cluster and group is None:
        raise UsageError(
            f"{printable(arguments.target)} is nothing that a cluster can prove",
            hint="name a manifest, a chart, a kustomization, or a workload as KIND/NAME",
        )
    return group


def _harden_target(arguments: argparse.Namespace, settings: "Settings", exercise: "Exercise", wishes: "Wishes") -> int:
    """Harden one container."""
    from lithify.cli.console import Progress, painter, width
    from lithify.cli.output import write_results
    from lithify.pipeline.harden import harden
    from lithify.pipeline.target import choose
    from lithify.report.page import render_hardening
    from lithify.report.wire import render_json

    _refuse_group_options(arguments)
    if arguments.write:
        raise UsageError("--write changes a file of containers", hint="name a manifest, a Compose file, a chart, ...")
    engine, target = choose(arguments.target, arguments.rest, settings, overrides_of(arguments))
    result = harden(engine, target, exercise, wishes, tell=Progress())
    write_results(
        arguments,
        {
            "text": lambda color: render_hardening(result, paint=painter(color), width=width()),
            "json": lambda _: render_json(result),
        },
    )
    return 0 if result.verdict.proved else 1


def _harden_group(arguments: argparse.Namespace, group: "Group", wishes: "Wishes", settings: "Settings") -> int:
    """Harden the containers of a file, print what changes in it, and change it where that was asked for and proved."""
    from lithify.cli.console import Progress, painter, width
    from lithify.cli.output import write_results
    from lithify.pipeline.groups.group import harden_group
    from lithify.report.group import render_group
    from lithify.report.wire import render_json

    if arguments.bake is not None:
        raise UsageError("--bake is for one image, not for a file of containers", hint="harden the image by itself")
    original = _original(_file(arguments), group) if arguments.write else None
    result = harden_group(group, wishes, tell=Progress())
    write_results(
        arguments,
        {
            "text": lambda color: render_group(result, paint=painter(color), width=width()),
            "json": lambda _: render_json(result),
        },
    )
    if arguments.apply:
        _apply(group, result)
    if arguments.write:
        _write(arguments.target, original, result, settings.state)
    return 0 if result.proved else 1


def _original(path: str, group: "Group") -> "Original | None":
    """Return the file that is to be changed, None for a folder; FileChanged where it is not what the group was read of.

    Asked before the hours that a proof may take.
    """
    from lithify.pipeline.files.write import read_original

    if Path(path).is_dir():
        return None
    original = read_original(Path(path))
    if original.data != group.text:
        raise FileChanged(f"{printable(path)} was changed meanwhile", hint="start again with what stands there now")
    return original


def _write(path: str, original: "Original | None", result: "GroupHardening", state: Path) -> None:
    """Change a file or folder where all of it is proved, and say on stderr what came of it."""
    from lithify.pipeline.files.write import replace_file
    from lithify.pipeline.files.write_folder import write_files
    from lithify.report.group import unchanged

    if not result.diff:
        print(f"{printable(path)} is left as it is: {unchanged(result)}", file=sys.stderr)
    elif not result.proved:
        print(f"{printable(path)} is left as it is: not all of it is proved", file=sys.stderr)
    elif original is not None and not result.files:
        if replace_file(original, result.text.encode("utf-8", "surrogateescape"), state):
            tell_revert(path, state)
    elif write_files(path, [file.patched() for file in result.files], state):
        tell_revert(path, state, [] if original is None else [file.path for file in result.files])


def _file(arguments: argparse.Namespace) -> str:
    """Return the file or folder that is to be changed; UsageError where the target is none."""
    if arguments.target is None or not Path(arguments.target).exists():
        raise UsageError("--write and --revert change a file", hint="name a manifest or a Compose file as the target")
    return str(arguments.target)


def _apply(group: "Group", result: "GroupHardening") -> None:
    """Change a live workload where all of it is proved."""
    from lithify.pipeline.groups.live_workload import LiveGroup

    assert isinstance(group, LiveGroup)
    if not result.proved:
        print("the cluster is left as it is: not all of it is proved", file=sys.stderr)
        return
    for done in group.apply(result.text.encode("utf-8", "surrogateescape")) if result.diff else ():
        print(done, file=sys.stderr)


def _group_options(
    arguments: argparse.Namespace, settings: "Settings", exercise: "Exercise", *, on_cluster: bool
) -> "GroupOptions":
    """Return what the user said about a file; UsageError where --image is no NAME=PATH."""
    from lithify.pipeline.groups.options import ClusterOptions, GroupOptions

    cluster = ClusterOptions(kubeconfig=arguments.kubeconfig, context=arguments.context, namespace=arguments.namespace)
    images = {}
    for word in arguments.images:
        name, separator, path = word.rpartition("=")
        if not separator or not name or not path:
            raise UsageError(f"--image: {word!r} is not NAME=PATH", hint="write it as --image nginx:1.27=./rootfs")
        if not os.path.exists(path):
            raise UsageError(f"--image: no file or folder {printable(path)}", hint="is the path right?")
        images[name] = Path(path)
    return GroupOptions(
        settings=settings,
        exercise=exercise,
        only=tuple(arguments.members),
        cluster=cluster if on_cluster else None,
        images=images,
        beside=tuple(arguments.beside),
        manifest=patch_options_of(arguments).kubernetes,
        values=tuple(arguments.chart_values),
        release=arguments.release,
        into=arguments.into,
    )


def _refuse_group_options(arguments: argparse.Namespace) -> None:
    """Raise UsageError where something is said about a file of containers, and there is none."""
    given = {"--service (--container)": arguments.members, "--image": arguments.images, "--with": arguments.beside}
    given |= {"--values": arguments.chart_values, "--release": arguments.release, "--into": arguments.into}
    for option, values in given.items():
        if values:
            raise UsageError(
                f"{option} is for a file of containers", hint="name a manifest or a Compose file as the target"
            )


def overrides_of(arguments: argparse.Namespace) -> "Overrides":
    """Return what the user said about running a root filesystem."""
    from lithify.pipeline.target import Overrides

    return Overrides(
        user=arguments.user,
        environment=environment_of(arguments),
        working_directory=arguments.workdir,
        entrypoint=arguments.entrypoint,
        memory=memory_of(arguments),
        join_networks=arguments.join_networks,
    )


def plan_settings_of(arguments: argparse.Namespace) -> "PlanSettings":
    """Return the user's decisions; UsageError where --state is no PATH=volume or PATH=ephemeral."""
    from lithify.model.path import container_path
    from lithify.plan import PlanSettings, StateDecision

    decisions: dict[PurePosixPath, StateDecision] = {}
    for word in arguments.states:
        path, _, decision = word.rpartition("=")
        hint = "write --state /path=volume or /path=ephemeral"
        if decision not in tuple(StateDecision):
            raise UsageError(f"--state: {word!r}: {decision!r} is neither {' nor '.join(StateDecision)}", hint=hint)
        try:
            decisions[container_path(path)] = StateDecision(decision)
        except ValueError as error:
            raise UsageError(f"--state: {word!r}: {error}", hint=hint) from error
    return PlanSettings(state_decisions=decisions, volume_prefix=arguments.volume_prefix)

"""`lithify learn`: what a container writes, and how that is known."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lithify.cli.harden import overrides_of
from lithify.cli.options import (
    DEFAULT_TIMEOUT,
    add_cluster,
    add_exercise,
    add_output,
    add_target,
    exercise_of,
    names_cluster,
    settings_of,
)
from lithify.errors import UsageError

if TYPE_CHECKING:
    from lithify.model.writes import WriteSet


_OF_CLUSTERS = ("container", "node_image")
_OF_TARGETS = ("engine", "runtime", "state", "user", "env", "workdir", "entrypoint", "memory", "join_networks")
_OF_RUNS = ("merge", "attach", "keep", "trace", "check", "check_inside", "http", "tcp", "exercise", "jobs")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_target(parser)
    parser.add_argument("--merge", nargs="+", type=Path, metavar="FILE", help="join write sets instead of learning one")
    parser.add_argument(
        "--attach", action="store_true", help="watch TARGET as it runs already: a container, a pid or a pod's container"
    )
    parser.add_argument("--keep", action="store_true", help="leave the container for a look")
    parser.add_argument("--no-live", action="store_true", help="don't listen to the kernel for names that come and go")
    parser.add_argument("--trace", action="store_true", help="also trace system calls: sizes and failed writes, slower")
    group = parser.add_argument_group("a workload KIND/NAME of a cluster, read in all its running pods")
    group.add_argument("--cluster", action="store_true", help="on the cluster of the current context")
    add_cluster(group, "where KIND/NAME is")
    group.add_argument("--container", default="", metavar="NAME", help="which of its containers")
    add_exercise(parser)
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Learn the target's writes and print them."""
    from lithify.cli.console import Progress, painter, width
    from lithify.cli.output import write_results
    from lithify.cli.pairs import pairs
    from lithify.pipeline.learn import learn_attached, learn_target
    from lithify.pipeline.target import choose
    from lithify.report.page import render_write_set
    from lithify.report.wire import render_json

    pairs(arguments)
    _refuse_options_of_others(arguments)
    if arguments.merge:
        from lithify.errors import NothingToExamine
        from lithify.model.writes import WriteSet
        from lithify.observe.merge import merge_write_sets
        from lithify.report.wire import read_json

        write_set = merge_write_sets(*(read_json(path, WriteSet, missing=NothingToExamine) for path in arguments.merge))
    elif names_cluster(arguments):
        write_set = _learn_workload(arguments)
    else:
        settings, exercise, live = settings_of(arguments), exercise_of(arguments), not arguments.no_live
        if arguments.attach:
            write_set = learn_attached(arguments.target, settings, exercise.seconds, live=live, tell=Progress())
        else:
            engine, target = choose(arguments.target, arguments.rest, settings, overrides_of(arguments))
            write_set = learn_target(
                engine,
                target,
                exercise,
                live=live,
                trace=arguments.trace,
                keep=arguments.keep,
                tell=Progress(),
            )
    write_results(
        arguments,
        {
            "text": lambda color: render_write_set(write_set, paint=painter(color), width=width()),
            "json": lambda _: render_json(write_set),
        },
    )
    return 0


def _refuse_options_of_others(arguments: argparse.Namespace) -> None:
    """Raise UsageError where an option speaks of something else than what is learnt from."""
    if not names_cluster(arguments):
        for name in _OF_CLUSTERS:
            if getattr(arguments, name):
                raise UsageError(
                    f"--{name.replace('_', '-')} speaks of a cluster, there is no --cluster",
                    hint="leave it out, or name a cluster by --cluster, --kubeconfig, --context or --namespace",
                )
        return
    values = {name: getattr(arguments, name) for name in (*_OF_RUNS, *_OF_TARGETS)}
    given = [name for name, value in values.items() if not (value is None or value is False or value == [])]
    if arguments.timeout != DEFAULT_TIMEOUT:
        given.append("timeout")
    if given:
        option = {"state": "state-dir"}.get(given[0], given[0].replace("_", "-"))
        raise UsageError(
            f"--{option} does not go with a workload of a cluster, whose pods are read as they run",
            hint="leave it out, or the options that name the cluster",
        )


def _learn_workload(arguments: argparse.Namespace) -> "WriteSet":
    from lithify.cli.console import Progress
    from lithify.pipeline.groups.live_workload import learn_workload, names_workload
    from lithify.pipeline.groups.options import ClusterOptions
    from lithify.pipeline.groups.replicas import Watch

    if arguments.target is None or arguments.rest or not names_workload(arguments.target):
        raise UsageError("no workload of the cluster is named", hint="lithify learn deployment/web -n shop")
    watch = Watch(
        seconds=exercise_of(arguments).seconds,
        live=not arguments.no_live,
        node_image=settings_of(arguments).node_image,
    )
    options = ClusterOptions(kubeconfig=arguments.kubeconfig, context=arguments.context, namespace=arguments.namespace)
    return learn_workload(arguments.target, options, watch, container=arguments.container, tell=Progress())

"""`lithify audit`: what can still be written, judged from files, or from what an engine, cluster or node has."""

from __future__ import annotations

import argparse
import os

from lithify.cli.pairs import insist_on_place, pairs
from lithify.model.text import THRESHOLDS

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from typing import IO, Any

FORMATS = ("text", "json", "sarif", "junit", "markdown", "html", "cklb", "policyreport")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="files, folders, globs, - for standard input; containers (--engine, --node); KIND/NAME (--cluster)",
    )
    group = parser.add_argument_group("what is judged")
    group.add_argument(
        "--engine", choices=("docker", "podman"), help="judge its containers and services: those named, or all"
    )
    group.add_argument("--cluster", action="store_true", help="judge the pods of a cluster: of objects named, or all")
    group.add_argument("--node", action="store_true", help="judge the containers of this node, without the API server")
    group.add_argument("--kubeconfig", metavar="FILE", help="the file that says which cluster (default: as kubectl)")
    group.add_argument("--context", metavar="NAME", help="the context in it (default: the current one)")
    group.add_argument("-n", "--namespace", action="append", metavar="NAME", help="only this namespace; may repeat")
    group.add_argument("--rule", action="append", metavar="NAME", help="only this rule; may repeat")
    group.add_argument("--skip-rule", action="append", metavar="NAME", help="all rules but this; may repeat")
    group.add_argument("--list-rules", action="store_true", help="print every rule with its severity, and stop")
    group.add_argument("--explain", metavar="RULE", help="print a rule's page, and stop")
    group.add_argument("--stack", action="store_true", help="read Compose files as `docker stack deploy` does")
    group.add_argument("--values", action="append", default=[], metavar="FILE", help="values for charts; may repeat")
    group.add_argument("--all-files", action="store_true", help="examine files that Git ignores as well")
    group.add_argument("--shard", metavar="I/N", help="examine only the I-th of N parts")
    group = parser.add_argument_group("what counts")
    group.add_argument("--fail-on", choices=THRESHOLDS, help="exit with 1 from this severity up (default: high)")
    group.add_argument("--baseline", metavar="FILE", help="exempt the findings that FILE lists")
    group.add_argument("--write-baseline", metavar="FILE", help="write today's findings to FILE, to be exempted")
    group.add_argument("--reason", default="", metavar="TEXT", help="the reason that --write-baseline notes")
    group.add_argument("--owner", default="", metavar="NAME", help="who answers for it, noted beside the reason")
    group.add_argument("--until", default="", metavar="YYYY-MM-DD", help="the last day that it is to hold")
    group = parser.add_argument_group("output")
    group.add_argument(
        "--format", action="append", metavar="NAME", help=f"{', '.join(FORMATS)}; may repeat, each with its --output"
    )
    group.add_argument("--output", action="append", metavar="FILE", help="where the format goes; - is standard output")
    group.add_argument("--merge-into", metavar="FILE", help="answer the rules of this checklist (format cklb)")
    group = parser.add_argument_group("work")
    group.add_argument("--jobs", type=int, metavar="N", help="processes at most (default: one a core)")
    group.add_argument("--no-cache", action="store_true", help="neither read nor write the cache")


def run(arguments: argparse.Namespace) -> int:
    """Audit the paths, write the reports and return 1 where a finding is as severe as --fail-on."""
    import gc

    gc.disable()  # a short process that makes no cycles worth the search
    if arguments.list_rules or arguments.explain:
        from lithify.cli.stdout import write_text

        write_text(_about_rules(arguments.explain) + "\n")
        return 0
    outputs = pairs(arguments)
    insist_on_formats(outputs, arguments.merge_into)
    if arguments.write_baseline:
        insist_on_place(arguments.write_baseline)
    rules = _rules(arguments)
    _refuse_options_of_others(arguments)
    baseline, about_baseline = None, None
    # One that a file or a variable names is written anew, not added to.
    path = (arguments if arguments.write_baseline or not arguments.settings else arguments.settings).baseline
    if path:
        from lithify.pipeline.audit.baseline import read_baseline

        baseline, about_baseline = read_baseline(path)
    report = _audit(arguments, rules, baseline)
    if about_baseline is not None and about_baseline.findings:
        report = report.with_result(about_baseline)
    if arguments.write_baseline:
        _write_baseline(report, arguments)
    write_reports(report, outputs, arguments)
    return exit_code(report, threshold(arguments), part=arguments.shard is not None)


def threshold(arguments: argparse.Namespace) -> str:
    """Return the severity from which findings are an exit code."""
    return (arguments.settings or arguments).fail_on or "high"


def _write_baseline(report: Any, arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from lithify.cli.output import write_file
    from lithify.pipeline.audit.baseline import render_baseline

    written = render_baseline(report, arguments.reason, owner=arguments.owner, until=arguments.until)
    write_file(Path(arguments.write_baseline), written)


def _audit(arguments: argparse.Namespace, rules: list[str] | None, baseline: Any) -> Any:
    if arguments.engine:
        from lithify.pipeline.audit.engine import audit_engine

        return audit_engine(arguments.engine, arguments.paths, rules=rules, baseline=baseline)
    if arguments.cluster:
        from lithify.pipeline.audit.cluster import audit_cluster

        return audit_cluster(
            kubeconfig=arguments.kubeconfig,
            context=arguments.context,
            namespaces=arguments.namespace or (),
            names=arguments.paths,
            rules=rules,
            baseline=baseline,
        )
    if arguments.node:
        from lithify.pipeline.audit.cluster import audit_node

        return audit_node(arguments.paths, rules=rules, baseline=baseline)
    from lithify.pipeline.audit.files import audit

    return audit(
        arguments.paths,
        rules=rules,
        baseline=baseline,
        ignore=not arguments.all_files,
        stack=arguments.stack,
        shard=_shard(arguments.shard),
        workers=(arguments.settings or arguments).jobs or None,
        cache=None if arguments.no_cache else _cache_folder(),
        values=arguments.values,
        edits=bool({"json", "sarif"}.intersection(arguments.format or ())),
        as_json="json" in (arguments.format or ()),
    )


_OF_FILES = ("stack", "values", "all_files", "shard")
_OF_CLUSTERS = ("kubeconfig", "context", "namespace")


def _refuse_options_of_others(arguments: argparse.Namespace) -> None:
    """Raise UsageError where what is judged is said twice or not at all, or an option speaks of something else."""
    from lithify.model.workload import Exemption

    live = [name for name in ("engine", "cluster", "node") if getattr(arguments, name)]
    foreign = [] if "cluster" in live else [name for name in _OF_CLUSTERS if getattr(arguments, name)]
    foreign += [name for name in _OF_FILES if live and getattr(arguments, name)]
    message = ""
    if len(live) > 1:
        message, hint = f"--{live[0]} and --{live[1]} exclude each other", "run it once for each, and join the reports"
    elif foreign:
        option = foreign[0].replace("_", "-")
        subject = "a cluster" if foreign[0] in _OF_CLUSTERS else "files"
        there = f"--{live[0]} of containers" if live else "there is no --cluster"
        message, hint = f"--{option} speaks of {subject}, {there}", "leave one of them out"
    elif arguments.until and not Exemption("", until=arguments.until).dated:
        message, hint = f"--until: {arguments.until!r} is no date", "write it as YYYY-MM-DD"
    elif not live and not arguments.paths:
        message = "nothing to audit was named"
        hint = "name files or folders, - for standard input, or --engine, --cluster or --node"
    if message:
        from lithify.errors import UsageError

        raise UsageError(message, hint=hint)


def write_reports(report: Any, outputs: list[tuple[str, str]], arguments: argparse.Namespace) -> None:
    """Write a report in each format to its place."""
    for name, path in outputs:
        _render(report, name, path, arguments)


def insist_on_formats(outputs: list[tuple[str, str]], merge_into: str | None) -> None:
    """Raise UsageError where there is no format of that name, or none for the checklist that is named."""
    for name, _ in outputs:
        if name not in FORMATS:
            _foreign_report(name)
    if merge_into and "cklb" not in (name for name, _ in outputs):
        from lithify.errors import UsageError

        raise UsageError(
            "--merge-into speaks of a checklist, there is no --format cklb", hint="add it, or leave this out"
        )


def _rules(arguments: argparse.Namespace) -> list[str] | None:
    """Return the names of the rules to ask, None for all; UsageError where a name is no rule's."""
    # What a file or a variable leaves out is asked all the same where a flag names what is to be asked.
    skipped = arguments.skip_rule if arguments.rule else (arguments.settings or arguments).skip_rule
    if not arguments.rule and not skipped:
        return None
    from lithify.errors import UsageError
    from lithify.pipeline.audit.judge import RULES

    for name in [*(arguments.rule or ()), *(skipped or ())]:
        if name not in RULES:
            by_flag = name in (*(arguments.rule or ()), *(arguments.skip_rule or ()))
            told = f"no rule {name!r}" if by_flag else f"the setting skip_rule names {name!r}, which is no rule"
            raise UsageError(told, hint="see lithify audit --list-rules")
    return [name for name in arguments.rule or RULES if name not in (skipped or ())]


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    index, _, count = text.partition("/")
    if index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count):
        return int(index), int(count)
    from lithify.errors import UsageError

    raise UsageError(f"--shard: {text!r} is not I/N with I from 1 to N", hint="write it as 2/8")


def _cache_folder() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "lithify")


def _about_rules(name: str | None) -> str:
    """Return the page of the rule of this name, or a line for each rule; UsageError where a name is no rule's."""
    import shutil

    from lithify.errors import UsageError
    from lithify.pipeline.audit.judge import ALL, RULES
    from lithify.report.base import page_text

    if name is None:
        about = [module.RULE for module in ALL]
        return "\n".join(f"{rule.name:32}{rule.severity.label:10}{rule.title}" for rule in about)
    if name not in RULES:
        raise UsageError(f"no rule {name!r}", hint="see lithify audit --list-rules")
    module = next(module for module in ALL if module.RULE.name == name)
    parts = [f"{name} ({module.RULE.severity.label})", *page_text(module.__doc__).split("\n\n")]
    if module.RULE.ids:
        parts.append("Elsewhere: " + "; ".join(f"{where} {', '.join(ids)}" for where, ids in module.RULE.ids.items()))
    width = min(shutil.get_terminal_size().columns, 120)
    return "\n\n".join(part if part.startswith("  ") else _filled(part, width) for part in parts)


def _filled(text: str, width: int) -> str:
    import textwrap

    return textwrap.fill(" ".join(text.split()), width, break_on_hyphens=False, break_long_words=False)


def _render(report: Any, name: str, path: str, arguments: argparse.Namespace) -> None:
    from importlib import import_module

    module = import_module(f"lithify.report.{name}") if name in FORMATS else _foreign_report(name)
    if path == "-":
        from lithify.cli.stdout import standard_output

        with standard_output() as stream:
            module.render(report, _writer(stream), **_options(name, arguments, terminal=stream.isatty()))
        return
    from pathlib import Path

    from lithify.cli.output import replacing

    with replacing(Path(path)) as stream:
        module.render(report, _writer(stream), **_options(name, arguments, terminal=None))


def _foreign_report(name: str) -> Any:
    """Return a report of an installed distribution; UsageError where nobody has one of that name."""
    from lithify.pipeline.extensions import find_report, report_names

    module = find_report(name)
    if module is None:
        from lithify.errors import UsageError

        known = ", ".join((*FORMATS, *report_names()))
        raise UsageError(f"--format: there is no {name!r}", hint=f"there are {known}")
    return module


def _options(name: str, arguments: argparse.Namespace, *, terminal: bool | None) -> dict[str, Any]:
    """Return what a format is to heed; `terminal` is None for a file, which is never coloured."""
    if name == "text":
        from lithify.cli.color import wants_color

        return {"color": terminal is not None and wants_color(arguments.color or "auto", terminal=terminal)}
    return {"merge_into": arguments.merge_into} if name == "cklb" and arguments.merge_into else {}


def _writer(stream: IO[bytes]) -> Any:
    write = stream.write
    return lambda text: write(text.encode("utf-8", "surrogateescape"))


def exit_code(report: Any, fail_on: str, *, part: bool = False) -> int:
    """Return 1 where a finding that nothing exempts is as severe as `fail_on`.

    NothingToExamine without an input, or where all were skipped, unless it is `part` of a run that goes on elsewhere:
    which of its parts have inputs is nobody's choice, and the join of them says so where none has.
    """
    from lithify.errors import NothingToExamine

    if not report.examined and not part:
        raise NothingToExamine("no manifest, Compose file, unit or task definition there", hint="name other paths")
    summary = report.summary
    judged = summary.containers or summary.findings or summary.exempted
    if summary.left_out == report.examined and not judged and not part:
        raise NothingToExamine("nothing there was judged: all of it was skipped", hint="the report says why")
    if fail_on == "never":
        return 0
    from lithify.model.finding import Severity

    worst = report.worst()
    return 1 if worst is not None and worst >= Severity.named(fail_on) else 0

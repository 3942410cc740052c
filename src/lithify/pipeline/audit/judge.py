"""Joins sources and rules: what came of one input, with exemptions applied, as values and as bytes."""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from lithify.model.finding import (
    ContainerVerdict,
    FileResult,
    Finding,
    Fix,
    LazyResult,
    Rule,
    Severity,
    Skipped,
    State,
    WritablePlace,
    numbers,
)
from lithify.model.location import Location
from lithify.model.text import printable
from lithify.model.workload import Container, Exemption, ObjectName, Oddity, VolumeMount, Workload
from lithify.pipeline.extensions import foreign_rules
from lithify.report.text import render_result
from lithify.rules import CHECKED, NOTICED, RuleModule
from lithify.rules.base import effective
from lithify.sources.base import Reading

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from typing import Any

_FOREIGN: tuple[RuleModule, ...] = tuple(foreign_rules({module.RULE.name for module in (*CHECKED, *NOTICED)}))

ALL: tuple[Any, ...] = (*CHECKED, *_FOREIGN, *NOTICED)
"""The modules of all rules, in the order that reports list them; those of installed distributions among them."""

RULES: dict[str, Rule] = {module.RULE.name: module.RULE for module in ALL}
"""Every rule by name."""

_STATED = frozenset(("writable-host-path", "writable-system-path"))
"""Rules that find what stands there, whatever else an operator adds."""
_UNDECIDED = "a part of a container that its operator makes, who may set the flag: judge what it makes (--cluster)"


class Judge:
    """Puts every rule that was asked for to what a source has read."""

    __slots__ = ("checks", "names", "today")

    def __init__(self, today: str, names: Iterable[str] | None = None) -> None:
        self.today = today
        self.names = frozenset(RULES if names is None else names)
        asked = (module for module in (*CHECKED, *_FOREIGN) if module.RULE.name in self.names)
        self.checks: tuple[RuleModule, ...] = tuple(asked)

    @property
    def foreign(self) -> bool:
        """True where a rule of an installed distribution is asked."""
        return any(check in _FOREIGN for check in self.checks)

    def judge(self, reading: Reading) -> FileResult:
        """Return findings, verdicts and skips of one input, sorted by place."""
        result = FileResult(reading.path)
        result.documents = reading.documents
        result.skipped = reading.skipped
        findings = [self._noticed(oddity, None) for oddity in reading.oddities if oddity.rule in self.names]
        exempting = bool(reading.comments)
        for workload in reading.workloads:
            undecided = {id(one): one for one in workload.containers if one.undecided}
            if undecided:
                result.skipped = [*result.skipped, *(Skipped(one.location, _UNDECIDED) for one in undecided.values())]
            verdicts = {id(one): _verdict(one) for one in workload.containers if id(one) not in undecided}
            result.containers += verdicts.values()
            found = [self._noticed(oddity, workload) for oddity in workload.oddities if oddity.rule in self.names]
            for check in self.checks:
                found += check.check(workload)
            if undecided:
                found = [one for one in found if id(one.container) not in undecided or one.rule in _STATED]
            exempting = exempting or bool(workload.exemptions)
            for finding in found:
                if isinstance(finding.container, Container):
                    exempting = exempting or bool(finding.container.exemptions)
                    if workload.exemptions or finding.container.exemptions:
                        self._exempt(finding, (*finding.container.exemptions, *workload.exemptions))
                    finding.container = verdicts.get(id(finding.container))
                elif workload.exemptions:
                    self._exempt(finding, workload.exemptions)
            findings += found
        if exempting:
            self._exempt_by_comments(findings, reading)
            findings += self._about_exemptions(reading)
        if len(findings) > 1:
            findings.sort(key=lambda finding: _place(finding, reading.path))
        result.findings = findings
        return result

    def _noticed(self, oddity: Oddity, workload: Workload | None) -> Finding:
        name = workload.name if workload is not None else None
        fix = None
        if oddity.remedy is not None:
            fix = Fix(f"write {str(oddity.remedy).lower()}, unquoted", oddity.location.route, oddity.remedy)
        return Finding(oddity.rule, RULES[oddity.rule].severity, oddity.message, oddity.location, name, fix=fix)

    def _exempt(self, finding: Finding, exemptions: Sequence[Exemption]) -> None:
        for exemption in exemptions:
            if exemption.rule in (finding.rule, "*") and exemption.holds(self.today):
                finding.exemption = exemption
                return

    def _exempt_by_comments(self, findings: list[Finding], reading: Reading) -> None:
        comments = [comment for comment in reading.comments if comment.exemption.holds(self.today)]
        first: dict[tuple[str, int, str], int] = {}
        for number, comment in enumerate(comments):
            first.setdefault((comment.path, comment.line, comment.exemption.rule), number)
        rules = {comment.exemption.rule for comment in comments}
        for finding in findings if comments else ():
            if finding.exemption is None and not rules.isdisjoint((finding.rule, "*")):
                lines = reading.lines(finding.location)
                said = product(("", finding.location.path), lines, (finding.rule, "*"))
                numbers = [first[key] for key in said if key in first]
                finding.exemption = comments[min(numbers)].exemption if numbers else None

    def _about_exemptions(self, reading: Reading) -> list[Finding]:
        """Say which exemptions have expired, and which say too little."""
        given: list[tuple[Exemption, Location]] = [
            (comment.exemption, Location(comment.path or reading.path, line=comment.exemption.line, column=1))
            for comment in reading.comments
            if not comment.again
        ]
        for workload in reading.workloads:
            given += [(exemption, workload.location) for exemption in workload.exemptions]
            for container in workload.containers:
                given += [(exemption, container.location) for exemption in container.exemptions]
        found = []
        for exemption, location in given:
            if not exemption.holds(self.today):
                message = f"the exemption from {exemption.rule} {_ended(exemption)}"
                found.append(self._noticed(Oddity("exemption-expired", message, location), None))
            elif exemption.rule != "*" and exemption.rule not in RULES:
                message = f"this exemption names {exemption.rule!r}, which is no rule"
                if not exemption.rule:
                    message = "this exemption names no rule, and is none: write lithify: ignore[RULE] and the reason"
                found.append(self._noticed(Oddity("exemption-without-reason", message, location), None))
            elif not exemption.reason:
                message = f"the exemption from {exemption.rule} gives no reason"
                found.append(self._noticed(Oddity("exemption-without-reason", message, location), None))
        return [finding for finding in found if finding.rule in self.names]


def _ended(exemption: Exemption) -> str:
    return f"ended on {exemption.until}" if exemption.dated else f"ends on {exemption.until!r}, no date (YYYY-MM-DD)"


def depends_on_more(reading: Reading) -> bool:
    """Tell whether the result holds only today, or only beside the files that are there now."""
    if reading.depends:
        return True
    if any(comment.exemption.until for comment in reading.comments):
        return True
    for workload in reading.workloads:
        if any(exemption.until for exemption in workload.exemptions):
            return True
        if any(exemption.until for container in workload.containers for exemption in container.exemptions):
            return True
    return False


def _place(finding: Finding, path: str) -> tuple[bool, str, int, int, int, str]:
    """Return what sorts findings: those in the input itself come before those in files that belong to it."""
    line, column = finding.location.find()
    other = finding.location.path
    return other != path, other, line, column, -finding.severity, finding.rule


def _verdict(container: Container) -> ContainerVerdict:
    state, reason = effective(container)
    return ContainerVerdict(
        object_name=container.workload.name,
        list_name=container.list_name,
        index=container.index,
        name=container.name,
        role=container.role,
        image=container.image,
        declared=container.security.read_only_root,
        effective=state,
        reason=reason,
        location=container.location,
        places=tuple(_writable(mount) for mount in container.mounts if mount.writable),
        id=container.id,
        injected=container.injected,
    )


def _writable(mount: VolumeMount) -> WritablePlace:
    volume = mount.volume
    return mount.path, volume.kind, volume.host_path or volume.name, mount.executable, volume.size


def pack(result: FileResult, *, as_json: bool = False) -> bytes:
    """Return a result as bytes that `unpack` reads: without its path, unless its part of a JSON report is in them."""
    objects: dict[int, int] = {}
    names: list[tuple[str, str, str, str]] = []

    def named(name: ObjectName | None) -> int:
        if name is None:
            return -1
        if id(name) not in objects:
            objects[id(name)] = len(names)
            names.append((name.kind, name.name, name.namespace, name.api_version))
        return objects[id(name)]

    indexes = {id(container): index for index, container in enumerate(result.containers)}
    containers = [
        (
            named(c.object), c.list_name, c.index, c.name, c.role, c.image, c.declared, c.effective.value, c.reason,
            _pack_place(result.path, c.location), c.places, c.id, c.injected,
        )
        for c in result.containers
    ]  # fmt: skip
    findings = [
        (
            f.rule, int(f.severity), f.message, _pack_place(result.path, f.location), named(f.object),
            () if f.container is None else (indexes[id(f.container)], *(indexes[id(one)] for one in f.also)),
            None if f.fix is None else (f.fix.text, f.fix.route, f.fix.value, f.fix.safe),
            None if f.exemption is None else _pack_exemption(f.exemption),
        )
        for f in result.findings
    ]  # fmt: skip
    skipped = [(_pack_place(result.path, s.location), s.reason) for s in result.skipped]
    whole = marshal.dumps((result.documents, names, containers, findings, skipped))
    # Whoever judges also writes the lines: that is done on every core, and kept with the rest.
    if as_json:
        from lithify.report.json import render_items

        return marshal.dumps((None, render_items(result), numbers(result), whole))
    return marshal.dumps((render_result(result, path=_PATH), None, numbers(result), whole))


_PATH = "\0"
"""Stands for the input's own path in packed lines: no path holds it."""


def unpack(path: str, data: bytes, exemptions: Mapping[str, Exemption] | None = None) -> FileResult:
    """Return what `pack` wrote, as the result of the input at `path`; `exemptions` go by fingerprint."""
    text, items, counted, whole = marshal.loads(data)  # noqa: S302 - ours, or of our own cache
    if exemptions:
        result = FileResult(path)
        _load(result, whole)
        for finding in result.findings:
            if finding.exemption is None:
                finding.exemption = exemptions.get(finding.fingerprint)
        return result
    if text is not None:
        text = text.replace(_PATH, printable(path))
    return LazyResult(path, text, items, counted, lambda result: _load(result, whole))


def _load(result: FileResult, whole: bytes) -> None:
    """Fill a result from its packed form."""
    path = result.path
    documents, names, containers, findings, skipped = marshal.loads(whole)  # noqa: S302
    result.documents = documents
    result.containers, result.findings = [], []
    objects = [ObjectName(kind, name, namespace, version) for kind, name, namespace, version in names]
    for packed in containers:
        name, list_name, index, called, role, image, declared, state, reason, place, places, identity, injected = packed
        result.containers.append(
            ContainerVerdict(
                object_name=objects[name],
                list_name=list_name,
                index=index,
                name=called,
                role=role,
                image=image,
                declared=declared,
                effective=_STATES[state],
                reason=reason,
                location=_unpack_place(path, place),
                places=places,
                id=identity,
                injected=injected,
            )
        )
    for rule, severity, message, place, name, held, fix, exemption in findings:
        holding = [result.containers[index] for index in held]
        finding = Finding(
            rule,
            _SEVERITIES[severity],
            message,
            _unpack_place(path, place),
            objects[name] if name >= 0 else None,
            holding[0] if holding else None,
            Fix(fix[0], fix[1], fix[2], safe=fix[3]) if fix else None,
            _unpack_exemption(exemption) if exemption else None,
        )
        finding.also = tuple(holding[1:])
        result.findings.append(finding)
    result.skipped = [Skipped(_unpack_place(path, place), reason) for place, reason in skipped]


_STATES = {state.value: state for state in State}
_SEVERITIES = tuple(Severity)

Place = tuple[str, int, tuple[str | int, ...], int, int]


def _pack_place(path: str, location: Location) -> Place:
    # The path is that of the input, and left out: the cache goes by content. A rendered chart names others.
    line, column = location.find()
    return "" if location.path == path else location.path, location.document, location.route, line, column


def _unpack_place(path: str, place: Place) -> Location:
    other, document, route, line, column = place
    return Location(other or path, document, route, line=line, column=column)


def _pack_exemption(exemption: Exemption) -> tuple[str, str, str, str, str, int]:
    return exemption.rule, exemption.reason, exemption.owner, exemption.until, exemption.origin, exemption.line


def _unpack_exemption(packed: tuple[str, str, str, str, str, int]) -> Exemption:
    rule, reason, owner, until, origin, line = packed
    return Exemption(rule, reason, owner=owner, until=until, origin=origin, line=line)

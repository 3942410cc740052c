"""A report as JSON with a versioned schema: one shape for files, engines and clusters.

Written input by input, so that its size is bounded by the disk and not by memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import IO, Any

from lithify.model.finding import (
    SCHEMA,
    ContainerVerdict,
    Edit,
    FileResult,
    Finding,
    Fix,
    Report,
    Rule,
    Severity,
    Skipped,
    State,
    Summary,
)
from lithify.model.location import Location, Route
from lithify.model.workload import Exemption, ObjectName
from lithify.report.base import Items, Write

_EDIT = ("startLine", "startColumn", "endLine", "endColumn", "text")


def render(report: Report, write: Write) -> None:
    """Write the whole report as one object: what was run, findings, every container that was judged, skips, numbers.

    The results are gone through once; what can't be written yet waits, beyond some megabytes in a file.
    """
    head = {
        "schema": SCHEMA,
        "tool": {"name": "lithify", "version": report.tool_version},
        "date": report.today,
        "rules": [
            {"name": rule.name, "severity": rule.severity.label, "title": rule.title, "ids": dict(rule.ids)}
            for rule, _ in report.rules
        ],
    }
    write(json.dumps(head, indent=1, ensure_ascii=False)[:-2])
    write(',\n "findings": [')
    findings, containers, skipped = Items(write), Items(), Items()
    for result in report.results():
        for kept, items in zip((findings, containers, skipped), result.items or render_items(result), strict=True):
            kept.add(items)
    findings.end(write)
    write(',\n "containers": [')
    containers.end(write)
    write(',\n "skipped": [')
    skipped.end(write)
    write(f',\n "summary": {_encode(summary_value(report.summary))}\n}}\n')


_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
_quote = json.encoder.encode_basestring
_BOOLEANS = {True: "true", False: "false", None: "null"}


def render_items(result: FileResult) -> tuple[str, str, str]:
    """Return what the lists of findings, containers and skips have of one input, as `Items` takes it.

    Put together as text: a general encoder takes four times as long, and there are many.
    """
    named = {id(container): _named(container) for container in result.containers}
    lists = (
        [_finding(finding, named) for finding in result.findings],
        [_container(container, named[id(container)]) for container in result.containers],
        [f'{{{_place(one.location)}, "reason": {_quote(one.reason)}}}' for one in result.skipped],
    )
    findings, containers, skipped = (_safe(Items.separator.join(items)) for items in lists)
    return findings, containers, skipped


def _safe(text: str) -> str:
    """Return JSON text that can be written as UTF-8: undecodable bytes of file names stay escaped surrogates."""
    return text if text.isascii() else "".join(c if not "\ud800" <= c <= "\udfff" else f"\\u{ord(c):04x}" for c in text)


def summary_value(summary: Summary) -> dict[str, Any]:
    """Return the numbers of a run."""
    return {
        "inputs": summary.files,
        "containers": summary.containers,
        "readOnly": summary.read_only,
        "writable": summary.writable,
        "findings": {severity.label: count for severity, count in summary.by_severity.items()},
        "exempted": summary.exempted,
        "skipped": summary.skipped,
    }


def _text(text: str) -> str:
    return _quote(text) if text else "null"


def _route(route: Route) -> str:
    return f"[{', '.join([_quote(key) if type(key) is str else str(key) for key in route])}]"


def _place(location: Location) -> str:
    """Return the members that say where something stands."""
    line, column = location.find()
    return (
        f'"file": {_quote(location.path)}, "line": {line}, "column": {column}, "document": {location.document}, '
        f'"route": {_route(location.route)}'
    )


_NO_OBJECT = '"apiVersion": null, "kind": null, "namespace": null, "name": null'


def _object(named: ObjectName) -> str:
    """Return the members that say what an object is called."""
    return (
        f'"apiVersion": {_text(named.api_version)}, "kind": {_quote(named.kind)}, '
        f'"namespace": {_text(named.namespace)}, "name": {_text(named.name)}'
    )


def _finding(finding: Finding, named: Mapping[int, str]) -> str:
    return (
        f'{{"rule": {_quote(finding.rule)}, "severity": "{finding.severity.label}", '
        f'"message": {_quote(finding.message)}, {_place(finding.location)}, '
        f"{_NO_OBJECT if finding.object is None else _object(finding.object)}, "
        f'"container": {"null" if finding.container is None else named[id(finding.container)]}, '
        f'"also": {[one.location.document for one in finding.also]}, '
        f'"fix": {"null" if finding.fix is None else _fix(finding.fix)}, '
        f'"exemption": {"null" if finding.exemption is None else _exemption(finding.exemption)}, '
        f'"fingerprint": {_quote(finding.fingerprint)}}}'
    )


def _fix(fix: Fix) -> str:
    edits = _encode([dict(zip(_EDIT, edit, strict=True)) for edit in fix.edits]) if fix.edits else "[]"
    value = _quote(fix.value) if type(fix.value) is str else _encode(fix.value)
    return (
        f'{{"text": {_quote(fix.text)}, "route": {_route(fix.route)}, "value": {value}, '
        f'"safe": {_BOOLEANS[fix.safe]}, "edits": {edits}}}'
    )


def _exemption(exemption: Exemption) -> str:
    return (
        f'{{"origin": {_quote(exemption.origin)}, "reason": {_quote(exemption.reason)}, '
        f'"owner": {_text(exemption.owner)}, "until": {_text(exemption.until)}, "line": {exemption.line or "null"}}}'
    )


def _named(container: ContainerVerdict) -> str:
    """Return which container of its object it is, what was declared for it and what holds."""
    return (
        f'{{"id": {_text(container.id)}, "list": {_quote(container.list_name)}, "index": {container.index}, '
        f'"name": {_text(container.name)}, "role": {_text(container.role)}, '
        f'"injected": {_BOOLEANS[container.injected]}, "image": {_text(container.image)}, '
        f'"declared": {_BOOLEANS[container.declared]}, "effective": "{container.effective.value}", '
        f'"reason": {_text(container.reason)}}}'
    )


def _container(container: ContainerVerdict, named: str) -> str:
    """Return one container that was judged, with its verdict."""
    verdict = container.verdict
    places = ", ".join(
        [
            f'{{"path": {_quote(path)}, "kind": {_quote(kind)}, "source": {_text(source)}, '
            f'"executable": {_BOOLEANS[executable]}, "size": {"null" if size is None else size}}}'
            for path, kind, source, executable, size in container.places
        ]
    )
    read_only = None if verdict is State.NOT_APPLICABLE else verdict is State.READ_ONLY
    return (
        f'{{{_place(container.location)}, {_object(container.object)}, "container": {named}, '
        f'"verdict": "{verdict.value}", "writablePlaces": [{places}], "readOnly": {_BOOLEANS[read_only]}}}'
    )


def read_members(file: IO[str]) -> Iterator[tuple[str, Any]]:
    """Yield each member of the one JSON object in a file with its name, of a list each item: it is never held whole.

    ValueError where the file holds anything else.
    """
    text = _Text(file)
    text.take("{")
    while text.peek() != "}":
        name = text.value()
        text.take(":")
        if text.peek() == "[":
            text.take("[")
            while text.peek() != "]":
                yield name, text.value()
                if text.peek() != "]":
                    text.take(",")
            text.take("]")
        else:
            yield name, text.value()
        if text.peek() != "}":
            text.take(",")
    text.take("}")
    if text.peek():
        raise ValueError("more than one JSON object")


class _Text:
    """JSON text, as much of it as has to be there at once."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """Return the next character that is no space; nothing at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, character: str) -> None:
        """Go past the next character; ValueError where it is another."""
        found = self.peek()
        if found != character:
            raise ValueError(f"{character!r} is expected where {found!r} is" if found else "it ends too early")
        self._at += 1

    def value(self) -> Any:
        """Return the next value."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError:
                if self._more():
                    continue
                raise
            if end < len(self._text) or not self._more():  # at the end of what was read a number may go on
                self._at = end
                return value

    def _more(self) -> bool:
        """Read at least as much again as is left, so that a long value is not gone through time and again."""
        left = self._text[self._at :]
        read = self._file.read(max(_PIECE, len(left)))
        if read:
            self._text, self._at = left + read, 0
        return bool(read)


_PIECE = 64 << 10


def parse_rule(value: dict[str, Any]) -> Rule:
    """Return a rule as a report lists it."""
    ids = {where: tuple(names) for where, names in value["ids"].items()}
    return Rule(value["name"], Severity.named(value["severity"]), value["title"], ids)


def parse_result(
    path: str, *, containers: list[dict[str, Any]], findings: list[dict[str, Any]], skipped: list[dict[str, Any]]
) -> FileResult:
    """Return what a report says of one input, by the items of its lists."""
    result = FileResult(path)
    known: dict[tuple[Any, ...], ContainerVerdict] = {}
    for value in containers:
        container = _parse_container(value)
        known[_container_key(value)] = known[_pod_key(value, value["document"])] = container
        result.containers.append(container)
    for value in findings:
        finding = Finding(
            value["rule"],
            Severity.named(value["severity"]),
            value["message"],
            _parse_place(value),
            _parse_object(value) if value["kind"] is not None else None,
            known[_container_key(value)] if value["container"] else None,
        )
        finding.also = tuple(known[_pod_key(value, number)] for number in value.get("also", ()))
        fix, exemption = value["fix"], value["exemption"]
        if fix:
            finding.fix = Fix(fix["text"], tuple(fix["route"]), fix["value"], safe=fix["safe"])
            finding.fix.edits = tuple(_parse_edit(edit) for edit in fix.get("edits", ()))
        if exemption:
            finding.exemption = Exemption(
                value["rule"],
                exemption["reason"],
                owner=exemption["owner"] or "",
                until=exemption["until"] or "",
                origin=exemption["origin"],
                line=exemption["line"] or 0,
            )
        result.findings.append(finding)
    result.skipped = [Skipped(_parse_place(value), value["reason"]) for value in skipped]
    return result


def _container_key(value: dict[str, Any]) -> tuple[Any, ...]:
    container = value["container"]
    named = (value["kind"], value["namespace"], value["name"], value["document"])
    return *named, container["list"], container["index"], container["name"]


def _pod_key(value: dict[str, Any], document: int) -> tuple[Any, ...]:
    return document, value["container"]["list"], value["container"]["name"]


def _parse_edit(value: dict[str, Any]) -> Edit:
    return value["startLine"], value["startColumn"], value["endLine"], value["endColumn"], value["text"]


def _parse_place(value: dict[str, Any]) -> Location:
    return Location(value["file"], value["document"], tuple(value["route"]), line=value["line"], column=value["column"])


def _parse_object(value: dict[str, Any]) -> ObjectName:
    return ObjectName(value["kind"], value["name"] or "", value["namespace"] or "", value["apiVersion"] or "")


def _parse_container(value: dict[str, Any]) -> ContainerVerdict:
    container = value["container"]
    return ContainerVerdict(
        object_name=_parse_object(value),
        list_name=container["list"],
        index=container["index"],
        name=container["name"] or "",
        role=container["role"] or "",
        image=container["image"] or "",
        declared=container["declared"],
        effective=State(container["effective"]),
        reason=container["reason"] or "",
        location=_parse_place(value),
        id=container.get("id") or "",
        injected=container.get("injected", False),
        places=tuple(
            (place["path"], place["kind"], place["source"] or "", place["executable"], place["size"])
            for place in value["writablePlaces"]
        ),
    )

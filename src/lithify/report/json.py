"""A report as JSON with a versioned schema: one shape for files, engines and clusters.

Written input by input, so that its size is bounded by the disk and not by memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

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
from lithify.model.location import Location
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


def render_items(result: FileResult) -> tuple[str, str, str]:
    """Return what the lists of findings, containers and skips have of one input, as `Items` takes it."""
    return (
        Items.separator.join([_safe(_encode(finding_value(finding))) for finding in result.findings]),
        Items.separator.join([_safe(_encode(container_value(container))) for container in result.containers]),
        Items.separator.join([_safe(_encode(skipped_value(one))) for one in result.skipped]),
    )


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


def place_value(location: Location) -> dict[str, Any]:
    """Return where something stands."""
    return {
        "file": location.path,
        "line": location.line,
        "column": location.column,
        "document": location.document,
        "route": list(location.route),
    }


def object_value(item: Finding | ContainerVerdict) -> dict[str, Any]:
    """Return what the object is called; nothing but null where there is none."""
    named = item.object
    if named is None:
        return {"apiVersion": None, "kind": None, "namespace": None, "name": None}
    return {
        "apiVersion": named.api_version or None,
        "kind": named.kind,
        "namespace": named.namespace or None,
        "name": named.name or None,
    }


def finding_value(finding: Finding) -> dict[str, Any]:
    """Return one finding."""
    container, fix, exemption = finding.container, finding.fix, finding.exemption
    value = {
        "rule": finding.rule,
        "severity": finding.severity.label,
        "message": finding.message,
        **place_value(finding.location),
        **object_value(finding),
        "container": None,
        "also": [one.location.document for one in finding.also],
        "fix": None,
        "exemption": None,
        "fingerprint": finding.fingerprint,
    }
    if isinstance(container, ContainerVerdict):
        value["container"] = named_container(container)
    if fix is not None:
        value["fix"] = {
            "text": fix.text,
            "route": list(fix.route),
            "value": fix.value,
            "safe": fix.safe,
            "edits": [dict(zip(_EDIT, edit, strict=True)) for edit in fix.edits],
        }
    if exemption is not None:
        value["exemption"] = {
            "origin": exemption.origin,
            "reason": exemption.reason,
            "owner": exemption.owner or None,
            "until": exemption.until or None,
            "line": exemption.line or None,
        }
    return value


def named_container(container: ContainerVerdict) -> dict[str, Any]:
    """Return which container of its object it is, what was declared for it and what holds."""
    return {
        "id": container.id or None,
        "list": container.list_name,
        "index": container.index,
        "name": container.name or None,
        "role": container.role or None,
        "injected": container.injected,
        "image": container.image or None,
        "declared": container.declared,
        "effective": container.effective.value,
        "reason": container.reason or None,
    }


def container_value(container: ContainerVerdict) -> dict[str, Any]:
    """Return one container that was judged, with its verdict."""
    verdict = container.verdict
    return {
        **place_value(container.location),
        **object_value(container),
        "container": named_container(container),
        "verdict": verdict.value,
        "writablePlaces": [
            {"path": path, "kind": kind, "source": source or None, "executable": executable, "size": size}
            for path, kind, source, executable, size in container.places
        ],
        "readOnly": None if verdict is State.NOT_APPLICABLE else verdict is State.READ_ONLY,
    }


def skipped_value(skipped: Skipped) -> dict[str, Any]:
    """Return one thing that was not judged."""
    return {**place_value(skipped.location), "reason": skipped.reason}


def parse_reports(texts: Iterable[str | bytes]) -> Report:
    """Return what `render` wrote, several times, as one report: the shards of a corpus, or several hosts.

    ValueError where a text is none of ours. Rules are those of all of them; inputs come in the order of the texts.
    """
    results: list[FileResult] = []
    rules: dict[str, tuple[Rule, Any]] = {}
    examined, version, today = 0, "", ""
    for text in texts:
        try:
            document = json.loads(text)
            if document["schema"] != SCHEMA:
                raise ValueError(f"schema {document['schema']!r} is not {SCHEMA!r}")
            results += _parse_results(document)
            examined += document["summary"]["inputs"]
            version, today = max(version, document["tool"]["version"]), max(today, document["date"])
            for rule in document["rules"]:
                ids = {where: tuple(names) for where, names in rule["ids"].items()}
                rules[rule["name"]] = Rule(rule["name"], Severity.named(rule["severity"]), rule["title"], ids), None
        except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise ValueError(f"no audit report: {type(error).__name__}: {error}") from error
    return Report(lambda: iter(results), examined=examined, rules=rules.values(), tool_version=version, today=today)


def _parse_results(document: dict[str, Any]) -> list[FileResult]:
    by_path: dict[str, FileResult] = {}

    def of(place: dict[str, Any]) -> FileResult:
        return by_path.setdefault(place["file"], FileResult(place["file"]))

    known: dict[tuple[Any, ...], ContainerVerdict] = {}
    for value in document["containers"]:
        container = _parse_container(value)
        known[_container_key(value)] = known[_pod_key(value, value["document"])] = container
        of(value).containers.append(container)
    for value in document["findings"]:
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
        of(value).findings.append(finding)
    for value in document["skipped"]:
        of(value).skipped.append(Skipped(_parse_place(value), value["reason"]))
    missing = document["summary"]["inputs"] - len(by_path)
    return [*by_path.values(), *(FileResult("") for _ in range(missing))]


def _container_key(value: dict[str, Any]) -> tuple[Any, ...]:
    container = value["container"]
    named = (value["kind"], value["namespace"], value["name"], value["document"])
    return value["file"], *named, container["list"], container["index"], container["name"]


def _pod_key(value: dict[str, Any], document: int) -> tuple[Any, ...]:
    return value["file"], document, value["container"]["list"], value["container"]["name"]


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

"""A report as JSON with a versioned schema: one shape for files, engines and clusters.

Written input by input, so that its size is bounded by the disk and not by memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from lithify.model.finding import SCHEMA, ContainerVerdict, Finding, Report, Skipped, State, Summary
from lithify.model.location import Location
from lithify.report.base import Write

Item = TypeVar("Item")


def render(report: Report, write: Write) -> None:
    """Write the whole report as one object: what was run, findings, every container that was judged, skips, numbers."""
    summary = Summary()
    for result in report.results():
        summary.add(result)
    head = {
        "schema": SCHEMA,
        "tool": {"name": "lithify", "version": report.tool_version},
        "date": report.today,
        "summary": summary_value(summary),
        "rules": [
            {"name": rule.name, "severity": rule.severity.label, "title": rule.title, "ids": dict(rule.ids)}
            for rule, _ in report.rules
        ],
    }
    write(json.dumps(head, indent=1, ensure_ascii=False)[:-2])
    _write_list(write, "findings", report.findings(), finding_value)
    _write_list(write, "containers", report.containers(), container_value)
    _write_list(write, "skipped", report.skipped(), skipped_value)
    write("\n}\n")


def _write_list(write: Write, name: str, items: Iterable[Item], value: Callable[[Item], dict[str, Any]]) -> None:
    encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
    write(f',\n "{name}": [')
    separator = "\n  "
    for lines in _batches(items, lambda item: _safe(encode(value(item)))):
        write(separator + ",\n  ".join(lines))
        separator = ",\n  "
    write("\n ]" if separator[0] == "," else "]")


def _batches(items: Iterable[Item], render: Callable[[Item], str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for item in items:
        batch.append(render(item))
        if len(batch) == 256:
            yield batch
            batch = []
    if batch:
        yield batch


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
        "fix": None,
        "exemption": None,
        "fingerprint": finding.fingerprint,
    }
    if isinstance(container, ContainerVerdict):
        value["container"] = named_container(container)
    if fix is not None:
        value["fix"] = {"text": fix.text, "route": list(fix.route), "value": fix.value, "safe": fix.safe}
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
        "list": container.list_name,
        "index": container.index,
        "name": container.name or None,
        "role": container.role or None,
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
        "readOnly": None if verdict is State.NOT_APPLICABLE else verdict is State.READ_ONLY,
    }


def skipped_value(skipped: Skipped) -> dict[str, Any]:
    """Return one thing that was not judged."""
    return {**place_value(skipped.location), "reason": skipped.reason}

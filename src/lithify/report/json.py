"""A report as JSON with a versioned schema: one shape for files, engines and clusters.

Written input by input, so that its size is bounded by the disk and not by memory.
"""

from __future__ import annotations

import json
from typing import IO, Any

from lithify.model.finding import SCHEMA, ContainerVerdict, Finding, Report, Skipped, State, Summary
from lithify.model.location import Location
from lithify.report.base import Write

_KEEP = 4 << 20


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
    encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
    findings, containers, skipped = _List(write, "findings"), _List(None, "containers"), _List(None, "skipped")
    for result in report.results():
        findings.add([encode(finding_value(finding)) for finding in result.findings])
        containers.add([encode(container_value(container)) for container in result.containers])
        skipped.add([encode(skipped_value(one)) for one in result.skipped])
    findings.end(write)
    containers.end(write)
    skipped.end(write)
    write(f',\n "summary": {encode(summary_value(report.summary))}\n}}\n')


class _List:
    """One list of the report: written as it comes, or kept until those before it have ended."""

    def __init__(self, write: Write | None, name: str) -> None:
        self._kept: IO[str] | None = None
        self._lines: list[str] = []
        self._size = 0
        self._write = write or self._keep
        self._separator = "\n  "
        self._write(f',\n "{name}": [')

    def add(self, items: list[str]) -> None:
        if items:
            self._write(self._separator + _safe(",\n  ".join(items)))
            self._separator = ",\n  "

    def end(self, write: Write) -> None:
        if self._kept is not None:
            self._kept.seek(0)
            while text := self._kept.read(_KEEP):
                write(text)
            self._kept.close()
        for line in self._lines:
            write(line)
        write("\n ]" if self._separator[0] == "," else "]")

    def _keep(self, text: str) -> None:
        self._lines.append(text)
        self._size += len(text)
        if self._size > _KEEP:
            import tempfile

            self._kept = self._kept or tempfile.TemporaryFile("w+", encoding="utf-8", prefix="lithify-")  # noqa: SIM115
            self._kept.writelines(self._lines)
            self._lines.clear()
            self._size = 0


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
        "writablePlaces": [
            {"path": path, "kind": kind, "source": source or None, "executable": executable, "size": size}
            for path, kind, source, executable, size in container.places
        ],
        "readOnly": None if verdict is State.NOT_APPLICABLE else verdict is State.READ_ONLY,
    }


def skipped_value(skipped: Skipped) -> dict[str, Any]:
    """Return one thing that was not judged."""
    return {**place_value(skipped.location), "reason": skipped.reason}

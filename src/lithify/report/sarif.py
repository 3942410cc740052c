"""A report as SARIF 2.1.0: what code hosts and editors read.

A finding is a result at the line and column of the very container; what is exempted is a suppressed result, what was
skipped a notification of the run.
"""

import hashlib
import json
import os
from typing import Any
from urllib.parse import quote

from lithify.model.finding import ContainerVerdict, Finding, Fix, Report, Rule, Severity, Skipped
from lithify.model.location import Location
from lithify.report.base import Items, Write, page_text

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
_SCORES = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.5",
    Severity.LOW: "3.0",
    Severity.INFO: "0.5",
}
"""What code hosts sort by: a number as CVSS has it."""


def render(report: Report, write: Write) -> None:
    """Write one run with its rules, a result for each finding, and a notification for each skip."""
    rules = [rule.name for rule, _ in report.rules]
    indexes = {name: index for index, name in enumerate(rules)}
    driver = {
        "name": "lithify",
        "version": report.tool_version,
        "semanticVersion": report.tool_version,
        "rules": [_rule(rule, getattr(module, "__doc__", None) or rule.title) for rule, module in report.rules],
    }
    head = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints"}
    write(f'{{\n"$schema": "{_SCHEMA}",\n"version": "2.1.0",\n"runs": [{json.dumps(head)[:-1]},\n"results": [')
    separator = "\n"
    notifications = Items()
    for result in report.results():
        for finding in result.findings:
            write(separator + json.dumps(_result(finding, indexes)))
            separator = ",\n"
        notifications.add(Items.separator.join([json.dumps(_notification(skipped)) for skipped in result.skipped]))
    write('\n],\n"invocations": [{"executionSuccessful": true, "toolExecutionNotifications": [')
    notifications.end(write)
    write("}]}]\n}\n")


def _rule(rule: Rule, page: str) -> dict[str, Any]:
    return {
        "id": rule.name,
        "name": "".join(part.capitalize() for part in rule.name.split("-")),
        "shortDescription": {"text": f"{rule.title}."},
        "fullDescription": {"text": page.strip().partition("\n")[0]},
        "help": {"text": page_text(page), "markdown": _markdown(page)},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {
            "security-severity": _SCORES[rule.severity],
            "tags": ["security", *(f"{where} {one}" for where, ids in rule.ids.items() for one in ids)],
        },
    }


def _markdown(page: str) -> str:
    """Return a page with its examples fenced."""
    lines, fenced = [], False
    for line in page.strip().splitlines():
        indented = line.startswith("    ")
        if indented and not fenced:
            lines.append("```yaml")
        elif fenced and not indented and line:
            lines.append("```\n")
        fenced = indented or (fenced and not line)
        lines.append(line[4:] if indented else line.replace("::", ":") if line.endswith("::") else line)
    return "\n".join([*lines, "```"] if fenced else lines)


def _result(finding: Finding, indexes: dict[str, int]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [_location(finding.location, finding)],
        "partialFingerprints": {"lithify/v1": _hash(finding.fingerprint)},
        "properties": {"severity": finding.severity.label, "security-severity": _SCORES[finding.severity]},
    }
    if finding.rule in indexes:
        result["ruleIndex"] = indexes[finding.rule]
    container = finding.container
    if isinstance(container, ContainerVerdict):
        result["properties"] |= {
            "container": container.name,
            "image": container.image,
            "declaredReadOnly": container.declared,
            "effective": container.effective.value,
        }
    if finding.fix is not None:
        result["properties"]["remediation"] = finding.fix.text
        if finding.fix.edits:
            result["fixes"] = [_fix(finding.fix, finding.location)]
    exemption = finding.exemption
    if exemption is not None:
        told = [
            exemption.reason,
            exemption.owner and f"owner {exemption.owner}",
            exemption.until and f"until {exemption.until}",
        ]
        kind = "external" if exemption.origin == "baseline" else "inSource"
        justification = ", ".join(filter(None, told))
        result["suppressions"] = [{"kind": kind, "status": "accepted", "justification": justification}]
    return result


def _fix(fix: Fix, location: Location) -> dict[str, Any]:
    replacements = [
        {
            "deletedRegion": dict(zip(("startLine", "startColumn", "endLine", "endColumn"), edit, strict=False)),
            "insertedContent": {"text": edit[4]},
        }
        for edit in fix.edits
    ]
    change = {"artifactLocation": {"uri": uri(location.path)}, "replacements": replacements}
    return {"description": {"text": fix.text}, "artifactChanges": [change]}


def _location(location: Location, finding: Finding | None = None) -> dict[str, Any]:
    line, column = location.find()
    physical: dict[str, Any] = {"artifactLocation": {"uri": uri(location.path)}}
    if line:
        physical["region"] = {"startLine": line, "startColumn": column}
    place: dict[str, Any] = {"physicalLocation": physical}
    if finding is not None and finding.object is not None:
        named = finding.object
        parts = [named.namespace, named.kind, named.name]
        if finding.container is not None:
            parts += [finding.container.list_name, finding.container.name or str(finding.container.index)]
        place["logicalLocations"] = [{"fullyQualifiedName": "/".join(filter(None, parts)), "kind": "resource"}]
    return place


def uri(path: str) -> str:
    """Return a path as a URI reference: relative paths stay relative, bytes that are no text are escaped."""
    path = path.removeprefix("./")
    quoted = quote(os.fsencode("stdin" if path == "-" else path))
    return f"file://{quoted}" if path.startswith("/") else quoted


def _notification(skipped: Skipped) -> dict[str, Any]:
    return {
        "level": "note",
        "message": {"text": f"skipped: {skipped.reason}"},
        "locations": [_location(skipped.location)],
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]

"""A report as PolicyReports (wgpolicyk8s.io/v1alpha2): one for each namespace, for what shows such in a cluster."""

import calendar
import json
import time
from typing import Any

from lithify.model.finding import ContainerVerdict, Finding, Report, Severity
from lithify.report.base import Write

_API = "wgpolicyk8s.io/v1alpha2"
_MAX_RESULTS = 5_000
"""An object must stay below etcd's 1.5 MB; what is beyond goes into another report."""


def render(report: Report, write: Write) -> None:
    """Write a List of reports; a clean container passes, an exempted finding is skipped, the rest fails or warns."""
    stamp = {"seconds": calendar.timegm(time.strptime(report.today, "%Y-%m-%d")), "nanos": 0}
    by_namespace: dict[str, list[dict[str, Any]]] = {}
    for result in report.results():
        found = {id(one) for finding in result.findings for one in (finding.container, *finding.also)}
        for finding in result.findings:
            namespace = finding.object.namespace if finding.object is not None else ""
            by_namespace.setdefault(namespace, []).append(_failed(finding, stamp))
        for container in result.containers:
            if id(container) not in found:
                by_namespace.setdefault(container.object.namespace, []).append(_passed(container, stamp))
    write('{"apiVersion": "v1", "kind": "List", "items": [')
    separator = "\n"
    for namespace in sorted(by_namespace):
        results = by_namespace[namespace]
        for start in range(0, len(results), _MAX_RESULTS):
            part = results[start : start + _MAX_RESULTS]
            write(separator + json.dumps(_report(namespace, part, start // _MAX_RESULTS)))
            separator = ",\n"
    write("\n]}\n")


def _report(namespace: str, results: list[dict[str, Any]], number: int) -> dict[str, Any]:
    name = f"lithify-audit-{number}" if number else "lithify-audit"
    metadata = {"name": name, "labels": {"app.kubernetes.io/managed-by": "lithify"}}
    summary = dict.fromkeys(("pass", "fail", "warn", "error", "skip"), 0)
    for result in results:
        summary[result["result"]] += 1
    return {
        "apiVersion": _API,
        "kind": "PolicyReport" if namespace else "ClusterPolicyReport",
        "metadata": {**metadata, "namespace": namespace} if namespace else metadata,
        "results": results,
        "summary": summary,
    }


def _failed(finding: Finding, stamp: dict[str, int]) -> dict[str, Any]:
    outcome = "fail" if finding.severity >= Severity.MEDIUM else "warn"
    if finding.exemption is not None:
        outcome = "skip"
    elif finding.rule == "unreadable-input":
        outcome = "error"
    properties = {"place": str(finding.location)}
    if isinstance(finding.container, ContainerVerdict):
        properties["container"] = finding.container.name
        properties["effective"] = finding.container.effective.value
    if finding.exemption is not None:
        properties["exemption"] = finding.exemption.reason
    return {
        "policy": "lithify-audit",
        "rule": finding.rule,
        "result": outcome,
        "severity": finding.severity.label,
        "message": finding.message,
        "category": "Immutable root filesystem",
        "source": "lithify",
        "timestamp": stamp,
        "properties": properties,
        **_resources(finding),
    }


def _passed(container: ContainerVerdict, stamp: dict[str, int]) -> dict[str, Any]:
    return {
        "policy": "lithify-audit",
        "result": "pass",
        "message": f"nothing was found on container {container.name!r}",
        "category": "Immutable root filesystem",
        "source": "lithify",
        "timestamp": stamp,
        "properties": {"place": str(container.location), "effective": container.effective.value},
        **_resources(container),
    }


def _resources(item: Finding | ContainerVerdict) -> dict[str, Any]:
    named = item.object
    if named is None or not named.api_version:
        return {}
    resource = {"apiVersion": named.api_version, "kind": named.kind, "name": named.name}
    return {"resources": [{**resource, "namespace": named.namespace} if named.namespace else resource]}

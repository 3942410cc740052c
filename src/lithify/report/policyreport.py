"""A report as PolicyReports (wgpolicyk8s.io/v1alpha2): one for each namespace, for what shows such in a cluster."""

import calendar
import json
import time
from typing import Any

from lithify.model.finding import ContainerVerdict, Finding, Report, Severity, State
from lithify.report.base import Write

_API = "wgpolicyk8s.io/v1alpha2"
_MOST = 1 << 20
"""Characters of one report: an object must stay below etcd's 1.5 MB. What is beyond goes into another one."""
_KEPT = 8 << 20
"""Characters that wait for more of their namespace."""


def render(report: Report, write: Write) -> None:
    """Write a List of reports; a clean container passes, what nobody judged is skipped, the rest fails or warns."""
    reports = _Reports(write)
    stamp = {"seconds": calendar.timegm(time.strptime(report.today, "%Y-%m-%d")), "nanos": 0}
    write('{"apiVersion": "v1", "kind": "List", "items": [')
    for result in report.results():
        found = {id(one) for finding in result.findings for one in (finding.container, *finding.also)}
        for finding in result.findings:
            reports.add(finding.object.namespace if finding.object is not None else "", _failed(finding, stamp))
        for container in result.containers:
            if id(container) not in found:
                reports.add(container.object.namespace, _passed(container, stamp))
    reports.end()
    write("\n]}\n")


class _Namespace:
    """The results of a namespace that are not written yet."""

    def __init__(self) -> None:
        self.results: list[str] = []
        self.size = 0
        self.written = 0
        self.summary = dict.fromkeys(("pass", "fail", "warn", "error", "skip"), 0)


class _Reports:
    """Writes a report where a namespace has enough for one."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._separator = "\n"
        self._kept = 0
        self._namespaces: dict[str, _Namespace] = {}

    def add(self, namespace: str, result: dict[str, Any]) -> None:
        """Take one more result."""
        text = json.dumps(result)
        held = self._namespaces.setdefault(namespace, _Namespace())
        if held.size + len(text) > _MOST:
            self._flush(namespace)
        held.results.append(text)
        held.summary[result["result"]] += 1
        held.size += len(text)
        self._kept += len(text)
        if self._kept > _KEPT:
            self._flush(max(self._namespaces, key=lambda name: self._namespaces[name].size))

    def end(self) -> None:
        """Write what is left."""
        for namespace in sorted(self._namespaces):
            if self._namespaces[namespace].results:
                self._flush(namespace)

    def _flush(self, namespace: str) -> None:
        held = self._namespaces[namespace]
        name = f"lithify-audit-{held.written}" if held.written else "lithify-audit"
        metadata = {"name": name, "labels": {"app.kubernetes.io/managed-by": "lithify"}}
        report = {
            "apiVersion": _API,
            "kind": "PolicyReport" if namespace else "ClusterPolicyReport",
            "metadata": {**metadata, "namespace": namespace} if namespace else metadata,
        }
        results = ", ".join(held.results)
        tail = f'"results": [{results}], "summary": {json.dumps(held.summary)}}}'
        self._write(f"{self._separator}{json.dumps(report)[:-1]}, {tail}")
        self._separator = ",\n"
        self._kept -= held.size
        held.results.clear()
        held.size = 0
        held.written += 1
        held.summary = dict.fromkeys(held.summary, 0)


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
    applies = container.effective is not State.NOT_APPLICABLE
    found = "nothing was found on" if applies else f"not applicable ({container.reason}):"
    return {
        "policy": "lithify-audit",
        "result": "pass" if applies else "skip",
        "message": f"{found} container {container.name!r}",
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

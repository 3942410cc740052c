"""A report as PolicyReports (wgpolicyk8s.io/v1alpha2): one for each namespace, for what shows such in a cluster."""

import calendar
import json
import time
from array import array
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from lithify.model.finding import ContainerVerdict, Finding, Report, Severity, State
from lithify.model.workload import ObjectName
from lithify.report.base import OF_ENGINES, OF_OTHERS, Write

_API = "wgpolicyk8s.io/v1alpha2"
_MOST = 1 << 20
"""Characters of one report: an object must stay below etcd's 1.5 MB. What is beyond goes into another one."""
_KEPT = 8 << 20
"""Bytes of results that are kept in memory; more are in a file."""


def render(report: Report, write: Write) -> None:
    """Write a List of reports; a clean container passes, what nobody judged is skipped, the rest fails or warns."""
    stamp = {"seconds": calendar.timegm(time.strptime(report.today, "%Y-%m-%d")), "nanos": 0}
    with SpooledTemporaryFile(_KEPT, prefix="lithify-") as file:
        kept = _Results(file)
        for result in report.results():
            found = {id(one) for finding in result.findings for one in (finding.container, *finding.also)}
            for finding in result.findings:
                kept.add(_namespace(finding.object), _failed(finding, stamp))
            for container in result.containers:
                if id(container) not in found:
                    kept.add(_namespace(container.object), _passed(container, stamp))
        separator = "\n"
        write('{"apiVersion": "v1", "kind": "List", "items": [')
        for text in kept.reports():
            write(f"{separator}{text}")
            separator = ",\n"
    write("\n]}\n")


class _Results:
    """Results until all of their namespace are there, wherever these come from; in memory is only where each stands."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end = 0
        self._places: dict[str, array[int]] = {}

    def add(self, namespace: str, result: dict[str, Any]) -> None:
        """Take one more result."""
        self._places.setdefault(namespace, array("Q")).append(self._end)
        self._end += self._file.write(f"{result['result']} {json.dumps(result)}\n".encode())

    def reports(self) -> Iterator[str]:
        """Yield the reports, as many of a namespace as are needed for each to be small enough."""
        for namespace in sorted(self._places):
            results: list[str] = []
            outcomes: list[str] = []
            written = size = 0
            for place in self._places[namespace]:
                self._file.seek(place)
                outcome, text = self._file.readline().decode()[:-1].split(" ", 1)
                if results and size + len(text) > _MOST:
                    yield _report(namespace, written, results, outcomes)
                    results, outcomes, written, size = [], [], written + 1, 0
                results.append(text)
                outcomes.append(outcome)
                size += len(text)
            yield _report(namespace, written, results, outcomes)


def _report(namespace: str, before: int, results: list[str], outcomes: list[str]) -> str:
    """Return a report on a namespace of which so many were written before."""
    name = f"lithify-audit-{before}" if before else "lithify-audit"
    metadata = {"name": name, "labels": {"app.kubernetes.io/managed-by": "lithify"}}
    report = {
        "apiVersion": _API,
        "kind": "PolicyReport" if namespace else "ClusterPolicyReport",
        "metadata": {**metadata, "namespace": namespace} if namespace else metadata,
    }
    summary = {word: outcomes.count(word) for word in ("pass", "fail", "warn", "error", "skip")}
    return f'{json.dumps(report)[:-1]}, "results": [{", ".join(results)}], "summary": {json.dumps(summary)}}}'


def _namespace(named: ObjectName | None) -> str:
    return "" if named is None or named.kind in (*OF_ENGINES, *OF_OTHERS) else named.namespace


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

"""Audits what runs in a cluster, or on this node: pods by the API, containers by what the node itself shows."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import lithify
from lithify.model.finding import ContainerVerdict, FileResult, Finding, Report, Skipped
from lithify.model.workload import Exemption
from lithify.pipeline.audit.judge import ALL, Judge, pack, unpack
from lithify.pipeline.audit.spool import Spool
from lithify.sources.base import Reading


def audit_cluster(
    *,
    kubeconfig: str | None = None,
    context: str | None = None,
    namespaces: Sequence[str] = (),
    names: Sequence[str] = (),
    rules: Iterable[str] | None = None,
    today: str = "",
    baseline: Mapping[str, Exemption] | None = None,
) -> Report:
    """Return what came of the pods of a cluster: of all namespaces or those given, of all objects or those named.

    An input is the object that a person edits, called `cluster:NAMESPACE/KIND/NAME`, with all its pods; a finding says
    in how many of them it holds. Memory is bounded by the largest namespace. EngineUnreachable where the server does
    not answer, NothingToExamine where a name has no pod.
    """
    from lithify.engines.kubernetes.client import Cluster
    from lithify.sources.cluster import read_cluster

    judge = Judge(today or time.strftime("%Y-%m-%d"), rules)
    kept = _Kept()
    with Cluster.connect(kubeconfig=kubeconfig, context=context) as cluster:
        groups: dict[str, _Group] = {}
        current = ""
        for namespace, reading in read_cluster(cluster, namespaces, names):
            if namespace != current:
                kept.add(groups)
                current = namespace
            group = groups.setdefault(reading.path, _Group(reading.path))
            group.add(reading, judge)
        kept.add(groups)
    return _report(kept, judge, baseline)


def audit_node(
    names: Sequence[str] = (),
    *,
    rules: Iterable[str] | None = None,
    today: str = "",
    baseline: Mapping[str, Exemption] | None = None,
) -> Report:
    """Return what came of the containers of this node, or of those named, without the API server.

    NotPermitted unless root; NothingToExamine where a name is nobody's, or nothing runs here.
    """
    from lithify.sources.node import read_here

    judge = Judge(today or time.strftime("%Y-%m-%d"), rules)
    kept = _Kept()
    for reading in read_here(names):
        kept.add_result(_judged(reading, judge))
    return _report(kept, judge, baseline)


def _judged(reading: Reading, judge: Judge) -> FileResult:
    result = judge.judge(reading)
    for workload in reading.workloads:
        workload.containers = ()  # ends the only cycle, so that counting references frees all of it
    for location in (*(one.location for one in result.containers), *(one.location for one in result.findings)):
        location.settle()  # or the whole pod is kept as long as they are
    return result


def _report(kept: "_Kept", judge: Judge, baseline: Mapping[str, Exemption] | None) -> Report:
    return Report(
        lambda: kept.results(baseline),
        examined=kept.examined,
        rules=[(module.RULE, module) for module in ALL if module.RULE.name in judge.names],
        tool_version=lithify.__version__,
        today=judge.today,
    )


class _Kept:
    """Results as bytes in a file without a name."""

    def __init__(self) -> None:
        self._spool = Spool()
        self._paths: list[str] = []
        self.examined = 0

    def add(self, groups: "dict[str, _Group]") -> None:
        """Take the results of all groups, and empty them."""
        for group in groups.values():
            self.add_result(group.result())
        groups.clear()

    def add_result(self, result: FileResult) -> None:
        self._spool.keep(pack(result))
        self._spool.end(len(self._paths), b"")
        self._paths.append(result.path)
        self.examined += result.documents > 0

    def results(self, baseline: Mapping[str, Exemption] | None) -> Iterator[FileResult]:
        for which, path in enumerate(self._paths):
            parts, begin, size = self._spool.stretch(which)
            yield from (unpack(path, part, baseline) for part in parts.parts(begin, size))


class _Group:
    """The pods of one object: every container with its verdict, each finding once."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._findings: dict[tuple[Any, ...], _Told] = {}
        self._containers: list[ContainerVerdict] = []
        self._skipped: dict[str, Skipped] = {}
        self._pods: list[str] = []
        self._documents = 0

    def add(self, reading: Reading, judge: Judge) -> None:
        """Judge one pod."""
        pod = reading.pod
        self._pods.append(pod)
        result = _judged(reading, judge)
        self._documents += result.documents
        self._containers += result.containers
        self._skipped.update((one.reason, one) for one in result.skipped)
        for finding in result.findings:
            container = finding.container
            place = (container.list_name, container.name) if container is not None else ()
            key = (finding.rule, finding.severity, finding.message, place, finding.exemption is None)
            self._findings.setdefault(key, _Told(finding)).add(pod, container)

    def result(self) -> FileResult:
        """Return what came of all of them."""
        result = FileResult(self._path)
        result.documents = self._documents
        result.containers = self._containers
        result.skipped = list(self._skipped.values())
        result.findings = [told.finding_in(len(self._pods)) for told in self._findings.values()]
        return result


class _Told:
    """A finding, and the pods that it holds for."""

    def __init__(self, finding: Finding) -> None:
        self._finding = finding
        self._pods: dict[str, None] = {}
        self._also: list[ContainerVerdict] = []

    def add(self, pod: str, container: Any) -> None:
        """Note one more pod, and its container where the finding is on one."""
        self._pods[pod] = None
        if isinstance(container, ContainerVerdict) and container is not self._finding.container:
            self._also.append(container)

    def finding_in(self, pods: int) -> Finding:
        """Return the finding, which says in how many of its object's `pods` it holds."""
        finding, holding = self._finding, list(self._pods)
        finding.also = tuple(self._also)
        if 1 < pods == len(holding):
            finding.message += f" (all {pods} pods)"
        elif pods > 1:
            more = ", ..." if len(holding) > 3 else ""
            finding.message += f" ({len(holding)} of {pods} pods: {', '.join(holding[:3])}{more})"
        return finding

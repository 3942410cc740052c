"""Audits what an engine has: its containers, running and stopped, and the services of its swarm."""

import time
from collections.abc import Iterable, Mapping, Sequence

import lithify
from lithify.model.finding import Report
from lithify.model.workload import Exemption
from lithify.pipeline.audit.judge import ALL, Judge
from lithify.sources.engine import read_engine


def audit_engine(
    engine: str,
    names: Sequence[str] = (),
    *,
    rules: Iterable[str] | None = None,
    today: str = "",
    baseline: Mapping[str, Exemption] | None = None,
) -> Report:
    """Return what came of the containers and services of `engine` (`docker`, `podman`), or of those named.

    Each is an input of its own, called `docker:NAME` or `docker:service/NAME`. `rules`, `today` and `baseline` are as
    for `audit`. NothingToExamine where a name is nobody's; EngineUnreachable where the engine does not answer.
    """
    judge = Judge(today or time.strftime("%Y-%m-%d"), rules)
    results = [judge.judge(reading) for reading in read_engine(engine, names)]
    for finding in (finding for result in results for finding in result.findings):
        if baseline and finding.exemption is None:
            finding.exemption = baseline.get(finding.fingerprint)
    return Report(
        lambda: iter(results),
        examined=sum(1 for result in results if result.documents),
        rules=[(module.RULE, module) for module in ALL if module.RULE.name in judge.names],
        tool_version=lithify.__version__,
        today=judge.today,
    )

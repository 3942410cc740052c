"""Baselines: the findings of one day, kept in a file, accepted until somebody mends them or a date has passed."""

import json
import time
from pathlib import Path
from typing import Any

from lithify.errors import InvalidInput
from lithify.model.finding import FileResult, Finding, Report, Severity
from lithify.model.location import Location
from lithify.model.workload import Exemption

SCHEMA = "lithify.dev/audit-baseline/v1"


def read_baseline(path: str, today: str = "") -> tuple[dict[str, Exemption], FileResult]:
    """Return the exemptions of a baseline by fingerprint, and what is to be said about the baseline itself.

    An entry may have `reason`, `owner` and `until`; past that day it exempts no more, and is a finding. InvalidInput
    where the file can't be read as a baseline.
    """
    today = today or time.strftime("%Y-%m-%d")
    try:
        document = json.loads(Path(path).read_bytes())
        if document["schema"] != SCHEMA:
            raise InvalidInput(f"{path}: schema {document['schema']!r} is not {SCHEMA!r}", hint="write it anew")
        given = [_exemption(entry) for entry in document["findings"]]
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}", hint="write one with --write-baseline") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(f"{path}: not a baseline: {error}", hint="write it anew with --write-baseline") from error
    about = FileResult(path)
    for fingerprint, exemption in given:
        if not exemption.holds(today):
            ended = f"ended on {exemption.until}"
            if not exemption.dated:
                ended = f"ends on {exemption.until!r}, no date (YYYY-MM-DD)"
            message = f"the exemption of {fingerprint} {ended}"
            about.findings.append(Finding("exemption-expired", Severity.MEDIUM, message, Location(path)))
    return {fingerprint: exemption for fingerprint, exemption in given if exemption.holds(today)}, about


def _exemption(entry: dict[str, Any]) -> tuple[str, Exemption]:
    fingerprint = str(entry["fingerprint"])
    words = {key: str(entry.get(key) or "") for key in ("reason", "owner", "until")}
    exemption = Exemption(
        fingerprint.partition("|")[0], words["reason"], owner=words["owner"], until=words["until"], origin="baseline"
    )
    return fingerprint, exemption


def render_baseline(report: Report, reason: str = "", *, owner: str = "", until: str = "") -> bytes:
    """Return a baseline of every finding that nothing exempts yet, as JSON.

    What an earlier baseline exempted stays in it, with its reason.
    """
    entries = {}
    for finding in report.findings():
        exemption = finding.exemption
        if exemption is None:
            why = reason or f"there on {report.today}"
            entries[finding.fingerprint] = {"reason": why, "owner": owner or None, "until": until or None}
        elif exemption.origin == "baseline":
            entries[finding.fingerprint] = {
                "reason": exemption.reason,
                "owner": exemption.owner or None,
                "until": exemption.until or None,
            }
    document = {
        "schema": SCHEMA,
        "findings": [{"fingerprint": fingerprint, **entries[fingerprint]} for fingerprint in sorted(entries)],
    }
    return f"{json.dumps(document, indent=1, ensure_ascii=True)}\n".encode()

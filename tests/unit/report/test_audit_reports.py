"""Every format says the same, and is what its readers expect."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lithify.model.finding import Report
from lithify.pipeline.audit import audit

CASES = Path(__file__).parents[2] / "cases" / "audit"
SCHEMAS = Path(__file__).parents[2] / "schemas"
STRANGE = """\
kind: Pod
metadata: {name: "a\\u001b[31m<b>&\\"'", namespace: "n"}
spec:
  containers:
  # lithify: ignore[writable-root-filesystem] ]]> <script>alert(1)</script> owner=o until=2999-01-01
  - {name: "x|y`z", image: "<img>"}
  - {name: second, image: "i"}
"""


def render(name: str, report: Report, **options: Any) -> str:
    """Return a report in a format."""
    parts: list[str] = []
    module = import_module(f"lithify.report.{name}")
    write: Callable[[str], object] = parts.append
    module.render(report, write, **options)
    return "".join(parts)


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """A report on every case, on names that try to break out, and on a path that is no text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "a b#\udcff.yaml").write_text(STRANGE)
    (tmp_path / "cases").mkdir()
    for case in CASES.glob("*.yaml"):
        (tmp_path / "cases" / case.name).write_bytes(case.read_bytes())
    return audit(["strange", "cases"], today="2026-11-22")


def test_sarif_is_valid(report: Report) -> None:
    """It follows the public schema; places, suppressions and skips are there."""
    text = render("sarif", report)
    document = json.loads(text)
    jsonschema.validate(document, json.loads((SCHEMAS / "sarif-2.1.0.json").read_text()))
    (run,) = document["runs"]
    results = run["results"]
    assert len(results) == len(list(report.findings()))
    for result in results:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    suppressed = [result for result in results if "suppressions" in result]
    assert [result["suppressions"][0]["kind"] for result in suppressed] == ["inSource"]
    assert "<script>" in suppressed[0]["suppressions"][0]["justification"]
    place = suppressed[0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "strange/a%20b%23%FF.yaml"
    assert place["region"] == {"startLine": 6, "startColumn": 5}
    notes = run["invocations"][0]["toolExecutionNotifications"]
    assert any("Go template" in note["message"]["text"] for note in notes)


def test_json_has_what_a_script_reads(report: Report) -> None:
    """Every container with its verdict, every finding with its place, every skip with its reason."""
    document = json.loads(render("json", report))
    assert document["schema"] == "lithify.dev/audit-report/v1"
    assert len(document["containers"]) == document["summary"]["containers"] == len(list(report.containers()))
    assert len(document["skipped"]) == document["summary"]["skipped"] > 0
    finding = next(f for f in document["findings"] if f["exemption"])
    assert finding["rule"] == "writable-root-filesystem"
    assert finding["severity"] == "high"
    assert (finding["line"], finding["column"], finding["document"]) == (6, 5, 0)
    assert (finding["kind"], finding["namespace"]) == ("Pod", "n")
    assert finding["container"]["list"] == "containers"
    assert finding["container"]["declared"] is None
    assert finding["container"]["effective"] == "writable"
    assert finding["exemption"]["owner"] == "o"
    assert finding["fix"]["route"] == ["securityContext", "readOnlyRootFilesystem"]
    verdicts = {c["container"]["name"]: c["verdict"] for c in document["containers"] if c["name"] == "w"}
    assert verdicts == {"c": "not-applicable"}


def test_json_keeps_a_large_report_in_a_file(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for its turn comes out whole, however little is kept in memory."""
    whole = render("json", report)
    monkeypatch.setattr("lithify.report.json._KEEP", 100)
    assert render("json", report) == whole


def test_text_is_fit_for_a_terminal(report: Report) -> None:
    """A line a finding, in the form that editors read, without control characters."""
    lines = render("text", report).splitlines()
    assert all(line.isprintable() for line in lines)
    assert (
        "cases/bom-crlf.yaml:6:5: high: container 'c' can write to its root filesystem [writable-root-filesystem]"
        in lines
    )
    exempted = [line for line in lines if ": exempted: " in line]
    assert len(exempted) == 1
    assert "owner o" in exempted[0]
    assert "findings (" in lines[-1]


def test_text_in_colour(report: Report) -> None:
    """Colour marks the severity, and nothing else changes."""
    plain, coloured = render("text", report), render("text", report, color=True)
    assert "\x1b[31mhigh\x1b[0m" in coloured
    assert plain == "".join(
        part.partition("m")[2] if index else part for index, part in enumerate(coloured.split("\x1b["))
    )

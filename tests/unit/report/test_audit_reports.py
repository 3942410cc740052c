"""Every format says the same, and is what its readers expect."""

import io
import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from lithify.errors import InvalidInput
from lithify.model.finding import Finding, Report
from lithify.pipeline.audit.files import audit
from lithify.pipeline.audit.merge import merge_reports

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
    assert finding["fix"]["route"] == ["spec", "containers", 0, "securityContext", "readOnlyRootFilesystem"]
    verdicts = {c["container"]["name"]: c["verdict"] for c in document["containers"] if c["name"] == "w"}
    assert verdicts == {"c": "not-applicable"}


@pytest.mark.parametrize("name", ["json", "sarif"])
def test_a_large_report_is_kept_in_a_file(name: str, report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for its turn comes out whole, however little is kept in memory."""
    whole = render(name, report)
    monkeypatch.setattr("lithify.report.base._KEEP", 100)
    assert render(name, report) == whole


def test_a_project_is_no_namespace_of_a_cluster(tmp_path: Path) -> None:
    """What Compose starts is reported for the cluster as a whole: no namespace of its name need be there."""
    (tmp_path / "compose.yaml").write_text("name: shop\nservices: {a: {image: x}}\n")
    (tmp_path / "pod.yaml").write_text(f"metadata: {{namespace: web}}\n{POD}")
    items = json.loads(render("policyreport", audit([str(tmp_path)], today="2026-11-22")))["items"]
    assert [(one["kind"], one["metadata"].get("namespace")) for one in items] == [
        ("ClusterPolicyReport", None),
        ("PolicyReport", "web"),
    ]


def test_policy_reports_stay_small(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much for one object goes into further ones, each with its own numbers and name."""
    whole = json.loads(render("policyreport", report))["items"]
    monkeypatch.setattr("lithify.report.policyreport._MOST", 2000)
    parts = json.loads(render("policyreport", report))["items"]
    assert len(parts) > len(whole)
    assert sum(len(part["results"]) for part in parts) == sum(len(one["results"]) for one in whole)
    for part in parts:
        assert Counter(one["result"] for one in part["results"]) == Counter(part["summary"])
    names = [(part["metadata"].get("namespace"), part["metadata"]["name"]) for part in parts]
    assert len(set(names)) == len(names)


def test_results_of_many_namespaces_wait_for_their_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However they alternate, and however little is kept in memory, each namespace has one report."""
    pods = (
        f"kind: Pod\nmetadata: {{name: p{n}, namespace: n{n % 20}}}\nspec: {{containers: [{{name: c, image: x}}]}}\n"
        for n in range(100)
    )
    (tmp_path / "pods.yaml").write_text("---\n".join(pods))
    report = audit([str(tmp_path)])
    whole = render("policyreport", report)
    assert len(json.loads(whole)["items"]) == 20
    monkeypatch.setattr("lithify.report.policyreport._KEPT", 2000)
    assert render("policyreport", report) == whole


@pytest.mark.parametrize(
    ("pod", "html", "junit", "policy"),
    [
        ("os: {name: windows}, ", ">not applicable<", '<skipped message="not applicable: Windows', "skip"),
        ("", ">exempted<", '<skipped message="exempted: ', "skip"),
    ],
)
def test_what_nobody_judged_is_not_called_clean(pod: str, html: str, junit: str, policy: str, tmp_path: Path) -> None:
    """Neither what is exempted nor what the flag does not exist for counts as clean in any report."""
    path = tmp_path / "pod.yaml"
    path.write_text(f"# lithify: ignore[*] why\nkind: Pod\nspec: {{{pod}containers: [{{name: c, image: x}}]}}\n")
    report = audit([str(path)])
    assert html in render("html", report)
    assert ">clean<" not in render("html", report)
    assert junit in render("junit", report)
    (reports,) = json.loads(render("policyreport", report))["items"]
    assert {one["result"] for one in reports["results"]} == {policy}


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


def test_junit_is_well_formed(report: Report) -> None:
    """A suite an input, a test a container, failures and skips counted."""
    root = ElementTree.fromstring(render("junit", report))
    cases = root.findall(".//testcase")
    of_containers = [case for case in cases if re.search(r"ontainers/", str(case.get("name")))]
    assert len(of_containers) == len(list(report.containers()))
    for suite in root.findall("testsuite"):
        assert int(str(suite.get("tests"))) == len(suite.findall("testcase"))
        assert int(str(suite.get("failures"))) == len(suite.findall("testcase/failure"))
        assert int(str(suite.get("skipped"))) == len(suite.findall("testcase/skipped"))
    assert root.findall(".//skipped")
    # All that the schema of Jenkins' xUnit plugin (junit-10.xsd) allows.
    allowed = {
        "testsuites": {"name", "time", "tests", "failures", "errors"},
        "testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname", "id", "file"},
        "testcase": {"name", "classname", "time", "group"},
        "failure": {"type", "message"},
        "skipped": {"type", "message"},
    }
    for element in root.iter():
        assert set(element.keys()) <= allowed[element.tag]


def test_markdown_breaks_out_of_nothing(report: Report) -> None:
    """Names of others stay text: no table is torn, no tag and no code is theirs."""
    text = render("markdown", report)
    assert "<script>" not in text
    assert "<img>" not in text
    row = next(line for line in text.splitlines() if line.startswith("|") and "x\\|y\\`z" in line)
    assert "gain more privileges" in row
    assert text.count("\n## cases/") >= 20


def test_html_stands_alone(report: Report) -> None:
    """No reference leaves the page, no name of others becomes markup, every container has its picture."""
    text = render("html", report)
    assert "http" not in re.sub(r"\bhttp(Get|d|s?_)", "", text)
    assert text.count("<script>") == 1
    assert "<img" not in text
    assert len(re.findall(r'<div class="box ', text)) == len(list(report.containers()))
    for rule, _ in report.rules:
        assert f'id="{rule.name}"' in text


def test_html_rounds_no_writable_root_away(tmp_path: Path) -> None:
    """One of three hundred is not none, and one is no several."""
    hard = "securityContext: {readOnlyRootFilesystem: true}"
    containers = ", ".join(f"{{name: c{number}, image: i, {hard}}}" for number in range(300)).replace(
        f", {hard}", "", 1
    )
    (tmp_path / "pod.yaml").write_text(f"kind: Pod\nspec: {{containers: [{containers}]}}\n")
    text = render("html", audit([str(tmp_path / "pod.yaml")]))
    assert "99 % of the root filesystems are read-only" in text
    assert ", 1 input, " in text
    assert "<b>1</b>high finding<" in text


class _Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "input", "br", "th"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_closed(report: Report) -> None:
    """Every element that opens closes, in order."""
    checker = _Checker()
    checker.feed(render("html", report))
    checker.close()
    assert not checker.open


def test_policy_reports(report: Report) -> None:
    """One for each namespace, with sums that are right."""
    document = json.loads(render("policyreport", report))
    kinds = {item["metadata"].get("namespace"): item["kind"] for item in document["items"]}
    assert kinds == {None: "ClusterPolicyReport", "n": "PolicyReport"}
    for item in document["items"]:
        results = [result["result"] for result in item["results"]]
        assert item["summary"] == {word: results.count(word) for word in ("pass", "fail", "warn", "error", "skip")}
    assert {"fail", "warn", "skip", "error"} <= {r["result"] for i in document["items"] for r in i["results"]}


COMPOSE = "services:\n  a: {image: x}\n  b: {image: y, read_only: true}\n"
CLEAN = "services:\n  b: {image: y, read_only: true}\n"
POD = "kind: Pod\nspec: {containers: [{name: a, image: x}]}\n"


@pytest.mark.parametrize(
    ("name", "text", "status"),
    [
        ("compose.yaml", COMPOSE, "open"),
        ("compose.yaml", CLEAN, "not_reviewed"),
        ("pod.yaml", POD, "not_applicable"),
        ("app.container", "[Container]\nImage=x\n", "not_reviewed"),
        ("task.json", '{"containerDefinitions": [{"name": "a", "image": "x"}]}', "not_reviewed"),
    ],
)
def test_checklist(name: str, text: str, status: str, tmp_path: Path) -> None:
    """One rule, its keys in the viewer's order, with what was seen; merged, it answers the rule in place."""
    path = tmp_path / name
    path.write_text(text)
    report = audit([str(path)], today="2026-11-22")
    document = json.loads(render("cklb", report))
    assert list(document) == [
        "title", "id", "stigs", "active", "mode", "has_path", "target_data", "cklb_version",
    ]  # fmt: skip
    (stig,) = document["stigs"]
    (rule,) = stig["rules"]
    assert stig["size"] == 1
    assert rule["stig_uuid"] == stig["uuid"]
    assert (rule["group_id"], rule["status"]) == ("V-260936", status)
    if name == "compose.yaml":
        assert f"ReadonlyRootfs={'false' if status == 'open' else 'true'}" in rule["finding_details"]
    other = {**rule, "group_id": "V-1", "status": "open", "comments": "mine"}
    stig["rules"] = [other, {**rule, "status": "not_a_finding", "discussion": "kept"}]
    existing = tmp_path / "full.cklb"
    existing.write_text(json.dumps(document))
    merged = json.loads(render("cklb", report, merge_into=str(existing)))["stigs"][0]["rules"]
    assert merged[0] == other
    assert (merged[1]["status"], merged[1]["discussion"]) == (status, "kept")
    ours = merged[1]["comments"]
    merged[1]["comments"] += "\nseen by hand\n\non the second host"
    stig["rules"] = merged
    existing.write_text(json.dumps(document))
    again = json.loads(render("cklb", report, merge_into=str(existing)))["stigs"][0]["rules"]
    assert again[1]["comments"] == f"{ours}\nseen by hand\n\non the second host"


def test_what_is_accepted_stays_open_and_says_so(tmp_path: Path) -> None:
    """The check knows no exemptions: the container is listed with who accepted it, why, and until when."""
    path = tmp_path / "compose.yaml"
    path.write_text(
        "services:\n  # lithify: ignore[writable-root-filesystem] legacy owner=ops until=2999-12-31\n"
        "  a: {image: x}\n  b: {image: y}\n"
    )
    (rule,) = json.loads(render("cklb", audit([str(path)], today="2026-11-22")))["stigs"][0]["rules"]
    first, second = rule["finding_details"].splitlines()
    assert rule["status"] == "open"
    assert first.endswith("a (x); exempted: legacy, owner ops, until 2999-12-31")
    assert second.endswith("b (y)")
    assert (rule["group_title"], rule["ccis"]) == ("SRG-APP-000342-CTR-000775", ["CCI-002233"])


@pytest.mark.parametrize("text", ["", "{}", '{"stigs": []}', '{"stigs": [{"rules": [{"group_id": "V-2"}]}]}'])
def test_what_is_no_checklist_is_refused(text: str, report: Report, tmp_path: Path) -> None:
    """With one clear error."""
    path = tmp_path / "x.cklb"
    path.write_text(text)
    with pytest.raises(InvalidInput):
        render("cklb", report, merge_into=str(path))


PUBLISHED = Path(__file__).parents[3] / "docs" / "schemas" / "audit-report-v1.json"


def test_json_follows_its_published_schema(report: Report) -> None:
    """What scripts rely on is written down, and nothing else is there."""
    jsonschema.validate(json.loads(render("json", report)), json.loads(PUBLISHED.read_text()))


def test_reports_merge(tmp_path: Path) -> None:
    """The shards of a corpus, joined, say what one run says."""
    whole = audit([str(CASES)], today="2026-11-22")
    shards = [render("json", audit([str(CASES)], shard=(index, 3), today="2026-11-22")) for index in (1, 2, 3)]
    merged = merge_reports(map(io.StringIO, shards))
    first, second = json.loads(render("json", whole)), json.loads(render("json", merged))
    assert second["summary"] == first["summary"]
    for name in ("findings", "containers", "skipped"):
        assert sorted(map(json.dumps, second[name])) == sorted(map(json.dumps, first[name]))
    for name in ("sarif", "junit", "markdown", "html", "cklb", "policyreport", "text"):
        assert render(name, merged)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "lithify.dev/audit-report/v9"}', "[" * 100_000])
def test_what_is_no_report_is_refused(text: str) -> None:
    """With one clear error."""
    with pytest.raises(ValueError, match=r".+"):
        merge_reports([io.StringIO(text)])


def test_a_merge_takes_no_longer_for_a_count_that_somebody_made_up(report: Report) -> None:
    """Inputs of which nothing is said are a number in the summary, and nothing in what comes of each."""
    text = json.loads(render("json", report))
    text["summary"]["inputs"] = 10**15
    merged = merge_reports([io.StringIO(json.dumps(text))])
    assert merged.summary.files == merged.examined == 10**15
    assert 'file=""' not in render("junit", merged)
    for wrong in (-1, "3", True, None, 1e3):
        text["summary"]["inputs"] = wrong
        with pytest.raises(ValueError, match="its summary counts"):
            merge_reports([io.StringIO(json.dumps(text))])


FIXABLE = {
    "pod.yaml": (
        """\
# é: two bytes, one column
kind: Pod
metadata: {name: é}
spec:
  containers:
  - {name: flow, image: é}  # kept
  - name: block
    image: x
    securityContext:
      readOnlyRootFilesystem: "true"
      runAsUser: 1000
    volumeMounts:
    - {name: é, mountPath: /tmp}
    - {name: host, mountPath: /opt}
  volumes:
  - name: é
    emptyDir: {}
  - {name: host, hostPath: {path: /opt}}
""",
        ["capabilities-not-dropped", "mistyped-flag", "privilege-escalation", "privilege-escalation"],
    ),
    "compose.yaml": (
        """\
x-common: &common {security_opt: [label=disable]}
services:
  block:
    image: é   # kept
    user: "1000"
    security_opt:
      - seccomp=unconfined
  flow: {image: y, read_only: true}
  shared: {<<: *common, image: z, user: "5"}
""",
        ["capabilities-not-dropped", "capabilities-not-dropped", "privilege-escalation", "privilege-escalation"],
    ),
    "web-stack.yaml": (
        """\
version: "3.8"
services:
  web:
    image: x
    tmpfs:
      - /tmp:size=64m
    volumes: [data:/data]
  cache: {image: x, tmpfs: /run}
  asks: {image: x, tmpfs: "/run:uid=7"}
volumes: {data: }
""",
        ["tmpfs-dropped-by-swarm", "tmpfs-dropped-by-swarm"],
    ),
    "web.container": (
        """\
[Unit]
Description=é

[Container]
Image=x
# before
NoNewPrivileges=false
User=7

[Service]
Restart=always
""",
        ["capabilities-not-dropped", "privilege-escalation"],
    ),
    "task.json": (
        """\
{
  "family": "f",
  "containerDefinitions": [
    {"name": "a", "image": "é", "user": "7", "readonlyRootFilesystem": "true"},
    {"name": "b", "image": "x"}
  ]
}
""",
        ["capabilities-not-dropped", "mistyped-flag", "privilege-escalation", "privilege-escalation"],
    ),
    "stack.template.yaml": (
        """\
Resources:
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      ContainerDefinitions:
      - Name: a
        Image: x
        User: "7"
      RequiresCompatibilities: [FARGATE]
""",
        ["capabilities-not-dropped"],
    ),
}
"""Files, and the rules whose findings have a change of text: none that is a guess, nor the flag alone."""


@pytest.mark.parametrize("file", FIXABLE)
@pytest.mark.parametrize("name", ["json", "sarif"])
def test_fixes_are_text_that_can_be_applied(name: str, file: str, tmp_path: Path) -> None:
    """Each edit, applied to the file as it is, ends its finding and adds none."""
    path = tmp_path / file
    text, rules = FIXABLE[file]
    path.write_text(text)
    before = audit([str(path)], today="2026-11-22", edits=True)
    edited = changes(name, render(name, before))
    assert sorted(rule for rule, _ in edited) == rules
    for rule, edits in edited:
        path.write_text(applied(text, edits))
        after = audit([str(path)], today="2026-11-22")
        gone = count(before, rule) - count(after, rule)
        assert gone == 1, path.read_text()
        assert Counter(map(told, after.findings())) < Counter(map(told, before.findings()))


def test_a_fix_calls_fields_what_their_file_calls_them(tmp_path: Path) -> None:
    """CloudFormation knows no `linuxParameters`, though the API does."""
    path = tmp_path / "stack.template.yaml"
    path.write_text(FIXABLE[path.name][0])
    ((_, edits),) = changes("json", render("json", audit([str(path)], today="2026-11-22", edits=True)))
    words = edits[0][4].split()
    assert words == ["LinuxParameters:", "Capabilities:", "Drop:", "-", "ALL"]


def test_findings_of_one_container_are_told_apart(tmp_path: Path) -> None:
    """What a baseline and a code host know a finding by is another's for another place of the same service."""
    path = tmp_path / "compose.yaml"
    path.write_text("services: {a: {image: x, tmpfs: ['/a:exec', '/b:exec'], volumes: [/c, /d]}}\n")
    found = list(audit([str(path)], rules=["writable-and-executable"]).findings())
    assert len({finding.fingerprint for finding in found}) == len(found) == 4


def test_an_edit_that_another_file_undoes_is_none(tmp_path: Path) -> None:
    """A drop-in has the last word: nothing in the unit ends the finding."""
    unit = tmp_path / "web.container"
    unit.write_text("[Container]\nImage=x\nNoNewPrivileges=false\n")
    (tmp_path / "web.container.d").mkdir()
    (tmp_path / "web.container.d" / "10.conf").write_text("[Container]\nNoNewPrivileges=no\n")
    assert changes("json", render("json", audit([str(unit)], today="2026-11-22", edits=True))) == []


def told(finding: Finding) -> tuple[str, str]:
    return finding.rule, finding.message


def count(report: Report, rule: str) -> int:
    return sum(finding.rule == rule for finding in report.findings())


def changes(name: str, text: str) -> list[tuple[str, list[tuple[int, int, int, int, str]]]]:
    """Return each finding's rule with its edits, as a reader of the format finds them."""
    report = json.loads(text)
    if name == "json":
        found = [(f["rule"], f["fix"]["edits"]) for f in report["findings"] if f["fix"] and f["fix"]["edits"]]
        return [(rule, [tuple(edit.values()) for edit in edits]) for rule, edits in found]
    listed = []
    for result in report["runs"][0]["results"]:
        for fix in result.get("fixes", ()):
            replacements = fix["artifactChanges"][0]["replacements"]
            edits = [(*one["deletedRegion"].values(), one["insertedContent"]["text"]) for one in replacements]
            listed.append((result["ruleId"], edits))
    return listed


def applied(text: str, edits: list[tuple[int, int, int, int, str]]) -> str:
    lines = text.splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
    for line, column, end_line, end_column, new in sorted(edits, reverse=True):
        begin, end = starts[line - 1] + column - 1, starts[end_line - 1] + end_column - 1
        text = text[:begin] + new + text[end:]
    return text


def test_the_page_draws_some_dozens_of_places(tmp_path: Path) -> None:
    """A container that was given the host's `/` may have hundreds; none of them is lost to the JSON report."""
    path = tmp_path / "compose.yaml"
    binds = "".join(f"      - ./data:/data/{number:03}\n" for number in range(300))
    path.write_text(f"services:\n  web:\n    image: x\n    read_only: true\n    volumes:\n{binds}")
    report = audit([str(path)], today="2026-11-22", rules=["writable-root-filesystem"])
    page = render("html", report)
    assert page.count("<code>/data/") == 40
    assert "and 260 more" in page
    assert render("json", report).count('"/data/') == 300

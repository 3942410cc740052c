"""A report as Markdown: for a pull request or a page of documentation."""

from lithify.model.finding import FileResult, Finding, Report
from lithify.model.text import printable
from lithify.report.base import Write
from lithify.report.text import render_summary


def render(report: Report, write: Write) -> None:
    """Write a section for each input with findings, what was exempted and skipped, and the numbers at the end."""
    write(f"# lithify audit\n\n{report.today}, lithify {report.tool_version}\n")
    skipped: list[str] = []
    for result in report.results():
        counted = [finding for finding in result.findings if finding.exemption is None]
        exempted = [finding for finding in result.findings if finding.exemption is not None]
        if counted:
            write(_section(result, counted))
        if exempted:
            write(_exempted(result, exempted, heading=not counted))
        skipped += [f"- {_cell(one.location)}: {_cell(one.reason)}\n" for one in result.skipped]
    if skipped:
        write("\n## Skipped\n\n" + "".join(skipped))
    write(f"\n## Numbers\n\n{render_summary(report.summary)}.\n")


def _section(result: FileResult, findings: list[Finding]) -> str:
    rows = [
        f"| {f.location.line or ''} | {f.severity.label} | {_subject(f)} | {_cell(f.message)} | `{f.rule}` |\n"
        for f in findings
    ]
    head = "| line | severity | object | finding | rule |\n|---:|---|---|---|---|\n"
    return f"\n## {_cell(result.path)}\n\n{head}" + "".join(rows)


def _exempted(result: FileResult, findings: list[Finding], *, heading: bool) -> str:
    lines = []
    for finding in findings:
        exemption = finding.exemption
        assert exemption is not None
        told = [
            exemption.reason,
            exemption.owner and f"owner {exemption.owner}",
            exemption.until and f"until {exemption.until}",
        ]
        because = _cell(", ".join(filter(None, told)) or "no reason given")
        where = f", line {finding.location.line}" if finding.location.line else ""
        lines.append(f"- exempted{where}: {_cell(finding.message)} `{finding.rule}` ({because})\n")
    return (f"\n## {_cell(result.path)}\n\n" if heading else "\n") + "".join(lines)


def _subject(finding: Finding) -> str:
    return "" if finding.object is None else _cell(finding.object)


def _cell(text: object) -> str:
    """Return text that Markdown shows as it is, in a table too."""
    shown = printable(text)
    for character in "\\`*_[]<>|#":
        shown = shown.replace(character, "\\" + character) if character not in "<>" else shown
    return shown.replace("<", "&lt;").replace(">", "&gt;")

"""A report as lines for a person, a grep and an editor: place, severity, message, rule."""

from lithify.model.finding import FileResult, Report, Severity, Summary
from lithify.model.location import Location
from lithify.model.text import counted, printable
from lithify.report.base import Write


def render(report: Report, write: Write, *, color: bool = False) -> None:
    """Write a line for each finding, exempted ones marked, a line for each skip, and the numbers."""
    for result in report.results():
        lines = result.text if result.text is not None and not color else render_result(result, color=color)
        if lines:
            write(lines)
    write(render_summary(report.summary) + "\n")


def render_result(result: FileResult, *, color: bool = False, path: str = "") -> str:
    """Return the lines of one input; `path` stands in for its own, as it is."""
    shown = path or printable(result.path)
    lines = []
    for finding in result.findings:
        label = finding.severity.label
        tail = ""
        if finding.exemption is not None:
            label = "exempted"
            tail = _because(finding.exemption.reason, finding.exemption.owner, finding.exemption.until)
        elif color:
            label = f"\x1b[{SEVERITY_COLOURS[finding.severity]}m{label}\x1b[0m"
        told = printable(f"{finding.message} [{finding.rule}]{tail}")
        lines.append(f"{_place(finding.location, result.path, shown)}: {label}: {told}\n")
    lines += [
        f"{_place(one.location, result.path, shown)}: skipped: {printable(one.reason)}\n" for one in result.skipped
    ]
    return "".join(lines)


def _place(location: Location, own: str, shown: str) -> str:
    line, column = location.find()
    path = shown if location.path == own else printable(location.path)
    return f"{path}:{line}:{column}" if line else path


def render_summary(summary: Summary) -> str:
    """Return the numbers of a run in one line."""
    parts = [f"{count} {severity.label}" for severity, count in summary.by_severity.items() if count]
    found = f"{counted(summary.findings, 'finding')}" + (f" ({', '.join(parts)})" if parts else "")
    judged = f"{counted(summary.containers, 'container')} in {counted(summary.files, 'input')}"
    more = [f"{summary.writable} with a writable root filesystem"] if summary.containers else []
    more += [f"{summary.not_applicable} not applicable"] if summary.not_applicable else []
    more += [f"{summary.exempted} exempted"] if summary.exempted else []
    more += [f"{summary.skipped} skipped"] if summary.skipped else []
    return "; ".join((found, ", ".join((judged, *more))))


def _because(reason: str, owner: str, until: str) -> str:
    parts = [part for part in (reason, owner and f"owner {owner}", until and f"until {until}") if part]
    return f" ({', '.join(parts)})" if parts else ""


SEVERITY_COLOURS = {Severity.CRITICAL: 31, Severity.HIGH: 31, Severity.MEDIUM: 33, Severity.LOW: 36, Severity.INFO: 2}
"""SGR codes by severity, for terminals."""

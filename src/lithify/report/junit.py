"""A report as JUnit XML: a suite for each input, a test for each container and for each finding outside of one."""

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from lithify.model.finding import FileResult, Finding, Report, State
from lithify.report.base import Write


def render(report: Report, write: Write) -> None:
    """Write the suites; a container fails with everything that is found on it, exempted and skipped tests say why."""
    write('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="lithify audit">\n')
    for result in report.results():
        if result.containers or result.findings or result.skipped:
            write(_suite(result))
    write("</testsuites>\n")


def _suite(result: FileResult) -> str:
    cases = list(_cases(result))
    failures = sum("<failure" in case for case in cases)
    skipped = sum("<skipped" in case and "<failure" not in case for case in cases)
    path = _attribute(result.path)
    counts = f'tests="{len(cases)}" failures="{failures}" errors="0" skipped="{skipped}"'
    return f"<testsuite name={path} file={path} {counts}>\n{''.join(cases)}</testsuite>\n"


def _cases(result: FileResult) -> Iterator[str]:
    of_container: dict[int, list[Finding]] = {}
    for finding in result.findings:
        for container in (finding.container, *finding.also):
            of_container.setdefault(id(container) if container is not None else 0, []).append(finding)
    for container in result.containers:
        name = f"{container.object}/{container.list_name}/{container.name or container.index}"
        reason = container.reason if container.effective is State.NOT_APPLICABLE else ""
        yield _case(result.path, name, of_container.get(id(container), []), reason)
    for finding in of_container.get(0, []):
        subject = f"{finding.object}: " if finding.object is not None else ""
        yield _case(result.path, f"{subject}{finding.rule}", [finding])
    for skipped in result.skipped:
        place = f"document {skipped.location.document}"
        yield _open(result.path, place) + f"<skipped message={_attribute(skipped.reason)}/></testcase>\n"


def _case(path: str, name: str, findings: list[Finding], not_applicable: str = "") -> str:
    counted = [finding for finding in findings if finding.exemption is None]
    exempted = [finding for finding in findings if finding.exemption is not None]
    text = _open(path, name)
    if counted:
        worst = max(counted, key=lambda finding: finding.severity)
        lines = "\n".join(f"{f.location}: {f.severity.label}: {f.message} [{f.rule}]" for f in counted)
        message = f"{worst.severity.label}: {worst.message}"
        text += f"<failure type={_attribute(worst.rule)} message={_attribute(message)}>{_text(lines)}</failure>"
    elif exempted:
        reasons = "; ".join(f"{f.rule}: {f.exemption.reason}" for f in exempted if f.exemption is not None)
        text += f"<skipped message={_attribute('exempted: ' + reasons)}/>"
    elif not_applicable:
        text += f"<skipped message={_attribute('not applicable: ' + not_applicable)}/>"
    return text + "</testcase>\n"


def _open(path: str, name: str) -> str:
    # Jenkins' schema knows neither file nor line here; and a name stays when lines move, as its history does.
    return f"<testcase classname={_attribute(path)} name={_attribute(name)}>"


def _clean(text: str) -> str:
    """Return text without what XML can't hold, even escaped."""
    return "".join(
        c if c in "\t\n" or " " <= c < "\ud800" or "\ue000" <= c < "\ufffe" or c > "\uffff" else "\ufffd" for c in text
    )


def _attribute(text: str) -> str:
    return quoteattr(_clean(text), {"\n": "&#10;", "\t": "&#9;"})


def _text(text: str) -> str:
    return escape(_clean(text))

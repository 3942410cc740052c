"""A report as comma-separated values."""

from collections.abc import Callable

from lithify.model.finding import Report


def render(report: Report, write: Callable[[str], object]) -> None:
    """Write a line for each finding."""
    for finding in report.findings():
        write(f"{finding.location.path},{finding.location.line},{finding.rule}\n")

"""What every report does."""

from collections.abc import Callable
from typing import Protocol

from lithify.model.finding import Report

Write = Callable[[str], object]
"""Takes text as it comes; a report is never held as a whole."""


class ReportModule(Protocol):
    """A module that writes a report in one format."""

    def render(self, report: Report, write: Write) -> None:
        """Write the whole report."""
        ...

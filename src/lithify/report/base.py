"""What every report does."""

from __future__ import annotations

from collections.abc import Callable

from lithify.model.finding import Report

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

Write = Callable[[str], object]
"""Takes text as it comes; a report is never held as a whole."""


class ReportModule(Protocol):
    """A module that writes a report in one format."""

    def render(self, report: Report, write: Write) -> None:
        """Write the whole report."""


def page_text(docstring: str) -> str:
    """Return a rule's page from its docstring: code stands indented, without the mark that announces it."""
    return docstring.strip().replace("::\n", ":\n")

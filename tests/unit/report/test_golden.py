"""Each format, byte for byte, for the files in `tests/golden/input`; LITHIFY_GOLDEN=write writes what it is now.

A change here is a change for whoever reads the format: the difference belongs into the review.
"""

import os
import re
from importlib import import_module
from pathlib import Path

import pytest

import lithify
from lithify.cli.audit import FORMATS
from lithify.pipeline.audit.files import audit

GOLDEN = Path(__file__).parents[2] / "golden"
ENDS = {"text": "txt", "markdown": "md", "junit": "xml", "policyreport": "yaml"}


def scrubbed(text: str) -> str:
    """Return a report without what differs from run to run: versions, times, random identifiers."""
    text = text.replace(lithify.__version__, "VERSION")
    text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.+Z]+", "TIME", text)
    return re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID", text)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_as_it_was(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN / "input")
    report = audit(["."], today="2026-11-22", edits=True)
    parts: list[str] = []
    import_module(f"lithify.report.{name}").render(report, parts.append)
    found = scrubbed("".join(parts))
    path = GOLDEN / f"{name}.{ENDS.get(name, name)}"
    if os.environ.get("LITHIFY_GOLDEN") == "write":
        path.write_text(found)
    assert found == path.read_text(), f"{path.name} has changed: see the difference, then LITHIFY_GOLDEN=write"

"""A baseline exempts what was there, and nothing else."""

import json
from pathlib import Path

import pytest

from lithify.errors import InvalidInput
from lithify.pipeline.audit.baseline import read_baseline, render_baseline
from lithify.pipeline.audit.files import audit

POD = "kind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - {{name: {}, image: x}}\n"


def test_a_baseline_exempts_what_was_there(tmp_path: Path) -> None:
    """Moved lines change nothing; a new container is a new finding."""
    manifest, baseline = tmp_path / "m.yaml", tmp_path / "baseline.json"
    manifest.write_text(POD.format("a"))
    baseline.write_bytes(render_baseline(audit([str(manifest)]), "old"))
    exemptions, about = read_baseline(str(baseline))
    assert not about.findings
    manifest.write_text("# a line\n" + POD.format("a") + "  - {name: b, image: x}\n")
    found = list(audit([str(manifest)], baseline=exemptions).findings())
    assert {f.container.name for f in found if f.exemption is not None and f.container} == {"a"}
    assert {f.container.name for f in found if f.exemption is None and f.container} == {"b"}
    assert {f.exemption.reason for f in found if f.exemption} == {"old"}


def test_a_baseline_expires(tmp_path: Path) -> None:
    """Past its day an entry exempts no more, and says so."""
    manifest, baseline = tmp_path / "m.yaml", tmp_path / "baseline.json"
    manifest.write_text(POD.format("a"))
    baseline.write_bytes(render_baseline(audit([str(manifest)], rules=["writable-root-filesystem"])))
    document = json.loads(baseline.read_text())
    document["findings"][0]["until"] = "2026-01-31"
    baseline.write_text(json.dumps(document))
    assert read_baseline(str(baseline), "2026-01-31")[0]
    exemptions, about = read_baseline(str(baseline), "2026-02-01")
    assert not exemptions
    assert [finding.rule for finding in about.findings] == ["exemption-expired"]


def test_an_entry_stays_while_its_finding_does(tmp_path: Path) -> None:
    """Written anew, a baseline keeps the reasons of what is still there, and forgets what is not."""
    manifest, baseline = tmp_path / "m.yaml", tmp_path / "baseline.json"
    manifest.write_text(POD.format("a") + "  - {name: b, image: x}\n")
    baseline.write_bytes(render_baseline(audit([str(manifest)]), "old"))
    manifest.write_text(POD.format("a") + "  - {name: c, image: x}\n")
    exemptions, _ = read_baseline(str(baseline))
    baseline.write_bytes(render_baseline(audit([str(manifest)], baseline=exemptions), "new"))
    exemptions, _ = read_baseline(str(baseline))
    reasons = {key.rpartition("/")[2][0]: exemption.reason for key, exemption in exemptions.items()}
    assert reasons == {"a": "old", "c": "new"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "x", "findings": []}', "[" * 100_000])
def test_what_is_no_baseline_is_refused(text: str, tmp_path: Path) -> None:
    """With one clear error."""
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(InvalidInput):
        read_baseline(str(path))
    with pytest.raises(InvalidInput):
        read_baseline(str(tmp_path / "missing.json"))

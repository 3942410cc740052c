"""The audit command: what it prints where, and how it exits."""

import io
import json
import sys
from pathlib import Path

import pytest

from lithify.cli.main import main

POD = "kind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: app\n    image: x\n"
CLEAN = POD + "    securityContext: {readOnlyRootFilesystem: true}\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two manifests, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    (tmp_path / "bad.yaml").write_text(POD)
    (tmp_path / "good.yaml").write_text(CLEAN)
    return tmp_path


def test_a_finding_is_a_line_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """The worst finding decides; stdout has the report, stderr nothing."""
    assert main(["audit", "bad.yaml"]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith(
        "bad.yaml:5:5: high: container 'app' can write to its root filesystem [writable-root-filesystem]\n"
    )
    assert captured.err == ""
    assert main(["audit", "good.yaml"]) == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--fail-on", "medium", "good.yaml"], 1),
        (["--fail-on", "never", "bad.yaml"], 0),
        (["--rule", "runs-as-root", "bad.yaml"], 0),
        (["--skip-rule", "writable-root-filesystem", "bad.yaml"], 0),
        (["--rule", "no-such-rule", "bad.yaml"], 2),
        (["--shard", "3/2", "bad.yaml"], 2),
        (["--write-baseline", "b.json", "--until", "next year", "bad.yaml"], 2),
        (["--engine", "docker", "--shard", "1/2"], 2),
        (["--engine", "docker", "--stack"], 2),
        (["--format", "json", "--format", "text", "bad.yaml"], 2),
        ([], 2),
        (["missing.yaml"], 3),
        (["empty"], 3),
        (["--baseline", "missing.json", "bad.yaml"], 2),
        (["--list-rules"], 0),
        (["--explain", "writable-root-filesystem"], 0),
        (["--explain", "nothing"], 2),
    ],
)
def test_exit_codes(words: list[str], code: int, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the manual has them; what is wrong is said on stderr, once."""
    (place / "empty").mkdir()
    assert main(["audit", *words]) == code
    captured = capsys.readouterr()
    assert captured.err.count("error: ") == (1 if code in (2, 3) else 0)


def test_formats_pair_with_outputs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several at once, each where it was asked for."""
    words = ["--format", "json", "--output", "r.json", "--format", "sarif", "--output", "r.sarif"]
    assert main(["audit", *words, "--format", "text", "--output", "-", "."]) == 1
    assert "bad.yaml:5:5" in capsys.readouterr().out
    assert json.loads((place / "r.json").read_text())["summary"]["containers"] == 2
    assert json.loads((place / "r.sarif").read_text())["version"] == "2.1.0"
    assert main(["audit", "--format", "json", "--output", "no/such/folder/r.json", "."]) == 2
    assert not [path.name for path in place.iterdir() if path.name.endswith(".tmp")]


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A dash reads what another program writes."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(POD.encode())))
    assert main(["audit", "-"]) == 1
    assert capsys.readouterr().out.startswith("-:5:5: high: ")


def test_a_baseline_round(capsys: pytest.CaptureFixture[str]) -> None:
    """Written once, it lets the same findings pass, and shows them as exempted."""
    words = ["--write-baseline", "b.json", "--reason", "old", "--owner", "ops", "--until", "2999-12-31"]
    assert main(["audit", "bad.yaml", *words]) == 1
    assert main(["audit", "bad.yaml", "--baseline", "b.json"]) == 0
    told = capsys.readouterr().out
    assert "bad.yaml:5:5: exempted: " in told
    assert "(old, owner ops, until 2999-12-31)" in told

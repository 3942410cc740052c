"""The audit command: what it prints where, and how it exits."""

import io
import json
import os
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
        (["--jobs", "-1", "bad.yaml"], 2),
        (["--write-baseline", "b.json", "--until", "next year", "bad.yaml"], 2),
        (["--write-baseline", "missing/b.json", "bad.yaml"], 2),
        (["--engine", "docker", "--shard", "1/2"], 2),
        (["--merge-into", "full.cklb", "good.yaml"], 2),
        (["--engine", "docker", "--stack"], 2),
        (["--format", "json", "--format", "text", "bad.yaml"], 2),
        (["--format", "json", "--output", "r", "--format", "text", "--output", "r", "bad.yaml"], 2),
        (["--shard", "1/9", "--fail-on", "never", "empty"], 0),
        (["--output", "missing/x", "bad.yaml"], 2),
        (["--output", "empty", "bad.yaml"], 2),
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


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["good.yaml"], 1),
        (["--fail-on", "high", "good.yaml"], 0),
        (["bad.yaml"], 1),
        (["--fail-on", "high", "bad.yaml"], 0),
        (["--rule", "writable-root-filesystem", "bad.yaml"], 1),
        (["--skip-rule", "privilege-escalation", "bad.yaml"], 1),
    ],
)
def test_a_project_says_what_counts(words: list[str], code: int, place: Path) -> None:
    """Its file holds where no flag says otherwise: `--rule` asks what the file leaves out."""
    (place / "lithify.toml").write_text('[lithify]\nfail_on = "medium"\nskip_rule = ["writable-root-filesystem"]\n')
    assert main(["audit", *words]) == code


def test_a_project_has_a_baseline(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is made anew where the file names it already, and heard by every run after that."""
    (place / "lithify.toml").write_text('[lithify]\nbaseline = "b.json"\n')
    assert main(["audit", "bad.yaml"]) == 2
    for _ in range(2):
        assert main(["audit", "--write-baseline", "b.json", "bad.yaml"]) == 1
        assert main(["audit", "--fail-on", "info", "bad.yaml"]) == 0
    (place / "lithify.toml").unlink()
    monkeypatch.setenv("LITHIFY_FAIL_ON", "critical")
    monkeypatch.setenv("LITHIFY_SKIP_RULE", "no-such-rule, runs-as-root")
    assert main(["audit", "--rule", "runs-as-root", "bad.yaml"]) == 0
    capsys.readouterr()
    assert main(["audit", "bad.yaml"]) == 2
    assert "the setting skip_rule names 'no-such-rule'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "code", "told"),
    [
        ("a.yaml", "a: [b", 1, "a.yaml:2:1: high: this document can't be read: "),
        ("a.yaml", "kind: Service\nspec: {a: b: c}\n", 1, "a.yaml:2:12: high: this document can't be read: "),
        ("a.yaml", "", 3, "a.yaml: skipped: nothing in it describes a container\n"),
        ("a.yaml", "image: {tag: 1}\n", 3, "a.yaml: skipped: nothing in it describes a container\n"),
        ("a.txt", "a: [b", 3, "a.txt: skipped: nothing in it describes a container\n"),
        ("a.yaml", "{{ if .x }}\na: b\n{{ end }}\n", 3, "a.yaml:2:1: skipped: a Go template outside a chart"),
        ("a.yaml", "services:\n  {{ if .x }}\n  a: b: c\n", 3, "a.yaml:3:3: skipped: a Go template outside a chart"),
        ("compose.yaml", "include: [nothere.yaml]\n", 3, "compose.yaml:1:11: skipped: nothere.yaml is not followed"),
        ("a.yaml", "kind: Service\n", 0, "0 findings; 0 containers in 1 input\n"),
    ],
)
def test_a_file_that_was_named_and_not_judged_is_told(
    name: str,
    text: str,
    code: int,
    told: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody is to take it for clean; by a dash it is the same, and beside a file that is judged only a line."""
    (place / name).write_text(text)
    assert main(["audit", name]) == code
    assert capsys.readouterr().out.startswith(told)
    if name == "a.yaml":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert main(["audit", "-"]) == code
        assert capsys.readouterr().out.startswith(told.replace(name, "-"))
    assert main(["audit", "good.yaml", name]) == (1 if code == 1 else 0)
    assert main(["audit", "--shard", "1/1", name]) == (1 if code == 1 else 0)


@pytest.mark.parametrize(
    ("name", "text", "line", "told"),
    [
        ("tasks.json", '{\n // containers\n "tasks": []}\n', 3, "skipped: neither YAML nor JSON, and no apiVersion"),
        ("consul.json", '{\n // how\n "services": []}\n', 3, "skipped: neither YAML nor JSON, and no apiVersion"),
        ("a.yaml", "apiVersion: v1\nspec: {containers: b: c}\n", 2, "high: this document can't be read"),
        ("a.yaml", "kind: Pod\nspec: {containers: b: c}\n", 2, "high: this document can't be read"),
        ("a.json", '{"apiVersion": "v1",\n // how\n "containers": []}\n', 3, "high: this document can't be read"),
        ("a.yaml", "services:\n  web: {image: b: c}\n", 2, "high: this file can't be read"),
        ("compose.json", '{\n // how\n "services": []}\n', 3, "high: this file can't be read"),
    ],
)
def test_what_cannot_be_read_in_a_folder_is_told_where_somebody_could_apply_it(
    name: str, text: str, line: int, told: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON with comments is what editors have their settings in; by its name it would be a finding, too."""
    (place / "folder").mkdir()
    (place / "folder" / name).write_text(text)
    assert main(["audit", "folder"]) == (3 if "skipped" in told else 1)
    output = capsys.readouterr().out
    assert output.startswith(f"folder/{name}:{line}:")
    assert told in output
    assert main(["audit", f"folder/{name}"]) == 1


def test_a_folder_is_searched_for_what_describes_containers(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What else lies there is passed over, and so it is with a glob."""
    (place / "folder").mkdir()
    for name, text in (("a.yaml", "a: [b"), ("b.yaml", ""), ("values.yaml", "image: x\n")):
        (place / "folder" / name).write_text(text)
    for path in ("folder", "folder/*.yaml"):
        assert main(["audit", path]) == 0
        assert capsys.readouterr().out == "0 findings; 0 containers in 3 inputs\n"


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


def test_a_baseline_takes_no_pipe_or_links_place(place: Path) -> None:
    """What a user names may be a device, which root could replace by a file; it is written to."""
    os.mkfifo("pipe")
    with open(os.open("pipe", os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        assert main(["audit", "bad.yaml", "--write-baseline", "pipe"]) == 1
        assert b"lithify.dev/audit-baseline/v1" in reader.read()
    assert place.joinpath("pipe").is_fifo()
    place.joinpath("link").symlink_to("b.json")
    assert main(["audit", "bad.yaml", "--write-baseline", "link"]) == 1
    assert place.joinpath("link").is_symlink()
    assert main(["audit", "bad.yaml", "--baseline", "b.json"]) == 0


def test_a_baseline_round(capsys: pytest.CaptureFixture[str]) -> None:
    """Written once, it lets the same findings pass, and shows them as exempted."""
    words = ["--write-baseline", "b.json", "--reason", "old", "--owner", "ops", "--until", "2999-12-31"]
    assert main(["audit", "bad.yaml", *words]) == 1
    assert main(["audit", "bad.yaml", "--baseline", "b.json"]) == 0
    told = capsys.readouterr().out
    assert "bad.yaml:5:5: exempted: " in told
    assert "(old, owner ops, until 2999-12-31)" in told
    assert told.endswith("1 container in 1 input, 1 with a writable root filesystem, 5 exempted\n")


@pytest.mark.parametrize(
    ("words", "environment", "colored"),
    [
        ([], {}, False),  # no terminal
        ([], {"FORCE_COLOR": "1"}, True),
        ([], {"FORCE_COLOR": "0"}, True),  # whatever its value, says force-color.org
        ([], {"FORCE_COLOR": ""}, False),
        ([], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (["--color", "never"], {"FORCE_COLOR": "1"}, False),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
    ],
)
def test_colour_is_what_the_environment_and_the_user_want(
    words: list[str],
    environment: dict[str, str],
    colored: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """On standard output; a file is never coloured."""
    path, report = tmp_path / "compose.yaml", tmp_path / "report.txt"
    path.write_text("services: {web: {image: nginx}}\n")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    text = ["--format", "text", "--output"]
    assert main(["audit", "--no-cache", *words, *text, "-", *text, str(report), str(path)]) == 1
    assert ("\x1b[31mhigh" in capfd.readouterr().out, "\x1b" in report.read_text()) == (colored, False)


def test_a_report_is_merged_from_a_pipe(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`lithify report merge <(ssh host ...)`: what is in it can be read once."""
    path, report = tmp_path / "compose.yaml", tmp_path / "report.json"
    path.write_text("services: {web: {image: nginx}}\n")
    assert main(["audit", "--no-cache", "--format", "json", "--output", str(report), str(path)]) == 1
    assert main(["report", "merge", str(report)]) == 1
    of_file = capfd.readouterr().out
    reading, writing = os.pipe()
    with open(writing, "wb") as pipe:  # what it holds at once is more than this report
        pipe.write(report.read_bytes())
    assert main(["report", "merge", f"/dev/fd/{reading}"]) == 1
    os.close(reading)
    assert capfd.readouterr().out == of_file != ""


def test_a_file_that_is_no_report_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    report, other = tmp_path / "report.json", tmp_path / "other.json"
    assert main(["audit", "--format", "json", "--output", str(report), "bad.yaml"]) == 1
    other.write_text("[]")
    assert main(["report", "merge", str(report), str(other), str(report)]) == 2
    assert capfd.readouterr().err.startswith(f"error: {other} can't be merged: ")

"""What a distribution of somebody else adds to `audit`: one that is installed into a directory of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CASE = Path(__file__).parents[2] / "cases" / "extension"
MANIFEST = (
    "kind: Pod\nspec:\n  containers:\n  - {name: a, image: nginx}\n  - {name: b, image: registry.acme.example/b}\n"
)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The example, as an installer leaves it, in a directory of the module search path."""
    return Path(shutil.copytree(CASE, tmp_path / "site"))


def audit(site: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    inherited = os.environ.get("PYTHONPATH", "")
    environment = {**os.environ, "PYTHONPATH": f"{site}:{inherited}", "XDG_CACHE_HOME": str(cwd / "cache")}
    command = [sys.executable, "-m", "lithify.cli.main", "audit", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


def test_a_rule_a_source_and_a_report_of_others_are_used(installed: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "pod.yaml").write_text(MANIFEST)
    (work / "shop.job").write_text("task till registry.acme.example/till rw\ntask web nginx ro\n")
    outputs = ["--format=csv", "--output=-", "--format=json", "--output=all.json"]
    run = audit(installed, ".", "--rule=image-from-our-registry", "--rule=writable-root-filesystem", *outputs, cwd=work)
    assert run.returncode == 1, run.stderr
    assert run.stdout.splitlines() == [
        "pod.yaml,4,writable-root-filesystem",
        "pod.yaml,4,image-from-our-registry",
        "pod.yaml,5,writable-root-filesystem",
        "shop.job,1,writable-root-filesystem",
        "shop.job,2,image-from-our-registry",
    ]
    report = json.loads((work / "all.json").read_text())
    assert {"image-from-our-registry"} == {rule["name"] for rule in report["rules"] if rule["ids"].get("ACME")}
    run = audit(installed, "--explain", "image-from-our-registry", cwd=work)
    assert "scanned and signed" in run.stdout
    assert not (work / "cache" / "lithify").exists()


@pytest.mark.parametrize(
    ("file", "change", "words", "told"),
    [
        ("registry.py", "RULE = 1", (), "has no RULE"),
        ("registry.py", "import nosuchmodule", (), "can't be loaded: ModuleNotFoundError"),
        ("registry.py", 'RULE.name = "runs-as-root"', (), "takes the name 'runs-as-root'"),
        ("registry.py", "def check(workload):\n    yield 1 / 0", (), "failed: ZeroDivisionError"),
        ("nomad.py", "SUFFIXES = 1", (), "has no SUFFIXES"),
        ("csv.py", "render = 1", ("--format=csv",), "has no render"),
    ],
)
def test_what_does_not_fit_is_told_with_whose_it_is(
    installed: Path, tmp_path: Path, file: str, change: str, words: tuple[str, ...], told: str
) -> None:
    with (installed / "acme_lithify" / file).open("a") as text:
        text.write(f"\n{change}\n")
    (tmp_path / "pod.yaml").write_text(MANIFEST)
    run = audit(installed, "pod.yaml", *words, cwd=tmp_path)
    assert run.returncode == 2, run.stdout
    assert told in run.stderr
    assert "acme-lithify 1.0" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_source_that_fails_on_a_file_ends_no_run(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.job").write_text("nonsense\n")
    (tmp_path / "pod.yaml").write_text(MANIFEST)
    run = audit(installed, "bad.job", "pod.yaml", cwd=tmp_path)
    assert run.returncode == 1
    assert "bad.job: high: can't be read: acme-lithify 1.0 failed on it: ValueError" in run.stdout
    assert "pod.yaml:4" in run.stdout


def test_an_unknown_format_names_all_there_are(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(MANIFEST)
    run = audit(installed, "pod.yaml", "--format=xml", cwd=tmp_path)
    assert run.returncode == 2
    assert "policyreport, csv" in run.stderr

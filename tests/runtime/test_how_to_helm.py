"""docs/how-to/helm.md: its files and its commands, as they stand there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.patch.programs import on_path, program

from lithify.documents.yaml import read_documents
from lithify.patch.pods import pods_of, read_objects

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "helm.md"
_BLOCK = re.compile(r"(?:^`([^`\n]+)`\n\n)?^```(\w+)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker_nginx: str) -> None:
    on_path(monkeypatch, "helm", "kustomize")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LITHIFY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HELM_DATA_HOME", str(tmp_path / "helm"))
    subprocess.run(["docker", "tag", docker_nginx, "shop/web:1"], check=True)
    try:
        _follow(tmp_path)
    finally:
        subprocess.run(["docker", "rmi", "shop/web:1"], check=True, capture_output=True)


def _follow(folder: Path) -> None:
    installed = 0
    for name, kind, mark, text in _BLOCK.findall(PAGE.read_text()):
        path = folder / name
        if kind == "yaml" and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            assert "{{" in text or list(read_documents(text.encode()))
        elif kind == "yaml":
            assert path.read_text() == text, name
        else:
            for line in text.splitlines():
                installed += _run(line, mark)
    assert installed == 2
    assert not list((folder / "chart" / "lithify-shop").glob("values.yaml"))
    assert (folder / "chart" / "lithify-shop" / "post-render").exists()


def _run(line: str, mark: str) -> int:
    """Run a command of the page; what would install is rendered, and has to have everything."""
    words = shlex.split(line)
    if words[0] == "lithify":
        done = subprocess.run(
            [sys.executable, "-m", "lithify.cli.main", *words[1:]], capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        return 0
    helm = program("helm3" if mark == "helm3" else "helm")
    if words[1] != "upgrade":
        subprocess.run([helm, *words[1:]], check=True, capture_output=True, timeout=60)
        return 0
    assert words[1:3] == ["upgrade", "--install"]
    done = subprocess.run([helm, "template", *words[3:]], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    ((_, pod),) = [found for item in read_objects(done.stdout.encode()) for found in pods_of(item)]
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]} >= {"/run", "/var/cache/nginx"}
    return 1

"""`lithify harden --write` on what people keep, and what they keep run for real afterwards."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.unit.patch.programs import on_path, program

from lithify.documents.unit import split_words
from lithify.patch.pods import pods_of, read_objects

LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
"""What Podman sets by itself can't be set by everybody."""


def lithify(*words: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "lithify.cli.main", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == code, done.stdout[-3000:] + done.stderr
    return done.stdout


def stays_up(engine: str, name: str) -> dict[str, object]:
    """Return what the engine says of a container that is still there after a while."""
    time.sleep(2)
    known = json.loads(subprocess.run([engine, "inspect", name], capture_output=True, check=True).stdout)[0]
    assert known["State"]["Running"], known["State"]
    done = subprocess.run([engine, "exec", name, "touch", "/usr/x"], capture_output=True, text=True)
    assert "Read-only file system" in done.stderr
    subprocess.run([engine, "exec", name, "touch", "/run/x"], check=True)
    return dict(known["HostConfig"])


def test_a_script_starts_the_same_container_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker_nginx: str
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "lithify-test-formats"
    before = f"""\
#!/bin/sh
set -e
IMAGE={docker_nginx}   # the shop
docker rm -f {name} >/dev/null 2>&1 || true
docker run -d --name {name} \\
  -e "GREETING=${{GREETING:-good day}}" \\
  $IMAGE
"""
    path = tmp_path / "run.sh"
    path.write_text(before)
    pages = ("--format", "json", "--output", "plan.json")
    lithify("harden", "run.sh", "--tcp", "80", "--write", "--state-dir", "state", *pages)
    written = path.read_text()
    after = written.splitlines()
    assert [line for line in after if line in before.splitlines()] == before.splitlines()
    try:
        subprocess.run(["sh", "run.sh"], check=True, capture_output=True, timeout=60)
        assert stays_up("docker", name)["ReadonlyRootfs"] is True
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True)
    lithify("patch", "run.sh", "--revert", "--state-dir", "state")
    assert path.read_text() == before
    lithify("patch", "run.sh", "--plan", "plan.json", "--write", "--state-dir", "state")
    assert path.read_text() == written  # the plan that is kept says as much of the image as harden knew


def test_a_unit_works_as_podmans_generator_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, podman_nginx: str
) -> None:
    generator = program("quadlet")
    monkeypatch.chdir(tmp_path)
    name = "lithify-test-formats"
    path = tmp_path / "units" / "shop.container"
    path.parent.mkdir()
    path.write_text(
        f"[Container]\n# ours\nImage={podman_nginx}\nContainerName={name}\n"
        f"GlobalArgs=--runtime=runc --cgroup-manager=cgroupfs\nPodmanArgs={' '.join(LIMITS)}\nEnvironment=A=%%b\n"
    )
    lithify("harden", str(path), "--tcp", "80", "--write", "--state-dir", "state")
    made = subprocess.run(
        [generator, "-dryrun"], env={"QUADLET_UNIT_DIRS": str(path.parent)}, capture_output=True, text=True, timeout=30
    )
    started = next(line for line in made.stdout.splitlines() if line.startswith("ExecStart="))
    # what needs a service manager: its cgroup, its socket, its run-time directory
    words = [
        word.replace("%%", "%")
        for word in split_words(started.partition("=")[2])
        if not word.startswith(("--cgroups", "--sdnotify", "--cidfile"))
    ]
    try:
        subprocess.run(words, check=True, capture_output=True, timeout=60)
        assert stays_up("podman", name)["ReadonlyRootfs"] is True
        shown = subprocess.run(["podman", "exec", name, "env"], capture_output=True, text=True).stdout
        assert "A=%b\n" in shown
    finally:
        subprocess.run(["podman", "rm", "--force", "--volumes", name], capture_output=True)


def test_a_kustomization_builds_pods_that_are_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker_nginx: str
) -> None:
    on_path(monkeypatch, "kustomize")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "overlay"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text("resources: [pod.yaml]   # ours\nnamePrefix: shop-\n")
    (folder / "pod.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n"
        f"  - {{name: web, image: {docker_nginx}, imagePullPolicy: Never, ports: [{{containerPort: 80}}]}}\n"
    )
    page = lithify("harden", "overlay", "--tcp", "80", "--write", "--state-dir", "state")
    assert "proved, alone and beside the others" in page
    built = subprocess.run(["kustomize", "build", "overlay"], capture_output=True, check=True, timeout=60).stdout
    ((_, pod),) = [found for item in read_objects(built) for found in pods_of(item)]
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    lithify("patch", "overlay", "--revert", "--state-dir", "state")
    assert sorted(path.name for path in folder.iterdir()) == ["kustomization.yaml", "pod.yaml"]


def test_a_script_that_only_a_shell_knows_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "run.sh"
    path.write_text("docker run $OPTIONS web:1\n")
    command = [sys.executable, "-m", "lithify.cli.main", "harden", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "may stand for any number of words" in done.stderr

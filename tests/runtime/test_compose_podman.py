"""A Compose project on Podman: `podman compose` hands over to Docker's program, which speaks to Podman's socket."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.cluster.node import NodeUnavailable, find_programs
from tests.runtime.hardening import Lithify, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="views of volumes need root")

# What Podman has as a command of its own since 4.7.
CONTAINERS_CONF = Path(__file__).parents[2] / "bench" / "services" / "containers.conf"
PODMAN = """\
#!/bin/sh
if [ "$1" = compose ]; then
  shift
  DOCKER_HOST=unix://{socket} exec {compose} "$@"
fi
exec {podman} "$@"
"""
PROJECT = """\
services:
  app:
    image: {image}
    user: "0"
    command: >-
      sh -c "set -e; cat /data/mine; date > /data/now; date > /var/log/app;
      trap 'exit 0' TERM; while :; do sleep 0.1; done"
    volumes: [data:/data]
    depends_on: [other]
  other:
    image: {image}
volumes:
  data:
"""


@pytest.fixture
def podman(tmp_path: Path, lithify: Lithify) -> Iterator[Path]:
    """A `podman` with `compose`, and the service behind it."""
    program = shutil.which("podman")
    try:
        compose = find_programs("docker-compose") / "docker-compose"
    except NodeUnavailable as reason:
        pytest.skip(str(reason))
    socket = tmp_path / "podman.sock"
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin" / "podman"
    shim.write_text(PODMAN.format(socket=socket, compose=compose, podman=program))
    shim.chmod(0o755)
    # For machines on which limits can't be raised, or both cgroup versions are mounted.
    settings = {"CONTAINERS_CONF": os.environ.get("CONTAINERS_CONF", str(CONTAINERS_CONF))}
    lithify.environment = {"PATH": f"{shim.parent}:{os.environ['PATH']}", **settings}
    service = subprocess.Popen(
        [program or "podman", "system", "service", "--time=0", f"unix://{socket}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, **settings},
    )  # fmt: skip
    try:
        until(socket.exists)
        yield shim
    finally:
        service.terminate()
        service.wait(20)


def test_a_project_is_hardened_on_podman(podman: Path, podman_image: str, lithify: Lithify, tmp_path: Path) -> None:
    folder = tmp_path / "podshop"
    folder.mkdir()
    (folder / "compose.yaml").write_text(PROJECT.format(image=podman_image))
    volume = "podshop_data"
    call(podman, "volume", "create", volume)
    try:
        data = Path(call(podman, "volume", "inspect", volume, "--format", "{{.Mountpoint}}"))
        (data / "mine").write_text("mine")
        before = everything(podman)
        done = lithify.run(
            "harden",
            folder / "compose.yaml",
            "--engine",
            "podman",
            "--service",
            "app",
            "--check-inside",
            "test -e /data/now",
            "--format",
            "json",
            timeout=200,
        )
        assert done.code == 0, done.err + done.out
        assert everything(podman) == before
        assert sorted(os.listdir(data)) == ["mine"]
    finally:
        call(podman, "volume", "rm", "--force", volume)
    app = yaml.safe_load(done.json()["text"])["services"]["app"]
    assert app["read_only"] is True
    places = [entry.partition(":")[0] for entry in app.get("tmpfs", ())]
    places += [entry.rpartition(":")[2] for entry in app["volumes"]]
    assert "/var/log" in places
    assert "data:/data" in app["volumes"]


def call(podman: Path, *words: str) -> str:
    done = subprocess.run([podman, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def everything(podman: Path) -> list[list[str]]:
    """Return the containers, volumes and networks that there are."""
    questions = (("ps", "--all", "--quiet"), ("volume", "ls", "--quiet"), ("network", "ls", "--quiet"))
    return [sorted(call(podman, *words).split()) for words in questions]

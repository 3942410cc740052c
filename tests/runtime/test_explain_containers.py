"""`lithify explain` on the log of a container that an engine runs: its mounts and working directory are known."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lithify

# `podman logs` (4.3) mixes up what comes in pieces of a line: each complaint is written in one
SCRIPT = """
cd /srv/pipe
for command in '(echo x > out)' 'touch /conf/x' 'mkdir /var/cache/app/new'; do
    said=$(eval "$command" 2>&1)
    echo "$said" >&2
done
echo "OSError: [Errno 30] Read-only file system: '/vol/x'" >&2
exec sleep 1000
"""
EXTRA = {"docker": [], "podman": ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]}
GLOBAL = {"docker": [], "podman": ["--runtime", "runc", "--cgroup-manager", "cgroupfs"]}


@pytest.fixture(params=["docker", "podman"])
def container(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A container whose root is read-only and whose program tries to write, as (engine, name)."""
    engine = request.param
    image = request.getfixturevalue(f"{engine}_image")
    name = f"lithify-test-explain-{os.getpid()}"
    (tmp_path / "conf").mkdir()
    run = [
        engine, *GLOBAL[engine], "run", *EXTRA[engine], "-d", "--name", name, "--read-only", "--user", "0", "-w",
        "/srv",
        "-v", f"{tmp_path}/conf:/conf:ro", "--tmpfs", "/vol", image, "sh", "-c", SCRIPT,
    ]  # fmt: skip
    try:
        subprocess.run(run, check=True, capture_output=True, timeout=120)
        yield engine, name
    finally:
        remove = [engine, *GLOBAL[engine], "rm", "--force", "--volumes", "--time=0"]
        if engine == "docker":
            remove.remove("--time=0")
        subprocess.run([*remove, name], check=True, capture_output=True, timeout=120)


@pytest.mark.parametrize("form", ["prefix", "option"])
def test_a_containers_log_is_explained(container: tuple[str, str], form: str) -> None:
    """Each failed write is told apart by what it met: the root, a read-only mount, a place that should take writes."""
    engine, name = container
    words = [f"{engine}:{name}"] if form == "prefix" else ["--engine", engine, name]
    for _ in range(50):
        done = subprocess.run(
            [sys.executable, "-m", "lithify.cli.main", "explain", *words, "--format", "json"],
            capture_output=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(Path(lithify.__file__).parent.parent)},
            check=False,
        )
        causes = json.loads(done.stdout)["causes"] if done.stdout else []
        if len(causes) == 4:
            break
    assert done.returncode == 0, done.stderr
    found = {cause["place"]: cause["first"]["ground"] for cause in causes}
    assert found == {
        "/srv/pipe/out": "root",
        "/conf/x": "read-only-mount",
        "/var/cache/app/new": "root",
        "/vol/x": "writable-mount",
    }


def test_a_container_that_is_not_there_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lithify.cli.main", "explain", "docker:no-such-container"],
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(lithify.__file__).parent.parent)},
        check=False,
    )
    assert done.returncode in (3, 4)
    assert done.stderr.startswith(b"error: ")

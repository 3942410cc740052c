"""The engines of Debian 13: Docker 26 with containerd's image store, Docker with mapped users, Podman 5."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from tests.runtime.conftest import cached, debootstrap
from tests.runtime.debian13 import NAME, PACKAGES, Machine, machine
from tests.runtime.hardening import APP

IMAGE = f"""
set -e
mkdir -p /image/bin /image/etc /image/run /image/srv /image/tmp /image/var/cache/app /image/var/lib/app /image/var/log
cd /image
cp /bin/busybox bin/
for name in sh mkdir rmdir chown httpd; do ln -s busybox bin/$name; done
echo root:x:0:0::/:/bin/sh >etc/passwd
echo hello >srv/index.html
echo 0 >var/lib/app/status
chmod 1777 tmp
cat >bin/app <<'END'
{APP}END
chmod 755 bin/app
tar -c . >/image.tar
"""
CONFIG = '{"features": {"containerd-snapshotter": true}}'
WRITTEN = {"/run/app.pid", "/var/cache/app", "/var/log/app.log", "/var/lib/app/status"}
PLACES = {"/run", "/var/cache/app", "/var/log", "/var/lib/app"}


@pytest.fixture(scope="module")
def debian13(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine in which nothing runs yet, with the archive of an image."""
    if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
        pytest.skip("needs root and mmdebstrap")
    try:
        tree = cached(NAME, lambda directory: debootstrap(directory, *PACKAGES, suite="trixie"))
    except subprocess.CalledProcessError as failed:
        pytest.skip(f"needs Debian 13's packages, and mmdebstrap ended with code {failed.returncode}")
    with machine(tree, tmp_path_factory.mktemp("debian13") / "data") as up:
        up.ask("sh", "-c", IMAGE)
        yield up


@pytest.fixture(scope="module")
def docker(debian13: Machine) -> Machine:
    """With Docker, its images in containerd's store, and the image `app`."""
    debian13.ask("sh", "-c", "mkdir /etc/docker; cat >/etc/docker/daemon.json", stdin=CONFIG)
    debian13.start("containerd", ready="ctr version")
    debian13.start("dockerd", ready="docker version")
    told = debian13.ask("docker", "info", "--format", "{{.ServerVersion}} {{.Driver}} {{.DriverStatus}}")
    assert "26.1" in told
    assert "io.containerd.snapshotter.v1" in told
    debian13.ask("docker", "import", "--change", 'CMD ["app"]', "/image.tar", "app")
    return debian13


@pytest.fixture
def container(docker: Machine) -> Iterator[str]:
    """A container of the user's that runs, and has written what it writes."""
    docker.ask("docker", "run", "--detach", "--name=web", "app")
    docker.ask("sh", "-c", "until docker exec web busybox pidof httpd; do sleep 0.1; done")
    yield "web"
    docker.ask("docker", "rm", "--force", "web")


def learnt(up: Machine, name: str, host: str = "") -> tuple[dict[str, dict[str, object]], set[str]]:
    """Return the writes that `learn --attach` tells of a container, by path, and their sources."""
    done = up.lithify("learn", "--attach", name, "--no-live", "--format", "json", host=host)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    writes = {write["path"]: write for write in found["writes"]}
    return writes, set(found["observation"]["sources"]) - {"process-table"}


def test_a_stopped_container_of_containerds_store_has_its_layer_read(docker: Machine, container: str) -> None:
    """What only the layer tells, a directory whose entries came and went, is known of one at rest as well."""
    running, sources = learnt(docker, container)
    assert set(running) == WRITTEN
    assert sources == {"upper-layer"}
    assert running["/var/cache/app"]["change"] == "came-and-went"
    docker.ask("docker", "stop", container)
    stopped, sources = learnt(docker, container)
    assert sources == {"upper-layer"}
    assert stopped == running


def test_where_containerd_cannot_be_asked_the_diff_stands_in(docker: Machine, container: str) -> None:
    docker.ask("docker", "stop", container)
    docker.ask("chmod", "0", "/usr/bin/ctr")
    try:
        writes, sources = learnt(docker, container)
    finally:
        docker.ask("chmod", "755", "/usr/bin/ctr")
    assert sources == {"engine-diff"}
    assert "/var/cache/app" not in writes


def test_an_image_of_containerds_store_is_hardened(docker: Machine) -> None:
    before = docker.ask("sh", "-c", "docker ps -aq; docker volume ls -q; docker images -q")
    done = docker.lithify("harden", "docker:app", "--http", "http://localhost/", "--format", "json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert {mount["path"] for mount in found["plan"]["mounts"]} == PLACES
    assert docker.ask("sh", "-c", "docker ps -aq; docker volume ls -q; docker images -q") == before
    for words in (*found["setup"], found["command"]):
        name = docker.ask(*words)
    assert docker.run("docker", "exec", name, "busybox", "touch", "/srv/new").code != 0
    assert "hello" in docker.ask("docker", "exec", name, "busybox", "wget", "-qO-", "http://127.0.0.1/")
    docker.ask("docker", "rm", "--force", "--volumes", name)
    docker.ask("docker", "volume", "rm", "app-var-lib-app")


PODMAN = """
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""
"""What it needs in many virtual machines: its defaults fail on hybrid cgroups, and where limits can't be raised."""
MAPPED = "unix:///run/mapped.sock"
"""Of a second daemon, which has its users mapped; that goes with overlay2 only."""


@pytest.fixture
def mapped(docker: Machine) -> Iterator[Machine]:
    words = (
        "dockerd", "--config-file=/dev/null", "--userns-remap=default", "--containerd-namespace=mapped",
        "--data-root=/var/lib/mapped", "--exec-root=/run/mapped", "--pidfile=/run/mapped.pid", "--bridge=none",
        f"--host={MAPPED}",
    )  # fmt: skip
    docker.start(" ".join(words), ready=f"docker --host {MAPPED} version")
    docker.ask("docker", "--host", MAPPED, "import", "--change", 'CMD ["app"]', "/image.tar", "app")
    yield docker
    docker.ask("sh", "-c", "kill $(cat /run/mapped.pid)")


def test_mapped_users_are_told_as_the_container_has_them(mapped: Machine) -> None:
    engine = ("docker", "--host", MAPPED)
    mapped.ask(*engine, "run", "--detach", "--name=web", "--network=none", "app")
    try:
        mapped.ask("sh", "-c", "until docker --host $0 exec web busybox pidof httpd; do sleep 0.1; done", MAPPED)
        running, sources = learnt(mapped, "web", host=MAPPED)
        assert sources == {"upper-layer"}
        assert set(running) == WRITTEN
        assert {(write["uid"], write["gid"]) for write in running.values()} == {(0, 0), (33, 33)}
        mapped.ask(*engine, "stop", "web")
        stopped, sources = learnt(mapped, "web", host=MAPPED)
        assert sources == {"upper-layer"}
        assert stopped == running
    finally:
        mapped.ask(*engine, "rm", "--force", "web")


def test_an_image_of_podman_5_is_hardened(debian13: Machine) -> None:
    assert "version 5." in debian13.ask("podman", "--version")
    debian13.ask("sh", "-c", "cat >/etc/containers/containers.conf", stdin=PODMAN)
    debian13.ask("podman", "import", "--change", 'CMD ["app"]', "/image.tar", "localhost/app")
    done = debian13.lithify("harden", "podman:localhost/app", "--http", "http://localhost/", "--format", "json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert {mount["path"] for mount in found["plan"]["mounts"]} == PLACES
    assert debian13.ask("podman", "ps", "--all", "--quiet") == ""
    assert debian13.ask("podman", "volume", "ls", "--quiet") == ""

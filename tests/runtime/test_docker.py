"""What only Docker does."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from tests.runtime.conftest import needs
from tests.runtime.hardening import images_removed

from lithify.engines.base import Root
from lithify.engines.command_line.container_line import line_of_container
from lithify.engines.command_line.docker import DockerEngine
from lithify.errors import EngineRefused
from lithify.model.mount import Mount, MountPlan, Seed, StorageKind
from lithify.model.run import Exercise, Target, TargetKind
from lithify.model.writes import RunKey, Source
from lithify.pipeline.learn import base_name, learn
from lithify.pipeline.trial import Trials

LINES = (
    "",
    "-d --restart on-failure:3 --hostname web --user 7:8 -w /tmp -e A=b -e 'C=d e' --stop-signal SIGINT",
    "-it --entrypoint env --init --privileged --read-only",
    "-m 64m --memory-reservation 32m --cpus 0.5 --cpu-shares 512 --pids-limit 50 --shm-size 1m --oom-score-adj 100",
    "--cap-add NET_ADMIN --cap-drop ALL --security-opt no-new-privileges --group-add 44 --ulimit nofile=99:100",
    "-p 127.0.0.1::8080 -p 9090/udp --expose 7 --dns 127.0.0.9 --add-host h:127.0.0.3 --network host",
    "--tmpfs /a:size=1m -v /etc:/b:ro --mount type=bind,src=/usr,dst=/c,readonly --mount type=tmpfs,dst=/d -v /e",
    "--ipc host --pid host --device /dev/null:/dev/other --sysctl net.ipv4.ip_forward=1 --stop-timeout 3",
)
NAMED_LATER = ("Hostname", "Domainname", "Labels", "ContainerIDFile", "Image")


def inspect(kind: str, name: str) -> Any:
    done = subprocess.run(["docker", kind, "inspect", name], capture_output=True, check=True, timeout=60)
    return json.loads(done.stdout)[0]


@pytest.fixture
def made(docker_image: str) -> Iterator[list[str]]:
    """Names of containers, removed at the end."""
    names: list[str] = []
    yield names
    for name in names:
        subprocess.run(["docker", "rm", "-f", "-v", name], capture_output=True, check=False, timeout=60)


@pytest.mark.parametrize("text", LINES)
def test_line_of_a_container_makes_the_same_container(text: str, docker_image: str, made: list[str]) -> None:
    """What `inspect` says of a container is the same for one made by the line that was put together from it."""
    import shlex

    made += ["lithify-test-first", "lithify-test-second"]
    words = ["docker", "create", "--name", made[0], *shlex.split(text), docker_image, "sleep", "7"]
    if "-d" in words:
        words.remove("-d")
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    first = inspect("container", made[0])
    line = line_of_container("docker", first, inspect("image", docker_image)).without("name", "detach")
    again = ["docker", "create", "--name", made[1], *line.option_words, line.image, *line.command]
    subprocess.run(again, check=True, capture_output=True, timeout=60)
    second = inspect("container", made[1])
    for found in (first, second):
        found["Config"]["Env"].sort()  # the daemon keeps it in no order
    for part in ("HostConfig", "Config"):
        differing = {
            key: (first[part][key], second[part][key])
            for key in first[part]
            if first[part][key] != second[part].get(key) and key not in NAMED_LATER
        }
        # a mount of one form may come back in another; what is mounted is compared below
        assert set(differing) <= {"Binds", "Mounts", "Tmpfs", "ExposedPorts", "AttachStdin", "StdinOnce"}, differing
    assert {m["Destination"]: m["RW"] for m in first["Mounts"]} == {m["Destination"]: m["RW"] for m in second["Mounts"]}


def test_mounts_of_another_container_are_not_shared(docker_image: str, made: list[str], tmp_path: Path) -> None:
    """`--volumes-from` brings views, not the other container's storage."""
    (tmp_path / "old").write_text("old")
    made.append("lithify-test-other")
    subprocess.run(
        ["docker", "create", "--name", made[0], "-v", f"{tmp_path}:/new", docker_image], check=True, capture_output=True
    )
    line = ("docker", "run", "--volumes-from", made[0], docker_image)
    engine = DockerEngine()
    container = engine.create(
        Target(kind=TargetKind.LINE, engine="docker", reference=" ".join(line), line=line), root=Root.WRITABLE
    )
    try:
        container.start()
        script = "echo x > /new/x && echo x > /var/lib/store/x && cat /new/old"
        assert container.execute(["sh", "-c", script], user="0").output == b"old"
        assert [entry.name for entry in tmp_path.iterdir()] == ["old"]
        (volume,) = (m for m in inspect("container", made[0])["Mounts"] if m["Type"] == "volume")
        assert list(Path(volume["Source"]).iterdir()) == []
    finally:
        container.remove()


def test_a_seed_of_many_directories_is_a_volume(docker_image: str) -> None:
    """Docker can't fill a tmpfs: what a few of them can't stand for comes from a volume, and that is told."""
    mount = Mount(path=PurePosixPath("/usr/share/perl5"), storage=StorageKind.MEMORY, seed=Seed.CONTENT, size=1 << 20)
    plan = MountPlan(key=RunKey(image="x"), container="x", mounts=(mount,))
    command = DockerEngine().render(Target(kind=TargetKind.IMAGE, engine="docker", reference=docker_image), plan)
    assert any("on disk" in note for note in command.notes)
    assert "type=volume,dst=/usr/share/perl5" in command.command


def test_unknown_user_of_the_image(docker_image: str) -> None:
    """A user that the image does not know is an error before anything is made."""
    line = ("docker", "run", "--user", "nobody-at-all", docker_image)
    target = Target(kind=TargetKind.LINE, engine="docker", reference=" ".join(line), line=line)
    from lithify.errors import InvalidInput

    with pytest.raises(InvalidInput):
        DockerEngine().read_image(target)


def test_volume_of_a_driver(docker_image: str) -> None:
    """A volume that is no plain directory can't be given a view of, and is not handed over."""
    name = "lithify-test-tmpfs"
    options = ["--opt", "type=tmpfs", "--opt", "device=tmpfs"]
    subprocess.run(["docker", "volume", "create", *options, name], check=True, capture_output=True, timeout=60)
    line = ("docker", "run", "-v", f"{name}:/new", docker_image)
    target = Target(kind=TargetKind.LINE, engine="docker", reference=" ".join(line), line=line)
    try:
        with pytest.raises(EngineRefused, match="plain"):
            DockerEngine().create(target, root=Root.WRITABLE)
    finally:
        subprocess.run(["docker", "volume", "rm", name], check=True, capture_output=True, timeout=60)


def test_a_trial_joins_the_users_network_only_when_told_to(docker_image: str) -> None:
    """What is on that network would be used by each trial, and its clients killed."""
    network = f"lithify-test-{os.getpid()}"
    subprocess.run(["docker", "network", "create", network], check=True, capture_output=True, timeout=60)
    line = ("docker", "run", "--network", network, "--network-alias", "web", docker_image)
    target = Target(kind=TargetKind.LINE, engine="docker", reference=" ".join(line), line=line)
    try:
        for wanted, joined in ((target, "bridge"), (replace(target, join_networks=True), network)):
            container = DockerEngine().create(wanted, root=Root.WRITABLE)
            try:
                known = inspect("container", container.name)
                assert set(known["NetworkSettings"]["Networks"]) == {joined}
                assert any(network in told for told in container.cannot_show) == (joined == "bridge")
            finally:
                container.remove()
        assert network in DockerEngine().render(target, MountPlan(key=RunKey(image="x"), container="x")).command
    finally:
        subprocess.run(["docker", "network", "rm", network], check=True, capture_output=True, timeout=60)


@pytest.mark.skipif(os.geteuid() != 0, reason="the kernel tells of names to root only")
def test_names_that_come_and_go_on_an_image_volume_are_seen(docker_image: str) -> None:
    """Nothing is left of them on the volume, but for the directory's time."""
    words = "touch /var/lib/store/passing; rm /var/lib/store/passing; exec sleep 1000"
    line = ("docker", "run", docker_image, "sh", "-c", words)
    target = Target(kind=TargetKind.LINE, engine="docker", reference=" ".join(line), line=line)
    learnt = learn(Trials(engine=DockerEngine(), target=target, exercise=Exercise())).write_set
    found = [write for write in learnt.writes if write.path == PurePosixPath("/var/lib/store")]
    assert [write.names for write in found] == [("passing",)]
    assert Source.LIVE in found[0].evidence


@pytest.mark.parametrize("end", ["", "COPY missing /"])
def test_no_image_is_left_of_a_build(end: str, tmp_path: Path) -> None:
    """As tests build one: neither its stages, nor the steps before the one that failed."""
    needs("docker")
    base = f"localhost/lithify-test-stages:{os.getpid()}"
    subprocess.run(["docker", "import", "-", base], input=bytes(1024), check=True, capture_output=True, timeout=60)
    text = f"FROM {base} AS build\nCOPY file /one\nFROM {base}\nCOPY --from=build /one /two\n{end}\n"
    (tmp_path / "Dockerfile").write_text(text)
    (tmp_path / "file").write_text(str(tmp_path))
    words = ["docker", "build", "--tag=localhost/lithify-test-stages"]
    with images_removed(base) as built:
        done = subprocess.run([*words, f"--iidfile={built}", tmp_path], capture_output=True, text=True, timeout=60)
        assert (done.returncode == 0) == (not end), done.stderr
        made = re.findall(r"^ ---> ([0-9a-f]{12})$", done.stdout, re.MULTILINE)
        made += [built.read_text()] if built.exists() else []
        assert made, "else this test shows nothing"
    for image in made:
        assert subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 1


def test_what_a_run_line_needs_is_called_after_its_container(docker_image: str) -> None:
    """Volumes bear that name: neither the words of the line, nor the image's, which two containers may share."""
    line = ("docker", "run", "-d", "--name=shop_db", docker_image, "sleep", "/srv/1000")
    target = Target(kind=TargetKind.LINE, engine="docker", reference=" ".join(line), line=line)
    assert base_name(target) == "shop_db"
    rest = tuple(word for word in line if not word.startswith("--name"))
    unnamed = replace(target, reference=" ".join(rest), line=rest)
    assert base_name(unnamed) == docker_image.rpartition("/")[2].partition(":")[0]

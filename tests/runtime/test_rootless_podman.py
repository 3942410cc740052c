"""The Podman of an ordinary user: its own namespaces, joined; its layers, read in its containers' ids."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.runtime.hardening import APP, Done
from tests.runtime.test_rootless import Person, person

__all__ = ["person"]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes a user, and so needs root"),
    pytest.mark.skipif(not shutil.which("podman"), reason="needs podman"),
    pytest.mark.skipif(not shutil.which("newuidmap"), reason="needs newuidmap (package uidmap)"),
]

CONFIG = """
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "none"
"""
"""What it needs in many virtual machines: its defaults fail on hybrid cgroups, where limits can't be raised, and where
/dev/net/tun is root's alone."""
WRITTEN = {"/run/app.pid", "/var/cache/app", "/var/log/app.log", "/var/lib/app/status"}


@dataclass(frozen=True)
class Resident:
    """A person whose calls all see the same mounts, as those of one login do."""

    person: Person
    holder: int
    """A process that has these mounts."""

    def call(self, *words: object) -> Done:
        """Run a program as the person."""
        environment = {**self.person.environment, "XDG_RUNTIME_DIR": str(self.person.home / "run")}
        enter = ["nsenter", f"--target={self.holder}", "--mount", f"--wd={self.person.home}", "--"]
        done = subprocess.run(
            [*enter, *map(str, words)],
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def podman(self, *words: object) -> str:
        """Return what Podman says, which has to succeed."""
        done = self.call(*self.person.become, "podman", *words)
        assert done.code == 0, done.err
        return done.out.strip()

    def lithify(self, *words: object) -> Done:
        return self.call(*self.person.start, *words)


@pytest.fixture(scope="module")
def resident(person: Person) -> Iterator[Resident]:
    """The person at home, with an image of Podman's."""
    home, settings = person.home, person.home / ".config/containers"
    settings.mkdir(parents=True)
    (home / "run").mkdir(mode=0o700)
    settings.joinpath("containers.conf").write_text(CONFIG)
    settings.joinpath("storage.conf").write_text('[storage]\ndriver = "overlay"\n')
    subprocess.run(["chown", "--recursive", f"{person.name}:", home], check=True)
    script = f"{person.binds}\necho\nexec sleep 1000000"
    words = ["unshare", "--mount", "--propagation", "private", "bash", "-ec", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            found = Resident(person, holder.pid)
            yield found
            found.podman("system", "migrate")  # ends what keeps its namespaces
        finally:
            holder.kill()


@pytest.fixture(scope="module")
def image(resident: Resident, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not shutil.which("busybox"):
        pytest.skip("needs busybox")
    root = tmp_path_factory.mktemp("image")
    for name in ("bin", "etc", "run", "srv", "tmp", "var/cache/app", "var/lib/app", "var/log"):
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", root / "bin/busybox")
    listed = subprocess.run(["ldd", root / "bin/busybox"], capture_output=True, text=True).stdout
    for library in re.findall(r"/\S+", listed):  # nothing where it is a static one
        (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, root / library[1:])
    for name in ("sh", "mkdir", "rmdir", "chown", "httpd", "touch"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (root / "srv/index.html").write_text("hello\n")
    (root / "var/lib/app/status").write_text("0\n")
    (root / "bin/app").write_text(APP)
    (root / "bin/app").chmod(0o755)
    archive = resident.person.tools / "image.tar"
    subprocess.run(["tar", "-C", root, "--owner=0", "--group=0", "-cf", archive, "."], check=True)
    archive.chmod(0o644)
    resident.podman("import", "--change", 'CMD ["app"]', archive, "localhost/app")
    yield "localhost/app"
    resident.podman("rmi", "--force", "localhost/app")


def test_an_image_of_an_ordinary_users_podman_is_hardened(resident: Resident, image: str) -> None:
    done = resident.lithify("harden", f"podman:{image}", "--http", "http://localhost/", "--format", "json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    writes = {write["path"]: write for write in found["write_set"]["writes"]}
    assert set(writes) == WRITTEN
    assert (writes["/run/app.pid"]["uid"], writes["/var/lib/app/status"]["uid"]) == (0, 33)
    assert {mount["path"] for mount in found["plan"]["mounts"]} == {
        "/run",
        "/var/cache/app",
        "/var/log",
        "/var/lib/app",
    }
    assert any("Podman's user namespace" in told for told in found["verdict"]["cannot_show"])
    assert resident.podman("ps", "--all", "--quiet") == ""
    assert resident.podman("volume", "ls", "--quiet") == ""
    for words in (*found["setup"], found["command"]):
        name = resident.call(*resident.person.become, *words)
        assert name.code == 0, name.err
    try:
        assert resident.call(*resident.person.become, "podman", "exec", name.out.strip(), "touch", "/srv/new").code != 0
    finally:
        resident.podman("rm", "--force", "--volumes", "--time=0", name.out.strip())
        resident.podman("volume", "prune", "--force")


def test_a_container_of_an_ordinary_users_podman_is_looked_at(resident: Resident, image: str) -> None:
    """Running and stopped, by its name; it is not touched."""
    resident.podman("run", "--detach", "--name=web", image)
    try:
        resident.podman("exec", "web", "sh", "-c", "until busybox pidof httpd; do busybox sleep 0.1; done")
        running = learnt(resident)
        resident.podman("stop", "web")
        assert learnt(resident) == running
        assert set(running) == WRITTEN
        assert running["/var/cache/app"]["change"] == "came-and-went"
        assert running["/var/lib/app/status"]["uid"] == 33
    finally:
        resident.podman("rm", "--force", "--time=0", "web")


def learnt(resident: Resident) -> dict[str, dict[str, object]]:
    done = resident.lithify("learn", "--attach", "web", "--engine", "podman", "--format", "json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert "upper-layer" in found["observation"]["sources"]
    return {write["path"]: write for write in found["writes"]}


def test_several_containers_together_are_refused(resident: Resident, image: str) -> None:
    """Those of a pod are looked after by their addresses."""
    container = {"name": "app", "image": image}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}, "spec": {"containers": [container]}}
    manifest = resident.person.tools / "pod.json"
    manifest.write_text(json.dumps(pod))
    done = resident.lithify("harden", manifest, "--engine", "podman")
    assert done.code == 4, done.out
    message, hint = done.error()
    assert "address" in message
    assert "sudo" in hint

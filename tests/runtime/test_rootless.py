"""The bundle engine for an ordinary user, made for these tests: everything through a real user namespace."""

import json
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.runtime.hardening import Done, Images, until

import lithify

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes a user, and so needs root"),
    pytest.mark.skipif(not shutil.which("newuidmap"), reason="needs newuidmap (package uidmap)"),
]

RUNTIMES = [
    pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"needs {name}"))
    for name in ("runc", "crun")
]
APP = """
echo started >>/var/log/app.log
mkdir -p /var/lib/app/session; rmdir /var/lib/app/session
chown 33:33 /var/lib/app
setpriv --reuid 33 --regid 33 --clear-groups touch /var/lib/app/of-33
trap 'exit 0' TERM
sleep 1000 & wait
"""


@dataclass(frozen=True)
class Person:
    """An ordinary user, and how lithify is called as that user: what it needs of ours is mounted where it may look."""

    name: str
    home: Path
    tools: Path

    def command(self, *words: object, before: str = "") -> list[str]:
        """Return the command that runs lithify as this user; `before` is done as root just before."""
        start = f'{self.binds}{before}\ncd / && exec {shlex.join(self.start)} "$@"'
        return ["unshare", "--mount", "--propagation", "private", "bash", "-ec", start, "lithify", *map(str, words)]

    @property
    def binds(self) -> str:
        """The commands that bring what lithify needs to where this user may look."""
        parts = (
            ("python", sys.base_prefix), ("site", sysconfig.get_path("purelib")),
            ("source", str(Path(lithify.__file__).parent.parent)),
        )  # fmt: skip
        return "".join(f"mount --bind {source} {self.tools}/{name}\n" for name, source in parts)

    @property
    def become(self) -> list[str]:
        return ["setpriv", "--reuid", self.name, "--regid", self.name, "--init-groups"]

    @property
    def start(self) -> list[str]:
        python = f"{self.tools}/python/bin/{Path(os.path.realpath(sys.executable)).name}"
        return [*self.become, python, "-m", "lithify.cli.main"]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200",
            "PYTHONPATH": f"{self.tools}/source:{self.tools}/site", "LD_LIBRARY_PATH": f"{self.tools}/python/lib",
        }  # fmt: skip

    def lithify(self, *words: object, before: str = "", **environment: str) -> Done:
        done = subprocess.run(
            self.command(*words, before=before),
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
            env={**self.environment, **environment},
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.become, *map(str, words)], capture_output=True, text=True, timeout=60, cwd="/", env=self.environment
        )

    @property
    def state(self) -> Path:
        return self.home / ".local/state/lithify"

    def processes(self) -> list[str]:
        """Return what runs as this user or as one of its subordinate ids."""
        first = next(line.split(":") for line in Path("/etc/subuid").read_text().splitlines() if self.name in line)
        ours = {self.uid, *range(int(first[1]), int(first[1]) + int(first[2]))}
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if path.stat().st_uid in ours:
                    found.append(path.joinpath("cmdline").read_text())
            except (OSError, ValueError):
                continue
        return found

    @property
    def uid(self) -> int:
        return pwd.getpwnam(self.name).pw_uid

    def own(self, rootfs: Path) -> Path:
        """Return a copy of a root filesystem that this user unpacked, and so owns."""
        target = self.home / rootfs.name
        archive = self.home / "rootfs.tar"
        subprocess.run(["tar", "-C", rootfs, "-cf", archive, "--exclude=./dev", "."], check=True)
        archive.chmod(0o644)
        done = self.run("sh", "-c", f"mkdir {target} && tar -C {target} -xf {archive}")
        assert done.returncode == 0, done.stderr
        archive.unlink()
        return target


@pytest.fixture(scope="module")
def person() -> Iterator[Person]:
    """A new user with the ranges of subordinate ids that useradd gives."""
    base = Path(
        subprocess.run(
            ["mktemp", "-d", "/var/tmp/lithify-XXXXXX"], check=True, capture_output=True, text=True
        ).stdout.strip()
    )
    base.chmod(0o755)
    name = f"lithify{os.getpid()}"
    subprocess.run(["useradd", "--create-home", "--home-dir", base / "home", "--shell", "/bin/sh", name], check=True)
    for part in ("python", "site", "source"):
        (base / "tools" / part).mkdir(parents=True)
    someone = Person(name=name, home=base / "home", tools=base / "tools")
    try:
        if name not in Path("/etc/subuid").read_text():
            pytest.skip("useradd gives no subordinate ids here")
        yield someone
        until(lambda: someone.processes() == [])
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)
        shutil.rmtree(base)


@pytest.fixture
def image(images: Images, person: Person) -> Iterator[Path]:
    """A root filesystem of root's, in reach of everybody."""
    made = images.make(APP, {"var/lib/app": None, "etc/secret": "none of your business\n"})
    made.joinpath("etc/secret").chmod(0o600)
    public = person.tools / "image"
    subprocess.run(["cp", "-a", made, public], check=True)
    yield public
    shutil.rmtree(public)


@pytest.fixture
def mine(image: Path, person: Person) -> Iterator[Path]:
    owned = person.own(image)
    yield owned
    shutil.rmtree(owned)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_root_filesystem_of_ones_own_is_hardened(person: Person, mine: Path, runtime: str) -> None:
    done = person.lithify(
        "harden", mine, "--runtime", runtime, "--format", "json",
        "--check", 'test -e "/proc/$LITHIFY_PID/root/var/lib/app/of-33"', "--", "app",
    )  # fmt: skip
    assert done.code == 0, done.err + done.out
    found = done.json()
    writes = {write["path"]: write for write in found["write_set"]["writes"]}
    assert writes["/var/lib/app/of-33"]["uid"] == 33, "the layer's ids are the container's"
    assert writes["/var/lib/app/of-33"]["gid"] == 33
    assert {mount["path"] for mount in found["plan"]["mounts"]} == {"/var/lib/app", "/var/log"}
    assert any("user namespace" in told for told in found["verdict"]["cannot_show"])
    # the command is one for this user, started where this user is
    run = subprocess.Popen(
        [*person.become, *found["command"]],
        cwd="/", env=person.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    bundle = Path(found["command"][found["command"].index("--bundle") + 1])
    try:
        until(lambda: list(bundle.glob("**/of-33")) or run.poll() is not None)
        assert run.poll() is None
    finally:
        program = [*found["command"][:3], "kill", found["command"][-1], "KILL"]
        person.run(*program)
        run.wait(10)
        person.run(*found["command"][:3], "delete", "--force", found["command"][-1])
    assert list(person.state.glob("runs/*")) == []


def test_one_that_belongs_to_root_is_copied_and_what_is_missing_named(person: Person, image: Path) -> None:
    done = person.lithify("learn", image, "--format", "json", "--", "app")
    assert done.code == 0, done.err
    writes = {write["path"]: write for write in done.json()["writes"]}
    assert writes["/var/lib/app/of-33"]["uid"] == 33
    assert writes["/var/log/app.log"]["uid"] == 0
    copies = [path for path in person.state.glob("images/*") if not path.name.startswith(".")]
    assert len(copies) == 1
    assert copies[0].joinpath("etc/secret").stat().st_size == 0
    assert copies[0].joinpath("usr/bin/env").stat().st_uid == person.uid
    proved = person.lithify("harden", image, "--check", "kill -0 $LITHIFY_PID", "--", "app")
    assert proved.code == 0, proved.err + proved.out
    assert "/etc/secret" in proved.out
    assert image.joinpath("etc/secret").read_text() == "none of your business\n"


def test_an_image_file_is_unpacked_with_its_owners(person: Person, image: Path, tmp_path: Path) -> None:
    if not shutil.which("skopeo"):
        pytest.skip("needs skopeo")
    layer = tmp_path / "layer.tar"
    with tarfile.open(layer, "w") as tar:
        tar.add(image, ".", filter=lambda m: None if m.name == "./dev" else m)
    config = {
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["app"], "User": "0"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer)}"]},
    }  # fmt: skip
    tmp_path.joinpath("config.json").write_text(json.dumps(config))
    manifest = [{"Config": "config.json", "RepoTags": ["test/app:1"], "Layers": ["layer.tar"]}]
    tmp_path.joinpath("manifest.json").write_text(json.dumps(manifest))
    archive = person.tools / "app.tar"
    with tarfile.open(archive, "w") as tar:
        for name in ("manifest.json", "config.json", "layer.tar"):
            tar.add(tmp_path / name, name)
    done = person.lithify("learn", archive, "--format", "json")
    archive.unlink()
    assert done.code == 0, done.err
    writes = {write["path"]: write for write in done.json()["writes"]}
    assert writes["/var/lib/app/of-33"]["uid"] == 33


def test_what_a_killed_run_left_is_swept_from_outside(person: Person, mine: Path) -> None:
    process = subprocess.Popen(
        person.command("learn", mine, "--for", "60s", "--", "app"), env=person.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until(lambda: [line for line in person.processes() if "/usr/local/bin/app" in line], 30)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    time.sleep(0.2)
    assert [line for line in person.processes() if "/usr/local/bin/app" in line], "the container outlives lithify"
    done = person.lithify("learn", mine, "--", "app")
    assert done.code == 0, done.err
    assert list(person.state.glob("runs/*")) == []
    until(lambda: person.processes() == [])


@pytest.mark.parametrize(
    ("before", "told", "hint"),
    [
        ("mount --bind /dev/null /etc/subuid", "/etc/subuid gives", "usermod --add-subuids"),
        ("mount --bind /dev/null /etc/subgid", "/etc/subgid gives", "usermod --add-subuids"),
    ],
)  # fmt: skip
def test_without_ids_it_says_what_it_needs(person: Person, mine: Path, before: str, told: str, hint: str) -> None:
    done = person.lithify("learn", mine, "--", "app", before=before)
    assert done.code == 4, done.out
    message, advice = done.error()
    assert told in message
    assert hint in advice
    assert person.name in advice


def test_where_user_namespaces_are_off_it_names_the_setting(person: Person, mine: Path) -> None:
    command = person.command("learn", mine, "--", "app", before="echo 0 >/proc/sys/user/max_user_namespaces")
    # the setting is one of the user namespace that it is written in: not that of the host
    words = ["unshare", "--user", "sh", "-c", 'read -r _ && exec "$@"', "sh", *command]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=person.environment) as inside:
        until(lambda: os.readlink(f"/proc/{inside.pid}/ns/user") != os.readlink("/proc/self/ns/user"))
        for kind in ("uid", "gid"):
            Path(f"/proc/{inside.pid}/{kind}_map").write_text("0 0 4294967295")
        told = inside.communicate(b"\n", timeout=60)[1].decode()
    assert inside.returncode == 4, told
    assert "user.max_user_namespaces" in told


def test_without_newuidmap_it_names_the_package(person: Person, mine: Path) -> None:
    done = person.lithify("learn", mine, "--", "app", before="mount --bind /dev/null $(command -v newuidmap)")
    assert done.code == 4, done.out
    assert "apt-get install uidmap" in done.error()[1]


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()

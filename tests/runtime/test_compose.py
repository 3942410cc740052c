"""`lithify harden compose.yaml`: real projects, run by Docker's own Compose, beside the user's that goes on running."""

import difflib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from tests.cluster.node import NodeUnavailable, find_programs
from tests.runtime.conftest import cached, debootstrap
from tests.runtime.hardening import Daemon, Done, Lithify, Terminal, until

from lithify.model.image import ImageFacts
from lithify.model.mount import Mount, MountPlan, StorageKind
from lithify.model.patch import Planned
from lithify.model.writes import RunKey
from lithify.patch.compose import patch

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a Docker of our own needs root")

STAY = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


@dataclass
class Compose:
    """A folder with a Compose file, and the Docker that it is for."""

    folder: Path
    docker: Daemon
    lithify: Lithify

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.lithify.environment}

    @property
    def file(self) -> Path:
        return self.folder / "compose.yaml"

    def write(self, text: str, **files: str) -> None:
        self.file.write_text(text)
        for name, content in files.items():
            (self.folder / name).write_text(content)

    def compose(self, *words: str, text: str | None = None) -> str:
        """Run Compose as the user does, on the file or on `text` in its place."""
        start = ["docker", "compose", *(["--file", "-"] if text is not None else [])]
        done = subprocess.run(
            [*start, *words],
            cwd=self.folder,
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def config(self, text: str) -> dict[str, Any]:
        """Return what Compose makes of a file."""
        found = json.loads(self.compose("config", "--format", "json", text=text))
        assert isinstance(found, dict)
        return found

    def harden(self, *words: str) -> Done:
        return self.lithify.run("harden", self.file, *words, timeout=200)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A client configuration of Docker that has the Compose plugin."""
    try:
        program = find_programs("docker-compose") / "docker-compose"
    except NodeUnavailable as reason:
        pytest.skip(str(reason))
    folder = tmp_path_factory.mktemp("client")
    (folder / "cli-plugins").mkdir()
    (folder / "cli-plugins" / "docker-compose").symlink_to(program)
    return folder


@pytest.fixture(scope="module")
def docker(own_docker: Daemon, lean_rootfs: Path) -> Daemon:
    """A Docker with two images: `services` has nginx and redis, `lean` nothing but a shell."""

    def build(directory: Path) -> None:
        debootstrap(directory, "nginx-light", "redis-server")
        (directory / "srv/volume").mkdir(parents=True)
        (directory / "srv/volume/shipped").write_text("shipped")

    for name, rootfs in (("services", cached("observe-nginx-redis", build)), ("lean", lean_rootfs)):
        with subprocess.Popen(["tar", "-C", rootfs, "-c", "."], stdout=subprocess.PIPE) as archive:
            own_docker.ask_with(archive.stdout, "import", "-", f"{name}:1")
    return own_docker


@pytest.fixture
def compose(docker: Daemon, plugin: Path, lithify: Lithify, tmp_path: Path) -> Iterator[Compose]:
    """A folder for a project; whatever is in the engine afterwards was there before, or is the user's project."""
    lithify.environment = {"DOCKER_HOST": docker.host, "DOCKER_CONFIG": str(plugin)}
    lithify.enter = docker.enter
    folder = tmp_path / "shop"
    folder.mkdir()
    before = docker.everything()
    found = Compose(folder, docker, lithify)
    yield found
    if found.file.exists():
        subprocess.run(
            ["docker", "compose", "down", "--volumes", "--timeout", "0"],
            cwd=folder, env=found.environment, capture_output=True, check=False, timeout=60,
        )  # fmt: skip
    assert docker.everything() == before


SHOP = """\
# The shop: a page, and what it counts in.
services:
  page:
    image: services:${TAG}   # from .env
    command: [nginx, -g, daemon off;]
    ports:
      - "${PORT:-18080}:80"
    depends_on:
      counter: {condition: service_healthy}

  counter:
    image: "services:${TAG}"
    command: [redis-server, --dir, /data, --save, "60 1", --protected-mode, "no"]
    container_name: the-counter
    restart: always
    volumes:
      - counted:/data
    healthcheck:
      test: [CMD, redis-cli, ping]
      interval: 1s

volumes:
  counted:
"""


def test_a_real_project_is_hardened_beside_itself(compose: Compose) -> None:
    """nginx and redis, published and named, while the very project runs: it goes on, its data stay, the patch works."""
    compose.write(SHOP, **{".env": "TAG=1\n"})
    compose.compose("up", "--detach", "--wait")
    compose.docker.ask("exec", "the-counter", "redis-cli", "set", "sold", "42")
    compose.docker.ask("exec", "the-counter", "redis-cli", "save")
    before, files = compose.docker.everything(), _contents(compose)
    done = compose.harden("--http", "http://localhost:18080/", "--format", "json")
    assert done.code == 0, done.err + done.out
    assert compose.docker.everything() == before
    assert _contents(compose) == files
    assert compose.file.read_text() == SHOP
    result = done.json()
    assert [member["name"] for member in result["members"]] == ["counter", "page"]
    patched = result["text"]
    assert not [line for line in difflib.ndiff(SHOP.splitlines(), patched.splitlines()) if line.startswith("- ")]
    services = compose.config(patched)["services"]
    assert all(service["read_only"] for service in services.values())
    assert {entry.partition(":")[0] for entry in services["page"]["tmpfs"]} >= {"/run"}
    assert "tmpfs" not in services["counter"]

    compose.compose("down")
    compose.file.write_text(patched)
    compose.compose("up", "--detach", "--wait")
    address = compose.docker.ask(
        "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "shop-page-1"
    )
    page = subprocess.run([*compose.docker.enter, "python3", "-c", _GET, address], capture_output=True, timeout=30)
    assert b"Welcome to nginx" in page.stdout
    assert compose.docker.ask("exec", "the-counter", "redis-cli", "get", "sold") == "42"
    refused = compose.docker.call("exec", "shop-page-1", "touch", "/usr/x")
    assert "Read-only file system" in refused.stderr


_GET = "import sys, urllib.request; print(urllib.request.urlopen(f'http://{sys.argv[1]}/').read().decode())"

SHARED = f"""\
x-own: &own
  tmpfs: [/run]
services:
  base:
    image: lean:1
    profiles: [never]
    environment: {{GREETING: "a$$b"}}
  writer:
    extends: base
    profiles: !reset []
    command: ["sh", "-c", "set -e; echo $$GREETING > /shared/said; date > /tmp/now; {STAY}"]
    volumes: [both:/shared, ./kept:/kept]
  reader:
    <<: *own
    image: lean:1
    command: sh -c "set -e; until test -e /shared/said; do sleep 0.1; done; date > /tmp/now; {STAY}"
    volumes:
      - both:/shared
    depends_on: [writer]
    secrets: [word]
volumes: {{both: {{}}}}
secrets: {{word: {{file: ./word}}}}
"""


def test_services_that_share_a_volume_and_what_a_merge_key_says(compose: Compose) -> None:
    """A view of a volume is one for all who mount it; a service of a merge key is refused, with what to do by hand."""
    compose.write(SHARED, word="secret\n")
    (compose.folder / "kept").mkdir()
    (compose.folder / "kept" / "mine").write_text("mine")
    done = compose.harden("--check-inside", "grep -qxF 'a$b' /shared/said", "--format", "json")
    result = done.json()
    members = {member["name"]: member for member in result["members"]}
    assert members.keys() == {"writer", "reader"}
    for name, member in members.items():
        assert member["hardening"], (name, member["trouble"])
        assert [mount["path"] for mount in member["hardening"]["plan"]["mounts"]] == ["/tmp"]
    (refused,) = result["refused"]
    assert refused["container"] == "reader"
    assert "comes from a merge key" in refused["reason"]
    assert done.code == 1  # the file does not hold all that was proved
    services = compose.config(result["text"])["services"]
    assert services["writer"]["read_only"] is True
    assert "read_only" not in services["reader"]
    (compose.folder / "compose.override.yaml").write_text(refused["by_hand"])
    compose.file.write_text(result["text"])
    both = json.loads(compose.compose("config", "--format", "json"))["services"]["reader"]
    assert both["read_only"] is True
    assert [entry.partition(":")[0] for entry in both["tmpfs"]] == ["/run", "/tmp"]
    assert os.listdir(compose.folder / "kept") == ["mine"]
    again = compose.harden("--check-inside", "true", "--format", "json", "--service", "reader")
    assert again.json()["members"][0]["hardening"]["plan"]["mounts"] == []


SPREAD = {
    "compose.yaml": """\
# What is ours.
include:
  - db/compose.yaml   # theirs
services:
  web:
    extends: {file: base.yaml, service: base}
    depends_on: [db]
""",
    "base.yaml": f'services:\n  base:\n    image: lean:1\n    command: sh -c "{STAY}"\n',
    "compose.override.yaml": "services:\n  db:\n    environment: {WORD: over}\n",
    "db/compose.yaml": """\
services:
  db:
    image: lean:1
    command: ["sh", "-c", "cat /in/word > /tmp/db; echo $$WORD >> /tmp/db; exec sleep 3600"]
    init: true
    volumes: ["./in:/in:ro"]   # beside this file
""",
}


def test_a_project_of_several_files(compose: Compose) -> None:
    """What is included is changed where it stands, run as it would be there before it is written, and given back."""
    (compose.folder / "db" / "in").mkdir(parents=True)
    (compose.folder / "db" / "in" / "word").write_text("x\n")
    compose.write(SPREAD["compose.yaml"], **{name: text for name, text in SPREAD.items() if name != "compose.yaml"})
    done = compose.harden("--service", "db", "--check-inside", "grep -q over /tmp/db", "--write", "--format", "json")
    assert done.code == 0, done.err + done.out
    result = done.json()
    assert [os.path.basename(os.path.dirname(file["path"])) for file in result["files"]] == ["db"]
    assert all(member["together"] for member in result["members"])
    now = (compose.folder / "db/compose.yaml").read_text()
    added = difflib.ndiff(SPREAD["db/compose.yaml"].splitlines(), now.splitlines())
    assert {line[:2] for line in added} == {"  ", "+ "}
    compose.compose("up", "--detach", "--wait")
    assert compose.docker.ask("exec", "shop-db-1", "cat", "/tmp/db").split() == ["x", "over"]
    assert "Read-only file system" in compose.docker.call("exec", "shop-db-1", "touch", "/usr/x").stderr
    assert compose.lithify.run("patch", compose.file, "--revert").code == 0
    assert {name: (compose.folder / name).read_text() for name in SPREAD} == SPREAD


# What goes wrong


BROKEN = f"""\
services:
  app:
    image: lean:1
    command: sh -c "{STAY}"
    depends_on:
      db: {{condition: service_healthy}}
  db:
    image: lean:1
    command: sh -c "{STAY}"
    healthcheck: {{test: ["CMD", "false"], interval: 1s, retries: 2}}
"""


def test_what_a_plan_missed_a_rehearsal_finds(compose: Compose) -> None:
    """A file that is given away asks for no place until a run without one fails."""
    command = f"chown 33:33 /srv/volume/shipped; {STAY}"
    compose.write(f"services:\n  app:\n    image: services:1\n    command: [sh, -c, {json.dumps(command)}]\n")
    done = compose.harden("--format", "json")
    assert done.code == 0, done.err
    [member] = done.json()["members"]
    assert [found["works"] for found in member["hardening"]["rounds"]] == [False, True]
    assert {mount["path"] for mount in member["hardening"]["plan"]["mounts"]} == {"/srv/volume"}


def test_what_a_service_saves_only_when_asked_to_end_is_kept(compose: Compose) -> None:
    """A kill loses it as the project is; the patched project is judged by an end as well."""
    saves = "trap 'cp /run/row /srv/volume/row || echo lost; exit 0' TERM"
    program = f"cp /srv/volume/row /run/row || rm -f /run/row; trap 'echo row > /run/row' USR1; {saves}"
    command = f"{program}; touch /run/ready || exit 1; while :; do sleep 0.1; done"
    compose.write(f"services:\n  app:\n    image: services:1\n    command: [sh, -c, {json.dumps(command)}]\n")
    row = "/proc/$LITHIFY_PID/root/run/row"
    exercise = f"kill -USR1 $LITHIFY_PID; until [ -s {row} ]; do sleep 0.05; done"
    check = f"[ -e {row.replace('row', 'ready')} ] && {{ [ $LITHIFY_PHASE = started ] || [ -s {row} ]; }}"
    done = compose.harden("--exercise", exercise, "--check", check, "--format", "json")
    assert done.code == 0, done.err
    [member] = done.json()["members"]
    hardened = member["hardening"]
    assert {mount["path"]: mount["storage"] for mount in hardened["plan"]["mounts"]}["/srv/volume"] == "volume"
    for verdict in (hardened["verdict"], member["together"]):
        later = {check["name"]: check["summary"] for check in verdict["works"]}
        assert [later[f"check ({phase})"] for phase in ("restarted", "recreated")] == ["exit 0", "exit 0"]


def test_a_service_that_never_gets_healthy(compose: Compose) -> None:
    compose.write(BROKEN)
    done = compose.harden("--service", "app")
    assert done.code == 3
    message, hint = done.error()
    assert "app can't be started" in message
    assert "db is unhealthy" in message
    assert "make it run as it is" in hint


def test_a_question_at_a_service_that_ended_names_that_one(compose: Compose) -> None:
    page = "{image: 'lean:1', command: sh -c 'exit 7', depends_on: [app], ports: ['8080:80']}"
    compose.write(f"services:\n  app: {{image: 'lean:1', command: sh -c \"{STAY}\"}}\n  page: {page}\n")
    done = compose.harden("--service", "app", "--http", "http://localhost:8080/", "--timeout", "3s")
    assert done.code == 3
    assert "the service page, which publishes that port, ended with exit code 7" in done.error()[0]


@pytest.mark.parametrize(
    ("text", "code", "said", "hint"),
    [
        ("services: {app: {imag: x}}\n", 2, "additional properties 'imag' not allowed", "config"),
        ("services: {app: {image: 'lacking:1'}}\n", 3, "no docker image lacking:1", "pull app"),
        ("services: {app: {build: .}}\n", 3, "no docker image shop-app", "build app"),
        (
            "services: {app: {image: 'lean:1', configs: [c]}}\nconfigs: {c: {content: hi}}\n",
            3,
            "no read-only service with the config c",
            "file: ./c",
        ),
    ],
)
def test_a_project_that_can_not_be_run(compose: Compose, text: str, code: int, said: str, hint: str) -> None:
    compose.write(text)
    done = compose.harden()
    assert done.code == code
    message, remedy = done.error()
    assert said in message
    assert hint in remedy


def test_without_compose(compose: Compose, tmp_path: Path) -> None:
    compose.write(BROKEN)
    programs = tmp_path / "bin"
    programs.mkdir()
    compose.lithify.enter = ()
    done = compose.lithify.run("harden", compose.file, PATH=str(programs))
    assert done.code == 4
    message, hint = done.error()
    assert message == "nothing here runs Compose files: tried docker compose, docker-compose, podman compose"
    assert hint.startswith("is the engine running?")


WRITES = f"""\
services:
  app:
    image: lean:1
    command: sh -c "set -e; date > /run/pid; date > /tmp/data; {STAY}"
    depends_on: [other]
    volumes: [theirs:/theirs]
  other:
    image: lean:1
    command: sh -c "{STAY}"
volumes: {{theirs: {{}}}}
"""


QUICK = ("--service", "app", "--check-inside", "test -e /run/pid")


@pytest.mark.parametrize("stage", ["learning:", "round 1", "all together"])
def test_ctrl_c_leaves_nothing(compose: Compose, stage: str) -> None:
    """The fixture looks at what is left."""
    compose.write(WRITES)
    terminal = compose.lithify.terminal("harden", compose.file, *QUICK)
    _seen_running(compose, terminal, stage)
    terminal.press_ctrl_c()
    done = terminal.end()
    assert done.code == 130, done.err
    assert done.err.endswith("interrupted: what was started has been removed\n")


def test_what_a_killed_run_leaves_is_swept_and_what_was_kept_is_not(compose: Compose) -> None:
    compose.write(WRITES)
    before = compose.docker.everything()
    terminal = compose.lithify.terminal("harden", compose.file, *QUICK)
    _seen_running(compose, terminal, "learning:")
    terminal.kill()
    terminal.process.wait(10)
    left = compose.docker.everything()
    assert any("lithify-" in container for container in left["containers"])
    try:
        done = compose.harden(*QUICK, "--keep", "--format", "json")
        assert done.code == 0, done.err
        kept = done.json()["members"][0]["hardening"]["kept"]
        for kind, names in compose.docker.everything().items():
            assert not set(names) & set(left[kind]) - set(before[kind])
        names = compose.docker.ask("ps", "--all", "--format", "{{.Names}}").split()
        assert set(kept) < set(names)
        assert sorted(name.rpartition("-")[2] for name in names) == ["app", "other"]
        assert compose.docker.ask("inspect", "-f", "{{.HostConfig.ReadonlyRootfs}}", kept[0]) == "true"
    finally:
        _remove_kept(compose)


STACK = f"""\
services:
  job:
    image: lean:1
    command: sh -c "set -e; date > /tmp/job; echo done"
    deploy: {{placement: {{constraints: [node.role==worker]}}}}
  app:
    image: lean:1
    command: sh -c "{STAY}"
    depends_on:
      job: {{condition: service_completed_successfully}}
"""


def test_a_job_that_others_wait_for_in_a_stack(compose: Compose) -> None:
    """It ends by itself; Swarm would drop `tmpfs:`, so that the file says it otherwise, and Compose runs that too."""
    compose.write(STACK)
    done = compose.harden("--service", "job", "--format", "json")
    assert done.code == 0, done.err
    result = done.json()
    assert result["cannot_show"] == ["it was run by Compose on this host, not by Swarm"]
    (volume,) = compose.config(result["text"])["services"]["job"]["volumes"]
    assert (volume["type"], volume["target"]) == ("tmpfs", "/tmp")


def test_a_volume_of_another_user_where_the_image_has_nothing(compose: Compose) -> None:
    """What the engine makes is root's: a service beside it gives it away, at every `up`, and keeps what is in it."""
    text = f"""\
services:
  app:
    image: lean:1
    user: "1000:1000"
    command: ["sh", "-c", "date >> /mnt/state/starts; {STAY}"]
"""
    compose.write(text)
    moved = Mount(path=PurePosixPath("/mnt/state"), storage=StorageKind.VOLUME, uid=1000, gid=1000, mode=0o700)
    plan = MountPlan(key=RunKey(image="lean:1"), container="app", mounts=(moved,))
    planned = Planned(
        document=0,
        route=("services", "app"),
        container="app",
        plan=plan,
        image=ImageFacts(reference="lean:1", has_shell=True),
    )
    patched = patch(text.encode(), [planned])
    assert not patched.refused
    compose.write(patched.text.decode())
    read = ("exec", "app", "sh", "-c", "cat /mnt/state/starts || :")  # which may not be there yet
    started: list[str] = []
    while len(started) < 2:
        compose.compose("up", "--detach", "--wait")
        before = started
        until(lambda before=before: compose.compose(*read).splitlines() != before)  # type: ignore[misc]
        started = compose.compose(*read).splitlines()
        assert started[: len(before)] == before
        assert compose.compose("exec", "app", "stat", "-c", "%u:%g %a", "/mnt/state") == "1000:1000 700\n"
        compose.compose("up", "--detach", "--wait")  # nothing is to be done, and the first service runs once more
        compose.compose("down", "--timeout", "0")
    done = compose.harden("--format", "json")
    assert done.code == 0, done.err
    assert done.json()["text"] == patched.text.decode()


def _remove_kept(compose: Compose) -> None:
    mine = ("--filter", "label=dev.lithify.run", "--quiet")
    for words, remove in (
        (("ps", "--all"), ("rm", "--force", "--volumes")),
        (("network", "ls"), ("network", "rm")),
        (("volume", "ls"), ("volume", "rm")),
    ):
        for name in sorted(compose.docker.ask(*words, *mine).split()):
            compose.docker.ask(*remove, name)


def _seen_running(compose: Compose, terminal: Terminal, stage: str) -> None:
    terminal.until(stage)
    until(lambda: compose.docker.ask("ps", "--quiet", "--filter", "label=dev.lithify.run"))


def _contents(compose: Compose) -> Mapping[str, tuple[int, bytes]]:
    """Return every file of the user's, in the project's folder and in its volumes."""
    volumes = Path(compose.docker.ask("volume", "inspect", "-f", "{{.Mountpoint}}", "shop_counted"))
    found = [path for root in (compose.folder, volumes) for path in root.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


# The page for its users

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "compose.md"
_BLOCK = re.compile(r"(?:`([\w.]+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_how_to_does_what_it_says(compose: Compose, tmp_path: Path) -> None:
    """Its files are written, its commands are run in order, and what it shows is what they print."""
    for name, command in (
        ("nginx:1.22", '["nginx", "-g", "daemon off;"]'),
        ("redis:7", '["redis-server", "--dir", "/data"]'),
    ):
        made = compose.docker.ask("create", "--name", "how-to", "services:1", "true")
        compose.docker.ask("commit", "--change", f"CMD {command}", made, name)
        compose.docker.ask("rm", made)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "lithify").write_text(f'#!/bin/sh\nexec {sys.executable} -m lithify.cli.main "$@"\n')
    (programs / "lithify").chmod(0o755)
    environment = compose.lithify.environment_with({"PATH": f"{programs}:{os.environ['PATH']}"})
    shown = ""
    try:
        for file, kind, text in _BLOCK.findall(HOW_TO.read_text()):
            if file:
                (compose.folder / file).write_text(text)
            elif kind == "sh":
                done = subprocess.run(
                    [*compose.docker.enter, "bash", "-euo", "pipefail", "-c", text],
                    cwd=compose.folder, env=environment, capture_output=True, text=True, timeout=200,
                )  # fmt: skip
                assert done.returncode == 0, (text, done.stdout, done.stderr)
                shown = done.stdout
            else:
                words = " ".join(text.split())
                assert words in " ".join(shown.split()), shown
    finally:
        for name in ("compose.override.yaml", "compose.yaml"):
            (compose.folder / name).unlink(missing_ok=True)
        compose.compose("down", "--volumes", "--timeout", "0", text=_BLOCK.findall(HOW_TO.read_text())[0][2])
        compose.docker.ask("rmi", "--force", "nginx:1.22", "redis:7")

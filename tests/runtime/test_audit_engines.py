"""`lithify audit --engine` on real engines: the flag as the STIG's check tells it, the effect as the kernel does."""

import json
import os
import select
import shutil
import socket
import socketserver
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import jsonschema
import pytest

from lithify.cli.main import main
from lithify.engines.mounts import host_mounts
from lithify.errors import NothingToExamine, UsageError
from lithify.model.finding import ContainerVerdict, Report, Severity, State
from lithify.pipeline.audit.cluster import audit_node
from lithify.pipeline.audit.engine import audit_engine
from lithify.pipeline.audit.judge import Judge
from lithify.sources import engine as engine_source
from lithify.sources.container import read_container

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "audit-report-v1.json"
FLAG = ": ReadonlyRootfs={{.HostConfig.ReadonlyRootfs}}"
STIG_FORMAT = "{{ .Name }}" + FLAG
"""As the check of V-260936 has it."""
REMOUNT = "--read-only --cap-add SYS_ADMIN --security-opt seccomp=unconfined -u 0"
ARGUMENTS = {
    "docker": ([], []),
    # Podman's defaults fail inside many virtual machines: no crun on hybrid cgroups, no raised limits.
    "podman": (
        ["--runtime", "runc", "--cgroup-manager", "cgroupfs"],
        ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"],
    ),
}


def call(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Engine:
    """One engine, and the containers that a test made in it."""

    def __init__(self, name: str, image: str) -> None:
        self.name = name
        self.image = image
        self.made: list[str] = []

    def make(self, words: str = "", script: str = "", *, run: bool = True) -> str:
        """Make a container whose `script` has been run before this returns, and return its name."""
        before, after = ARGUMENTS[self.name]
        verb = ["run", "--detach"] if run else ["create"]
        name = f"lithify-audit-{len(self.made)}-{time.monotonic_ns()}"
        self.made.append(name)
        line = [self.name, *before, *verb, *after, "--name", name, *words.split(), self.image]
        call(*line, "sh", "-c", f"{script or ':'}; echo ready; exec sleep 1000")
        deadline = time.monotonic() + 20
        while run and "ready" not in call(self.name, "logs", name):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return name

    def audit(self, *names: str, rules: tuple[str, ...] | None = None) -> Report:
        return audit_engine(self.name, names, rules=rules, today="2026-11-22")

    def verdict(self, name: str) -> ContainerVerdict:
        (container,) = self.audit(name).containers()
        return container

    def found(self, name: str) -> dict[str, list[str]]:
        """Return the messages of what is found in one container, by rule."""
        found: dict[str, list[str]] = {}
        for finding in self.audit(name).findings():
            found.setdefault(finding.rule, []).append(finding.message)
        return found

    def pid(self, name: str) -> str:
        return call(self.name, "inspect", "--format", "{{.State.Pid}}", name)

    def id(self, name: str) -> str:
        return call(self.name, "inspect", "--format", "{{.Id}}", name)

    def clean(self) -> None:
        # Podman asks first, and waits ten seconds for an answer.
        at_once = ["--time=0"] if self.name == "podman" else []
        for name in self.made:
            command = [self.name, "rm", "--force", "--volumes", *at_once, name]
            subprocess.run(command, capture_output=True, check=False, timeout=60)


@pytest.fixture(params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine of each kind, in which nothing stays behind."""
    made = Engine(request.param, str(request.getfixturevalue(f"{request.param}_image")))
    yield made
    made.clean()


@pytest.fixture
def docker(docker_image: str) -> Iterator[Engine]:
    made = Engine("docker", docker_image)
    yield made
    made.clean()


@pytest.fixture
def podman(podman_image: str) -> Iterator[Engine]:
    made = Engine("podman", podman_image)
    yield made
    made.clean()


def test_the_flag_is_told_as_the_check_tells_it(engine: Engine) -> None:
    """All containers, running and stopped; id and flag are those that the STIG's own command prints."""
    for words in ("", "--read-only"):
        engine.make(words)
        engine.make(words, run=False)
    told = {container.id: container for container in engine.audit().containers()}
    for line in call(engine.name, "inspect", "--format", "{{.Id}}" + FLAG, *engine.made).splitlines():
        identity, _, flag = line.partition(": ReadonlyRootfs=")
        container = told[identity]
        assert container.declared is (flag == "true")
        assert container.verdict is container.effective is (State.READ_ONLY if flag == "true" else State.WRITABLE)
    stopped = [told_of for told_of in told.values() if told_of.name in engine.made[1::2]]
    assert [container.reason for container in stopped] == ["it does not run: judged by its flag"] * 2


def test_a_root_that_was_remounted_is_writable(docker: Engine) -> None:
    """The flag says true, and so does the check; it is a finding as if there were no flag."""
    name = docker.make(REMOUNT, "mount -o remount,rw / && touch /written")
    container = docker.verdict(name)
    assert (container.verdict, container.effective) == (State.READ_ONLY, State.WRITABLE)
    (finding,) = docker.audit(name, rules=("writable-root-filesystem",)).findings()
    assert finding.severity is Severity.HIGH
    assert "ReadonlyRootfs is true, but it is mounted writable" in finding.message
    assert "remountable-root-filesystem" in docker.found(name)


def test_a_privileged_container_that_remounts(podman: Engine) -> None:
    """Before it does so, and after."""
    waiting = podman.make("--read-only --privileged -u 0")
    assert podman.verdict(waiting).effective is State.REMOUNTABLE
    done = podman.make("--read-only --privileged -u 0", "mount -o remount,rw / && touch /written")
    assert podman.verdict(done).effective is State.WRITABLE


@pytest.mark.parametrize("writable", [True, False])
def test_a_mount_over_the_root_deceives_nobody(writable: bool, docker: Engine) -> None:
    """Processes keep the root that they have, whatever is mounted over it."""
    more = "mount -o remount,bind,rw / && touch /written" if writable else "! touch /written"
    name = docker.make(REMOUNT, f"mount --bind / / && {more}")
    assert docker.verdict(name).effective is (State.WRITABLE if writable else State.REMOUNTABLE)


STORAGE = {"docker": "{{.Driver}} {{.DockerRootDir}}", "podman": "{{.Store.GraphDriverName}} {{.Store.GraphRoot}}"}


def storage_of(engine: Engine) -> str:
    """Return where an engine keeps layers as `ID/diff` and mounts roots as `ID/merged`, and skip where it does not."""
    driver, storage = call(engine.name, "info", "--format", STORAGE[engine.name]).split()
    if driver not in ("overlay", "overlay2"):
        pytest.skip(f"{engine.name} stores layers with {driver}")
    return storage


def test_a_root_that_is_reached_another_way_is_writable(engine: Engine) -> None:
    """By the host's directory in which the engine mounted it: a read-only bind leaves what lies below writable."""
    storage = storage_of(engine)
    upper = r"$(sed -n 's|.* / / .*upperdir=\([^,]*\)/diff.*|\1|p' /proc/self/mountinfo)"
    script = f'there={upper}; ! touch /x && touch "/host${{there#{storage}}}/merged/x" && test -e /x || exit 1'
    name = engine.make(f"-u 0 --read-only -v {storage}:/host:ro", script)
    container = engine.verdict(name)
    assert (container.verdict, container.effective) == (State.READ_ONLY, State.WRITABLE)
    assert container.reason.startswith("its root filesystem is mounted once more, writable, at /host/")
    found = engine.found(name)
    assert "and once more, writable, at /host/" in found["writable-root-filesystem"][0]
    assert not [message for message in found.get("unbounded-scratch", ()) if "/host" in message]


def test_a_root_that_is_reached_by_processes_of_the_host_is_as_good_as_writable(engine: Engine) -> None:
    """Below the root of any of them; as it needs a capability, the mount table does not show it."""
    storage_of(engine)
    upper = r"$(sed -n 's|.* / / .*upperdir=\([^,]*\)/diff.*|\1|p' /proc/self/mountinfo)"
    writes = 'touch "$p/root$there/merged/x" 2>/dev/null && break'
    script = f"there={upper}; ! touch /x && for p in /proc/[0-9]*; do {writes}; done; test -e /x || exit 1"
    name = engine.make("-u 0 --read-only --pid host --cap-add SYS_PTRACE", script)
    container = engine.verdict(name)
    assert (container.verdict, container.effective) == (State.READ_ONLY, State.REMOUNTABLE)
    told = f"container {name!r} has CAP_SYS_PTRACE among the host's processes and can write to its root filesystem by"
    assert engine.found(name)["remountable-root-filesystem"][0].startswith(told)
    (on_node,) = audit_node([engine.id(name)]).containers()
    assert on_node.effective is State.REMOUNTABLE
    assert engine.verdict(engine.make("--read-only --pid host")).effective is State.READ_ONLY


def test_a_root_made_read_only_from_outside(engine: Engine) -> None:
    """As a wrapper of the runtime does: the check fails by the flag, the kernel refuses the write all the same."""
    name = engine.make("-u 0")
    call("nsenter", "-t", engine.pid(name), "-m", "mount", "-o", "remount,bind,ro", "/")
    container = engine.verdict(name)
    assert (container.verdict, container.effective) == (State.WRITABLE, State.READ_ONLY)
    (finding,) = engine.audit(name, rules=("writable-root-filesystem",)).findings()
    assert finding.severity is Severity.LOW
    assert "mounted read-only, but ReadonlyRootfs is false" in finding.message


WRAPPER = """#!/usr/bin/env python3
import json, os, sys
words = sys.argv[1:]
if "create" in words:
    path = os.path.join(words[words.index("--bundle") + 1], "config.json")
    with open(path) as file:
        spec = json.load(file)
    spec["root"]["readonly"] = True
    with open(path, "w") as file:
        json.dump(spec, file)
os.execvp("runc", ["runc", *words])
"""


@pytest.fixture
def wrapped(static_rootfs: Path) -> Iterator[list[str]]:
    """A Docker of its own whose runtime `wrapped` makes every root read-only; the words that call its client."""
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("needs root and dockerd")
    with tempfile.TemporaryDirectory(prefix="lithify-", ignore_cleanup_errors=True) as directory:
        runtime = Path(directory, "wrapper")
        runtime.write_text(WRAPPER)
        runtime.chmod(0o755)
        socket = f"unix://{directory}/socket"
        places = [f"--{name}={directory}/{name}" for name in ("data-root", "exec-root", "pidfile")]
        network = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false"]
        # In a network namespace of its own: a daemon without a bridge removes the docker0 that it finds.
        daemon = subprocess.Popen(
            ["unshare", "--net", "dockerd", *places, *network, f"--host={socket}", f"--add-runtime=wrapped={runtime}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        client = ["docker", "--host", socket]
        try:
            deadline = time.monotonic() + 30
            while subprocess.run([*client, "version"], capture_output=True, check=False).returncode:
                assert daemon.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            archive = Path(directory, "image.tar")
            call("tar", "--create", f"--file={archive}", f"--directory={static_rootfs}", ".")
            call(*client, "import", str(archive), "lithify-probe")
            yield client
            call(*client, "rm", "--force", *call(*client, "ps", "--all", "--quiet").split())
        finally:
            daemon.terminate()
            daemon.wait(30)


def test_a_root_made_read_only_by_the_runtime(wrapped: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker's API says false for what it asked of the runtime; LITHIFY_DOCKER_ARGS names the engine that is asked."""
    monkeypatch.setenv("LITHIFY_DOCKER_ARGS", " ".join(wrapped[1:]))
    for name, words in (("plain", []), ("wrapped", ["--runtime", "wrapped"])):
        call(*wrapped, "run", "--detach", "--network=none", "--name", name, *words, "lithify-probe", "/probe", "wait")
    told = {container.name: container for container in audit_engine("docker").containers()}
    assert (told["plain"].verdict, told["plain"].effective) == (State.WRITABLE, State.WRITABLE)
    assert (told["wrapped"].verdict, told["wrapped"].effective) == (State.WRITABLE, State.READ_ONLY)
    assert told["wrapped"].reason == "its mount table says ro, ReadonlyRootfs says otherwise"


def test_what_lies_writable_over_the_root(docker: Engine, tmp_path: Path) -> None:
    """What was asked for, and what the engine mounts by itself; with what programs can be run from."""
    binds = f"-v {tmp_path}:/host -v {tmp_path}:/etc/fixed:ro"
    name = docker.make(f"--read-only --tmpfs /tmp:size=1m --tmpfs /x:exec {binds} --mount type=volume,target=/usr")
    places = {path: (kind, executable, size) for path, kind, _, executable, size in docker.verdict(name).places}
    assert places == {
        "/dev": ("engine", True, 64 << 20),
        "/dev/shm": ("engine", False, 64 << 20),
        "/host": ("bind", True, None),
        "/tmp": ("tmpfs", False, 1 << 20),
        "/usr": ("anonymous", True, None),
        "/var/lib/store": ("anonymous", True, None),
        "/x": ("tmpfs", True, None),
    }
    found = docker.found(name)
    assert "can write to /usr" in found["writable-system-path"][0]
    assert f"the host's {tmp_path} at /host" in found["writable-host-path"][0]
    assert found["unbounded-scratch"] == ["tmpfs on /x can use memory without limit"]
    assert {message.partition(" keeps ")[2].split()[0] for message in found["anonymous-volume"]} == {
        "/usr",
        "/var/lib/store",
    }
    assert any("to /dev, mounted by the engine" in message for message in found["writable-and-executable"])
    assert "hidden-image-content" not in found


@pytest.fixture
def host_folder(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host with another filesystem mounted on `below` in it."""
    (tmp_path / "below").mkdir()
    call("mount", "-t", "tmpfs", "lithify-test", str(tmp_path / "below"))
    yield tmp_path
    call("umount", str(tmp_path / "below"))


def test_a_directory_of_the_host_is_known_wherever_it_comes_in(engine: Engine, host_folder: Path) -> None:
    """Below a link of the image, and where a read-only bind does not reach what the host has mounted below it."""
    binds = f"-v {host_folder}:/data:ro -v {host_folder}:/var/run/app -v {host_folder / 'below'}:/var/run/ro:ro"
    writes = "! touch /data/x && touch /data/below/x /var/run/app/x /var/run/app/below/x && ! touch /var/run/ro/x"
    name = engine.make(f"-u 0 --read-only {binds} --tmpfs /fixed:ro", f"{writes} || exit 1")
    found = engine.found(name)
    assert found["writable-host-path"] == [
        f"container {name!r} can write to the host's {host_folder} at /run/app",
        (
            f"container {name!r} can write to the host's {host_folder}/below at /data/below: "
            "mounted below /data, which is read-only"
        ),
    ]
    assert not [m for m in found.get("unbounded-scratch", ()) if "/data" in m or "/run/app" in m or "/fixed" in m]
    on_node = {f.message for f in audit_node([engine.id(name)]).findings() if f.rule == "writable-host-path"}
    assert on_node == {m.replace(name, engine.id(name)[:12]) for m in found["writable-host-path"]}


def test_a_disk_of_the_host_is_all_that_lies_on_it(docker: Engine) -> None:
    """Whatever it is called inside; one that can only be read, and what is no disk, is none."""
    disk = next((path for path in sorted(Path("/dev").iterdir()) if path.is_block_device()), None)
    if disk is None:
        pytest.skip("needs a block device")
    words = f"--device {disk}:/dev/data --device {disk}:/dev/fixed:r --device /dev/zero:/dev/nought"
    for run in (False, True):
        name = docker.make(f"--read-only {words}", run=run)
        (finding,) = docker.audit(name, rules=("writable-host-path",)).findings()
        assert finding.message == f"container {name!r} can write to the host's disk {disk} at /dev/data"
        assert finding.severity is Severity.HIGH


def test_named_volumes_are_no_directories_of_the_host(engine: Engine, tmp_path: Path) -> None:
    """Whoever asks; a directory that only looks like an engine's own is one."""
    (tmp_path / "containers").mkdir()
    volume = f"lithify-audit-{time.monotonic_ns()}"
    try:
        name = engine.make(f"-v {volume}:/named -v {tmp_path}/containers:/own")
        for report in (engine.audit(name), audit_node([engine.id(name)])):
            (container,) = report.containers()
            places = {path: (kind, source) for path, kind, source, *_ in container.places}
            assert places["/named"] == ("volume", volume)
            assert places["/own"] == ("bind", f"{tmp_path}/containers")
            (told,) = [f.message for f in report.findings() if f.rule == "writable-host-path"]
            assert f"the host's {tmp_path}/containers at /own" in told
    finally:
        engine.clean()
        call(engine.name, "volume", "rm", volume)


def test_what_podman_lays_over_the_hosts_files_is_not_theirs(podman: Engine, tmp_path: Path) -> None:
    """`:O` and a writable image: what is written there goes with the container. A `--rootfs` does not."""
    image = f"type=image,source={podman.image},destination=/image,rw=true"
    name = podman.make(f"-u 0 --read-only -v {tmp_path}:/over:O --mount {image}", "touch /over/x /image/x || exit 1")
    assert not list(tmp_path.iterdir())
    for run in (True, False):
        if not run:
            call("podman", "kill", name)
        assert {p[0]: p[1] for p in podman.verdict(name).places}["/over"] == "overlay"
        assert {p[0]: p[1] for p in podman.verdict(name).places}["/image"] == "overlay"
        assert "writable-host-path" not in podman.found(name)
    (tmp_path / "data").write_bytes(bytes(300_000))
    root = f"lithify-audit-root-{time.monotonic_ns()}"
    podman.made.append(root)
    call("podman", *ARGUMENTS["podman"][0], "create", "--name", root, "--rootfs", str(tmp_path), "/data")
    assert "data-in-container-layer" not in podman.found(root)


def test_the_hosts_file_is_writable_without_the_flag(docker: Engine) -> None:
    """And read-only with it: Docker mounts it as the root filesystem is."""
    kinds = {path: kind for path, kind, *_ in docker.verdict(docker.make()).places}
    assert kinds["/etc/hosts"] == "engine"
    assert "/etc/hosts" not in {place[0] for place in docker.verdict(docker.make("--read-only")).places}


def test_a_mount_that_changed_since_the_start_is_told_as_it_is(docker: Engine) -> None:
    """The volume was remounted read-only, the tmpfs was made executable, and one was mounted by the program."""
    script = (
        "mount -o remount,bind,ro /data && mount -o remount,exec /tmp && mount -t tmpfs -o size=1m new /mnt"
        " && umount /gone"
    )
    name = docker.make(f"{REMOUNT} -v /data --tmpfs /tmp --tmpfs /gone", script)
    places = {path: (kind, executable) for path, kind, _, executable, _ in docker.verdict(name).places}
    assert "/data" not in places
    assert "/gone" not in places
    assert (places["/tmp"], places["/mnt"]) == (("tmpfs", True), ("tmpfs", True))


def test_podmans_own_scratch_is_seen(podman: Engine) -> None:
    """`--read-only` brings three writable and executable places with it, running or not."""
    for run in (True, False):
        found = podman.found(podman.make("--read-only --cap-drop all", run=run))
        messages = " ".join(found["writable-and-executable"])
        assert all(f"to {path} and run" in messages for path in ("/run", "/tmp", "/var/tmp"))
        assert "capabilities-not-dropped" not in found


def test_data_in_the_layer_is_told_running_and_stopped(engine: Engine) -> None:
    """With its size; a container that has written nothing is left in peace."""
    name = engine.make("-u 0", "head -c 300000 /dev/zero > /data.bin")
    quiet = engine.make()
    for running in (True, False):
        if not running:
            call(engine.name, "kill", name)
        (message,) = engine.found(name)["data-in-container-layer"]
        assert "keeps 293 KiB" in message
        assert "data-in-container-layer" not in engine.found(quiet)


def test_names_and_ids_name_containers(docker: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several at once, whatever room their answers take; who is not asked about is said to be left out."""
    names = [docker.make("--read-only", run=False) for _ in range(5)]
    identity = docker.verdict(names[0]).id
    monkeypatch.setattr(engine_source, "_ANSWER", 20_000)
    monkeypatch.setattr(engine_source, "_BULK", 4)
    report = docker.audit(identity[:12], *names[1:4])
    assert [container.name for container in report.containers()] == names[:4]
    assert any("not named" in skipped.reason for skipped in report.skipped())
    assert set(names) <= {container.name for container in docker.audit().containers()}
    with pytest.raises(NothingToExamine, match="no container 'lithify-none'"):
        docker.audit(names[0], "lithify-none")
    with pytest.raises(UsageError):
        docker.audit("--help")


def test_an_exemption_is_a_label(engine: Engine) -> None:
    name = engine.make("--label lithify.dev/ignore.writable-root-filesystem=legacy", run=False)
    (finding,) = engine.audit(name, rules=("writable-root-filesystem",)).findings()
    assert finding.exemption is not None
    assert finding.exemption.reason == "legacy"


def test_reports_of_an_engine(docker: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command's exit code is by severity; the JSON follows the schema; the checklist answers by container."""
    good = docker.make("--read-only")
    bad = docker.make(run=False)
    path, checklist = tmp_path / "a.json", tmp_path / "a.cklb"
    outputs = ["--format", "json", "--output", str(path), "--format", "cklb", "--output", str(checklist)]
    assert main(["audit", "--engine", "docker", *outputs, good]) == 0
    assert answer(checklist)[0] == "not_reviewed"  # not all of the engine's
    assert main(["audit", "--engine", "docker", *outputs, good, bad]) == 1
    report = json.loads(path.read_bytes())
    jsonschema.validate(report, json.loads(SCHEMA.read_bytes()))
    assert {entry["name"]: entry["verdict"] for entry in report["containers"]} == {good: "read-only", bad: "writable"}
    page = tmp_path / "a.md"
    main(["audit", "--engine", "docker", "--format", "markdown", "--output", str(page), bad])
    assert "|  | high | Container/" in page.read_text()  # it has no lines
    status, details = answer(checklist)
    assert status == "open"
    for line in call("docker", "inspect", "--format", STIG_FORMAT, good, bad).splitlines():
        assert line in details
    assert capsys.readouterr().err == ""


def test_the_check_is_of_what_no_kubelet_runs(docker: Engine, tmp_path: Path) -> None:
    """On Docker, too: what cri-dockerd makes for a kubelet is of a pod, and the check does not apply to it."""
    good = docker.make("--read-only", run=False)
    docker.make("--read-only", run=False)
    labels = {"docker.type": "container", "pod.name": "web", "pod.namespace": "shop"}
    words = " ".join(f"--label io.kubernetes.{key}={value}" for key, value in labels.items())
    other = docker.make(words, run=False)
    pods = docker.made[-1] = f"k8s_app_{other}"
    call("docker", "rename", other, pods)
    checklist = tmp_path / "a.cklb"
    main(["audit", "--engine", "docker", "--format", "cklb", "--output", str(checklist), good, pods])
    status, details = answer(checklist)
    assert status == "not_reviewed"  # one was not named
    assert "ReadonlyRootfs=false" not in details
    assert "1 container under Kubernetes, to which this check does not apply" in details
    (container,) = docker.audit(pods).containers()
    assert (container.object.kind, container.object.name, container.object.namespace) == ("Pod", "web", "shop")
    assert container.verdict is State.WRITABLE


def answer(path: Path) -> tuple[str, str]:
    (rule,) = json.loads(path.read_bytes())["stigs"][0]["rules"]
    return rule["status"], rule["finding_details"]


def test_all_containers_with_the_flag_are_no_finding(docker: Engine, tmp_path: Path) -> None:
    """Only where all of the engine's were asked."""
    docker.make("--read-only", run=False)
    checklist = tmp_path / "a.cklb"
    main(["audit", "--engine", "docker", "--format", "cklb", "--output", str(checklist)])
    status, details = answer(checklist)
    assert status == ("open" if "ReadonlyRootfs=false" in details else "not_a_finding")


def test_a_process_with_the_hosts_mounts_is_in_no_container(tmp_path: Path) -> None:
    """As the monitor of a virtual machine, which an engine gives for the first process of what runs in it (Kata)."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    identity = "ab" * 32
    place = tmp_path / identity
    place.mkdir()
    found = {"Id": identity, "Name": "/web", "HostConfig": {"ReadonlyRootfs": True}}
    call("mount", "--bind", str(place), str(place))
    try:
        reading = read_container({**found, "State": {"Running": True, "Pid": os.getpid()}}, "docker", host_mounts())
    finally:
        call("umount", str(place))
    (container,) = Judge("2026-11-22").judge(reading).containers
    assert container.effective is State.READ_ONLY
    assert container.reason == "its mount table can't be seen from here: judged by its flag"


def test_no_engine_no_verdict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if not shutil.which("docker"):
        pytest.skip("needs docker")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    assert main(["audit", "--engine", "docker"]) == 4
    assert "no answer from docker" in capsys.readouterr().err


@contextmanager
def relay(place: Path, connections: int) -> Iterator[str]:
    """Give the address of the Docker that runs here, for as many connections; it is as if it went after that."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    left = [connections]

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            left[0] -= 1
            with socket.socket(socket.AF_UNIX) as engine:
                if left[0] < 0:
                    return
                engine.connect(host)
                ways = {self.request: engine, engine: self.request}
                while True:
                    for one in select.select(list(ways), (), ())[0]:
                        data = one.recv(1 << 16)
                        if not data:
                            return
                        ways[one].sendall(data)

    with socketserver.ThreadingUnixStreamServer(str(place / "docker"), Handler) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"unix://{place}/docker"
        server.shutdown()


@pytest.mark.parametrize("connections", [1, 2])
def test_an_engine_that_goes_half_way(
    connections: int, docker: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has said what it has, and does not say what that is: no report, rather than one of what was heard."""
    docker.make(run=False)
    with tempfile.TemporaryDirectory(prefix="lt-") as folder, relay(Path(folder), connections) as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        assert main(["audit", "--engine", "docker"]) == 4
        monkeypatch.undo()
    told = capsys.readouterr()
    assert "no answer from docker" in told.err
    assert told.out == ""


@pytest.fixture
def swarm(docker: Engine) -> Iterator[Callable[..., str]]:
    """What makes services in a swarm of one node; the swarm goes afterwards."""
    if call("docker", "info", "--format", "{{.Swarm.LocalNodeState}}") != "inactive":
        pytest.skip("this Docker is in a swarm already")
    networks = set(call("docker", "network", "ls", "--format", "{{.Name}}").split())
    call("docker", "swarm", "init", "--advertise-addr", "127.0.0.1")

    def make(name: str, *words: str) -> str:
        call("docker", "service", "create", "--detach", "--no-resolve-image", "--name", name, *words, docker.image)
        return name

    yield make
    call("docker", "swarm", "leave", "--force")
    if "docker_gwbridge" not in networks:  # which a swarm makes, and leaves behind
        call("docker", "network", "rm", "docker_gwbridge")


def test_services_of_a_swarm(swarm: Callable[..., str], docker: Engine) -> None:
    """Judged by their template, beside the containers that run for them here."""
    options = ["--replicas", "0", "--mount", "type=tmpfs,target=/tmp", "--user", "1001"]
    good = swarm("lithify-good", "--read-only", "--cap-drop", "ALL", *options)
    bad = swarm("lithify-bad", "--replicas", "0")
    report = docker.audit()
    told = {c.object.name: c for c in report.containers() if c.object.kind == "SwarmService"}
    assert (told[good].effective, told[bad].effective) == (State.READ_ONLY, State.WRITABLE)
    messages = [finding.message for finding in report.findings() if finding.location.path == f"docker:service/{bad}"]
    assert f"service '{bad}' can write to its root filesystem" in messages
    (container,) = docker.audit(good).containers()
    assert container.places == (("/tmp", "tmpfs", "", False, None),)
    rules = {finding.rule for finding in docker.audit(good).findings()}
    assert rules == {"unbounded-scratch"}


def test_a_node_says_the_same_as_the_engine(engine: Engine) -> None:
    """`--node` asks no engine: shims, monitors, bundles and mount tables say it."""
    made = {
        engine.make("--tmpfs /tmp"): (State.WRITABLE, State.WRITABLE),
        engine.make("--read-only --tmpfs /tmp"): (State.READ_ONLY, State.READ_ONLY),
        engine.make(REMOUNT): (State.READ_ONLY, State.REMOUNTABLE),
        engine.make(REMOUNT, "mount -o remount,rw /"): (State.READ_ONLY, State.WRITABLE),
        engine.make("--read-only -v /data"): (State.READ_ONLY, State.READ_ONLY),
    }
    stopped = engine.make(run=False)
    ids = {name: call(engine.name, "inspect", "--format", "{{.Id}}", name) for name in [*made, stopped]}
    report = audit_node(today="2026-11-22")
    found = {container.id: container for container in report.containers()}
    for name, (verdict, effective) in made.items():
        seen, asked = found[ids[name]], engine.verdict(name)
        assert (seen.verdict, seen.effective) == (verdict, effective), name
        assert (asked.verdict, asked.effective) == (verdict, effective), name
        assert {place[:2] for place in seen.places} == {place[:2] for place in asked.places}, name
    assert ids[stopped] not in found
    reasons = [skipped.reason for skipped in report.skipped()]
    assert f"containers of {engine.name} that do not run are not seen: see them with --engine {engine.name}" in reasons
    unnamed = [f.container.id for f in report.findings() if f.rule == "anonymous-volume" and f.container is not None]
    assert list(made)[-1] in {name for name, identity in ids.items() if identity in unnamed}


def test_a_node_has_no_container_of_that_name() -> None:
    with pytest.raises(NothingToExamine):
        audit_node(["no-such-container"])


def test_a_process_in_a_container_is_no_shim(docker: Engine) -> None:
    """It may call itself one, and lay out bundles as it likes: nobody believes it."""
    identity = "f" * 64
    place = f"/forged/moby/{identity}"
    lay = f"mkdir -p {place}; echo '{{}}' > {place}/config.json; cp /bin/sleep /forged/containerd-shim; cd {place}"
    name = docker.make("-u 0", f"{lay}; /forged/containerd-shim 999 & sleep 1")
    assert "/forged/containerd-shim" in call("docker", "top", name, "-o", "pid,args")
    ours = call("docker", "inspect", "--format", "{{.Id}}", name)
    found = {container.id for container in audit_node(today="2026-11-22").containers()}
    assert ours in found
    assert identity not in found

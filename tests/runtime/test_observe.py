"""What is observed of real services in Docker, held against a system-call trace of the same run."""

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from tests.runtime.conftest import cached, debootstrap

from lithify.engines.base import UpperLayer
from lithify.engines.mounts import root_overlay
from lithify.model.image import EntryType
from lithify.model.path import is_pseudo
from lithify.model.writes import Change, Source, Write, Writer
from lithify.observe import live, trace
from lithify.observe.image import has_shell, read_image_entries, resolve
from lithify.observe.lineage import Lineage
from lithify.observe.live import LiveNames
from lithify.observe.merge import merge_writes
from lithify.observe.overlay import read_upper_layer, read_volume
from lithify.observe.processes import read_listeners, read_open_files, read_processes
from lithify.observe.trace import Trace

P = PurePosixPath
_IMAGE = "lithify-test-observe"
_DOCKER_ROOT = Path("/var/lib/docker")
_NOISE = frozenset(map(P, ("/.dockerenv", "/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")))


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True, timeout=120).stdout.strip()


def _unavailable() -> str | None:
    if os.geteuid() != 0 or not shutil.which("docker") or not shutil.which("mmdebstrap"):
        return "needs root, docker and mmdebstrap"
    if subprocess.run(["docker", "info"], capture_output=True, timeout=60).returncode:
        return "needs a running Docker"
    return None


def _starts_are_told() -> bool:
    try:
        Lineage().close()
    except OSError:
        return False
    return live.available(Path("/")) is None


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """An image with nginx and redis, its VOLUME at /srv/volume holding a file."""
    reason = _unavailable()
    if reason:
        pytest.skip(reason)

    def build(directory: Path) -> None:
        debootstrap(directory, "nginx-light", "redis-server")
        (directory / "srv/volume").mkdir(parents=True)
        (directory / "srv/volume/shipped").write_text("shipped")

    rootfs = cached("observe-nginx-redis", build)
    name = f"{_IMAGE}:{os.getpid()}"
    with subprocess.Popen(["tar", "-C", rootfs, "-c", "."], stdout=subprocess.PIPE) as tar:
        command = ["docker", "import", "--change", "VOLUME /srv/volume", "-", name]
        subprocess.run(command, stdin=tar.stdout, check=True, capture_output=True, timeout=300)
    try:
        yield name
    finally:
        _docker("rmi", "--force", name)


@dataclass
class Running:
    """A container whose program waits until it is released, so that it can be watched from its first call on."""

    name: str

    @property
    def pid(self) -> int:
        return int(_docker("inspect", "--format", "{{.State.Pid}}", self.name))

    @property
    def layer(self) -> UpperLayer:
        layer = root_overlay(self.pid, _NOISE)
        assert layer is not None
        return layer

    @property
    def address(self) -> str:
        return _docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", self.name)

    def release(self) -> None:
        _docker("exec", self.name, "touch", "/dev/shm/go")


@pytest.fixture
def run(image: str) -> Iterator[Callable[[str], Running]]:
    """Start a container that runs a shell script once it is released."""
    names: list[str] = []

    def start(script: str) -> Running:
        names.append(f"lithify-test-{os.getpid()}-{len(names)}")
        gate = "while [ ! -e /dev/shm/go ]; do sleep 0.1; done; "
        _docker("run", "--detach", "--name", names[-1], image, "sh", "-c", gate + script)
        return Running(names[-1])

    try:
        yield start
    finally:
        for name in names:
            _docker("rm", "--force", "--volumes", name)


def _wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, "it did not come up"
        time.sleep(0.1)


def _image_directories(writes: Iterable[Write], layer: UpperLayer) -> set[str]:
    """Return the directories of the image that must be writable for `writes`, as far as they lie in the root."""
    paths = {resolve(layer.lowers, write.directory) for write in writes if write.change is not Change.ATTEMPTED}
    entries = read_image_entries(layer.lowers, paths)
    found = set()
    for path in paths:
        home = path
        while home not in entries or entries[home].type is not EntryType.DIRECTORY:
            home = home.parent
        if not is_pseudo(home) and not home.is_relative_to("/srv/volume"):
            found.add(str(home))
    return found


def _drive_nginx(address: str) -> None:
    for _ in range(20):
        with urllib.request.urlopen(f"http://{address}/", timeout=10) as answer:
            assert answer.status == 200


def _drive_redis(address: str) -> None:
    command = ["redis-cli", "-h", address]
    for index in range(20):
        subprocess.run([*command, "set", f"k{index}", "v"], check=True, capture_output=True, timeout=10)
    assert b"OK" in subprocess.run([*command, "save"], check=True, capture_output=True, timeout=10).stdout


_SERVICES = {
    "nginx": (
        "sed -i 's/worker_processes.*/worker_processes 1;/' /etc/nginx/nginx.conf; exec nginx -g 'daemon off;'",
        80,
    ),
    "redis": ("cd /var/lib/redis; exec redis-server --protected-mode no --appendonly yes --bind 0.0.0.0", 6379),
}


@pytest.mark.skipif(trace.available() is not None, reason="needs root and strace")
@pytest.mark.parametrize("service", ["nginx", "redis"])
def test_the_layer_names_what_a_trace_sees(run: Callable[[str], Running], service: str) -> None:
    """Every directory of the image that the trace saw written, and none besides."""
    script, port = _SERVICES[service]
    container = run(script)
    watchable = live.available(_DOCKER_ROOT) is None
    with ExitStack() as stack:
        names = stack.enter_context(LiveNames([_DOCKER_ROOT])) if watchable else None
        traced = stack.enter_context(Trace(container.pid))
        container.release()
        _wait_for(lambda: ("tcp", "0.0.0.0", port) in read_listeners(container.pid))
        (_drive_nginx if service == "nginx" else _drive_redis)(container.address)
        layer = container.layer
        if names is not None:
            names.watch(layer.upper)
        processes = read_processes(container.pid)
        held = read_open_files(container.pid)
        written, notes = read_upper_layer(layer)
        assert notes == ()
    seen, _ = traced.writes(layer.lowers)
    assert _image_directories(written, layer) == _image_directories(seen, layer)
    programs = {process.program for process in processes}
    assert f"/usr/{'sbin/nginx' if service == 'nginx' else 'bin/redis-server'}" in programs or any(
        "redis" in program for program in programs
    )
    if service == "nginx":
        assert "/var/log/nginx/access.log" in {str(write.path) for write in held}
        assert {process.uid for process in processes} == {0, 33}
    if names is None:
        return
    merged = {str(write.path): write for write in merge_writes(written, names.writes(layer)[0], held)}
    if service == "nginx":
        assert {"/run/nginx.pid", "/etc/nginx/nginx.conf", "/var/lib/nginx"} & set(merged) >= {"/etc/nginx/nginx.conf"}
        assert any(name.startswith("sed") for name in merged["/etc/nginx"].names)
    else:
        assert any(name.startswith("temp-") for name in merged["/var/lib/redis"].names)
        assert any(writer.program.endswith("redis-server") for writer in merged["/var/lib/redis"].writers)


@pytest.mark.skipif(not _starts_are_told(), reason="the kernel does not tell of starts")
def test_who_is_gone_at_once_is_named(run: Callable[[str], Running]) -> None:
    """A shell's helpers live for a millisecond; they are known by program and user all the same."""
    script = "for i in 1 2 3 4 5; do setpriv --reuid 33 --regid 34 --clear-groups touch /tmp/x$i; rm /tmp/x$i; done"
    container = run(f"{script}; touch /tmp/done; sleep 60")
    with LiveNames([_DOCKER_ROOT]) as names:
        layer = container.layer
        names.watch(layer.upper)
        container.release()
        _wait_for(lambda: (layer.upper / "tmp/done").exists())
        writes, notes = names.writes(layer)
    assert notes == ()
    assert {str(write.path): write.writers for write in writes} == {
        "/tmp": (Writer(program="/usr/bin/touch", uid=33, gid=34), Writer(program="/usr/bin/rm", uid=0, gid=0)),
        "/tmp/done": (Writer(program="/usr/bin/touch", uid=0, gid=0),),
    }


def test_docker_diff_names_fewer(run: Callable[[str], Running]) -> None:
    """A log that was opened and stays empty, and a directory where something came and went."""
    container = run(": >> /etc/issue; touch /tmp/x; rm /tmp/x; chmod 700 /opt; sleep 60")
    container.release()
    _wait_for(lambda: (container.layer.upper / "opt").exists())
    writes = {str(write.path): write.change for write in read_upper_layer(container.layer)[0]}
    assert writes == {
        "/etc/issue": Change.OPENED,
        "/tmp": Change.CAME_AND_WENT,
        "/opt": Change.METADATA,
    }
    assert "/tmp" not in _docker("diff", container.name)


def test_nothing_written_in_a_fresh_container(run: Callable[[str], Running]) -> None:
    """Docker's own work is not the program's."""
    container = run("true")
    assert read_upper_layer(container.layer) == ((), ())


def test_an_anonymous_volume(run: Callable[[str], Running]) -> None:
    """What Docker copied into it is the image's; what the program wrote there never shows in the layer."""
    container = run("echo new > /srv/volume/new; echo more >> /srv/volume/shipped; sleep 60")
    source = _docker("inspect", "--format", "{{(index .Mounts 0).Source}}", container.name)
    assert read_volume(P("/srv/volume"), Path(source), container.layer.lowers) == ()
    container.release()
    _wait_for(lambda: (Path(source) / "new").exists() and (Path(source) / "shipped").stat().st_size > 7)
    writes = {str(w.path): w for w in read_volume(P("/srv/volume"), Path(source), container.layer.lowers)}
    assert {path: write.change for path, write in writes.items()} == {
        "/srv/volume/new": Change.CREATED,
        "/srv/volume/shipped": Change.CHANGED,
    }
    assert {write.evidence for write in writes.values()} == {(Source.VOLUME,)}
    assert all(not str(write.path).startswith("/srv") for write in read_upper_layer(container.layer)[0])


def test_image_facts(run: Callable[[str], Running]) -> None:
    """Of an image in layers, with links followed inside it."""
    lowers = run("true").layer.lowers
    assert has_shell(lowers)
    assert resolve(lowers, P("/var/run/nginx.pid")) == P("/run/nginx.pid")
    entries = read_image_entries(lowers, [P("/var/lib/redis"), P("/etc/nginx/nginx.conf")])
    assert entries[P("/var/lib/redis")].uid != 0
    assert entries[P("/etc/nginx")].entries > 5
    assert entries[P("/etc/nginx/nginx.conf")].type is EntryType.FILE

"""Docker and Podman, driven for real: what a plan says is what the container gets, and nothing else changes."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from lithify.engines.base import Container, Root
from lithify.engines.command_line.docker import DockerEngine
from lithify.engines.command_line.engine import CliContainer, CliEngine
from lithify.engines.command_line.podman import PodmanEngine
from lithify.engines.command_line.runline import parse_run_line
from lithify.engines.ownership import OWNER, labels
from lithify.errors import EngineRefused, EngineUnreachable, NothingToExamine
from lithify.model.image import EntryType
from lithify.model.mount import Mount, MountPlan, Redirect, Seed, StorageKind
from lithify.model.run import Target, TargetKind
from lithify.model.writes import RunKey
from lithify.observe.overlay import read_upper_layer
from lithify.pipeline.target import choose_running
from lithify.settings import Settings

ENGINES = {"docker": DockerEngine, "podman": PodmanEngine}
# Podman's defaults fail inside many virtual machines: no crun on hybrid cgroups, no raised limits.
ARGUMENTS = {"docker": "", "podman": "--runtime runc --cgroup-manager cgroupfs"}
RUN_ARGUMENTS = {"docker": "", "podman": "--ulimit nofile=1024:1024 --ulimit nproc=1024:1024"}
KEY = RunKey(image="sha256:0")
MIB = 1 << 20


def place(path: str, storage: StorageKind, **more: object) -> Mount:
    return Mount(path=PurePosixPath(path), storage=storage, **more)  # type: ignore[arg-type]


def plan_of(*mounts: Mount, redirects: tuple[Redirect, ...] = ()) -> MountPlan:
    return MountPlan(key=KEY, container="app", mounts=mounts, redirects=redirects)


PLACES = (
    place("/tmp", StorageKind.MEMORY, mode=0o1777, size=MIB, inodes=100),
    place("/new/sticky", StorageKind.MEMORY, mode=0o1777, size=MIB),
    place("/new/theirs", StorageKind.MEMORY, mode=0o700, uid=33, gid=34, size=MIB),
    place("/srv/pipe", StorageKind.MEMORY, seed=Seed.SKELETON, size=MIB),
    place("/var/cache/app", StorageKind.SCRATCH, uid=1001, seed=Seed.CONTENT),
    place("/new/scratch", StorageKind.SCRATCH, uid=1001, gid=1001),
    place("/srv/data", StorageKind.VOLUME, uid=1001, mode=0o2770, seed=Seed.CONTENT, name="app-data"),
    place("/new/state", StorageKind.VOLUME, uid=1005, gid=6, mode=0o750, name="app-state"),
    place("/etc/app.conf", StorageKind.VOLUME, type=EntryType.FILE, uid=1001, mode=0o640, seed=Seed.CONTENT),
)
EXPECTED = {
    "/tmp": "1777 0 0",
    "/new/sticky": "1777",
    "/new/theirs": "700 33 34",
    "/srv/pipe": "755 0 0",
    "/srv/pipe/one": "1777 0 0",
    "/srv/pipe/two": "750 1001 1001",
    "/var/cache/app": "755 1001 0",
    "/var/cache/app/a": "700 1001 0",
    "/new/scratch": "755 1001 1001",
    "/srv/data": "2770 1001 0",
    "/srv/data/first": "644 1001 0",
    "/new/state": "750 1005 6",
    "/etc/app.conf": "640 1001 0",
}
REMOVE = {"docker": ("docker", "rm", "-f", "-v"), "podman": ("podman", "rm", "-f", "-v", "-t0")}
NOEXEC = {
    "docker": {"/tmp", "/new/sticky", "/new/theirs", "/srv/pipe", "/srv/data", "/new/state"},
    "podman": {"/tmp", "/new/sticky", "/new/theirs", "/srv/pipe", "/srv/data", "/new/state", "/var/cache/app"},
}


def everything(name: str) -> set[str]:
    """Return what an engine has: containers, volumes, networks."""
    lists = (["ps", "--all", "--quiet"], ["volume", "ls", "--quiet"], ["network", "ls", "--quiet"])
    done = [subprocess.run([name, *words], capture_output=True, text=True, check=True) for words in lists]
    return {line for result in done for line in result.stdout.split()}


@pytest.fixture(params=["docker", "podman"])
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine under test; its image is there."""
    engine = str(request.param)
    monkeypatch.setenv(f"LITHIFY_{engine.upper()}_ARGS", ARGUMENTS[engine])
    monkeypatch.setenv(f"LITHIFY_{engine.upper()}_RUN_ARGS", RUN_ARGUMENTS[engine])
    return engine


@pytest.fixture
def image(name: str, request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{name}_image"))


@pytest.fixture
def engine(name: str, image: str) -> Iterator[CliEngine]:
    """The engine; fails the test that leaves something behind in it."""
    yield ENGINES[name]()
    # others use the same engine: only what this process made counts
    owner = next(label for label in labels("") if label.startswith(f"{OWNER}="))
    filters = ["--quiet", "--filter", f"label={owner}"]
    for words in (["ps", "--all"], ["volume", "ls"]):
        left = subprocess.run([name, *words, *filters], capture_output=True, text=True, check=True).stdout.split()
        assert left == []


@pytest.fixture
def target(name: str, image: str) -> Target:
    return Target(kind=TargetKind.IMAGE, engine=name, reference=image)


def line(target: Target, words: str, command: str = "sleep 1000") -> Target:
    """Return `target` with run options and a command."""
    text = f"{target.engine} {ARGUMENTS[target.engine]} run {RUN_ARGUMENTS[target.engine]} {words} {target.reference}"
    words_of_line = (*shlex.split(text), *shlex.split(command))
    return replace(target, kind=TargetKind.LINE, line=words_of_line, reference=" ".join(words_of_line))


def inside(container: Container, script: str, user: str | None = "0:0") -> str:
    result = container.execute(["sh", "-c", script], user=user)
    assert result.code == 0, result.output
    return result.output.decode()


def test_image_is_read_as_it_runs(engine: CliEngine, target: Target) -> None:
    """User, command, environment and volumes are the image's, with what the line overrides."""
    facts = engine.read_image(target)
    assert (facts.user, facts.uid, facts.gid, facts.has_shell) == ("app", 1001, 1001, True)
    assert facts.command == ("sleep", "1000")
    assert facts.volumes == (PurePosixPath("/var/lib/store"),)
    assert facts.exposed == ("8080/tcp",)
    assert facts.environment["SECOND"] == "two"
    assert facts.digest
    other = engine.read_image(line(target, "-u 7:8 -e SECOND=2 -w /tmp --entrypoint env", "true"))
    assert (other.uid, other.gid, other.working_directory) == (7, 8, PurePosixPath("/tmp"))
    assert (other.entrypoint, other.command, other.environment["SECOND"]) == (("env",), ("true",), "2")
    assert other.digest == facts.digest


def test_no_such_image(engine: CliEngine, target: Target) -> None:
    """A missing image is not pulled; the hint says how to."""
    with pytest.raises(NothingToExamine) as caught:
        engine.read_image(replace(target, reference="localhost/no-such-image:1"))
    assert "pull" in caught.value.hint
    assert engine.attach("no-such-container") is None


def test_places_are_as_planned_at_every_start(engine: CliEngine, target: Target) -> None:
    """Owner, mode, content and noexec hold at the first start and after a restart; nothing else is writable."""
    redirect = Redirect(old=PurePosixPath("/x"), new=PurePosixPath("/tmp"), variable="TMPDIR", value="/tmp")
    plan = plan_of(*PLACES, redirects=(redirect,))
    container = engine.create(target, root=Root.READ_ONLY, plan=plan)
    try:
        for start in range(2):
            container.start()
            found = inside(container, f"stat -c '%n %a %u %g' {' '.join(EXPECTED)}").splitlines()
            for line_of_path, (path, expected) in zip(found, EXPECTED.items(), strict=True):
                assert line_of_path.startswith(f"{path} {expected}"), start
            run = "cp /bin/true $d/x; $d/x 2>/dev/null; [ $? = 126 ] || echo $d; rm $d/x"
            assert inside(container, f"for d in {' '.join(NOEXEC[target.engine])}; do {run}; done") == ""
            assert inside(container, "touch /dev/shm/x; cat /etc/app.conf; echo $TMPDIR") == "setting\n/tmp\n"
            write = "touch $d/x 2>&1 | grep -q 'Read-only file system' || echo $d"
            others = "/ /etc /run /var/tmp /new /usr /var/log /srv"
            assert inside(container, f"for d in {others}; do {write}; done") == ""
            container.kill()
            assert container.exit_code() == 137
            assert container.pid() is None
    finally:
        container.remove()


def test_line_is_kept_and_stable(engine: CliEngine, target: Target) -> None:
    """No word of the user's is lost or moved, and the plan added twice is the plan added once."""
    written = line(target, '-it --rm -p8080:80 --name=mine -e A="b c" --label x=y', "sleep 5 --flag")
    once = engine.render(written, plan_of(*PLACES))
    parsed, original = parse_run_line(once.command), parse_run_line(written.line)
    assert parsed.options[: len(original.options)] == original.options
    assert (parsed.command, parsed.image) == (original.command, original.image)
    twice = engine.render(replace(written, line=once.command), plan_of(*PLACES))
    assert twice.command == once.command
    assert twice.setup == ()


def test_printed_command_runs_as_printed(engine: CliEngine, target: Target, name: str) -> None:
    """Setup and command, given to the shell as they are, start the container; a second setup does no harm."""
    mounts = tuple(replace(mount, name=mount.name and f"lithify-printed-{mount.name}") for mount in PLACES)
    command = engine.render(line(target, "-d --name lithify-printed"), plan_of(*mounts))
    before = everything(name)
    try:
        for _ in range(2):
            for words in command.setup:
                subprocess.run(words, check=True, capture_output=True, timeout=60)
        subprocess.run(command.command, check=True, capture_output=True, timeout=60)
        container = engine.attach("lithify-printed")
        assert container is not None
        assert container.pid() is not None
        found = subprocess.run(
            [name, "exec", "lithify-printed", "cat", "/srv/data/first"], capture_output=True, check=True
        )
        assert found.stdout == b"first\n"
    finally:
        subprocess.run([*REMOVE[name], "lithify-printed"], capture_output=True, timeout=60, check=False)
        for volume in sorted(everything(name) - before):
            subprocess.run([name, "volume", "rm", volume], capture_output=True, timeout=60, check=False)


def test_argument_is_redirected(engine: CliEngine, target: Target) -> None:
    """A changed argument replaces the one of the image's command; a directory alone is the working directory."""
    moved = Redirect(old=PurePosixPath("/a"), new=PurePosixPath("/b"), argument=(1, "77"))
    assert engine.render(target, plan_of(redirects=(moved,))).command[-2:] == ("sleep", "77")
    elsewhere = Redirect(old=PurePosixPath("/srv"), new=PurePosixPath("/tmp"))
    words = engine.render(target, plan_of(redirects=(elsewhere,))).command
    assert parse_run_line(words).value("workdir") == "/tmp"


def test_storage_of_the_user_is_not_touched(engine: CliEngine, target: Target, name: str, tmp_path: Path) -> None:
    """Writes to the user's directories, files and volumes stay with us, over a restart and for the next container."""
    directory, file, missing = tmp_path / "directory", tmp_path / "file.conf", tmp_path / "missing"
    directory.mkdir(0o777)
    directory.chmod(0o777)
    (directory / "old").write_text("old")
    file.write_text("old")
    subprocess.run([name, "volume", "create", "lithify-test-user"], check=True, capture_output=True)
    flags = (
        f"-v {directory}:/new/directory -v {file}:/new/file -v {missing}:/new/missing -v lithify-test-user:/new/named "
        f"-v lithify-test-none:/new/none -v {directory}:/new/readonly:ro --name lithify-test-user -d --restart always"
    )
    container = engine.create(line(target, flags), root=Root.WRITABLE)
    again: Container | None = None
    try:
        container.start()
        inside(
            container, "for d in directory missing named none; do echo new > /new/$d/new; done; echo new >> /new/file"
        )
        assert inside(container, "cat /new/directory/old /new/file /new/readonly/old") == "oldoldnew\nold"
        container.kill()
        container.start()
        assert inside(container, "cat /new/*/new") == "new\n" * 4
        container.stop(0)
        again = engine.create(line(target, flags), root=Root.WRITABLE, storage=container)
        container.remove()
        again.start()
        assert inside(again, "cat /new/*/new /new/file") == "new\n" * 4 + "oldnew\n"
        assert [entry.name for entry in directory.iterdir()] == ["old"]
        assert file.read_text() == "old"
        assert not missing.exists()
        listed = subprocess.run([name, "volume", "ls", "--quiet"], capture_output=True, text=True, check=True)
        assert "lithify-test-none" not in listed.stdout.split()
    finally:
        container.remove()
        if again is not None:
            again.remove()
        subprocess.run([name, "volume", "rm", "lithify-test-user"], check=True, capture_output=True)


def test_replacement_finds_the_volumes(engine: CliEngine, target: Target) -> None:
    """With `storage` a second container has the planned volumes of the first; they go with the last of both."""
    plan = plan_of(*PLACES)
    first = engine.create(target, root=Root.READ_ONLY, plan=plan)
    second: Container | None = None
    try:
        first.start()
        inside(first, "echo kept > /srv/data/marker; echo lost > /tmp/marker")
        first.stop(0)
        second = engine.create(target, root=Root.READ_ONLY, plan=plan, storage=first)
        second.start()
        assert inside(second, "cat /srv/data/marker /srv/data/first; ls /tmp") == "kept\nfirst\n"
    finally:
        if second is not None:
            second.remove()
        first.remove()


def test_a_rehearsal_has_the_places_and_a_writable_root(engine: CliEngine, target: Target) -> None:
    """What a plan misses is found by its own places with a root that takes every write."""
    container = engine.create(target, root=Root.WRITABLE, plan=plan_of(place("/tmp", StorageKind.MEMORY, mode=0o1777)))
    try:
        container.start()
        inside(container, "touch /tmp/planned /srv/data/missed")
        layer = container.upper_layer()
        assert layer is not None
        assert [str(write.path) for write in read_upper_layer(layer)[0]] == ["/srv/data/missed"]
    finally:
        container.remove()


def test_idle_container_wrote_nothing(engine: CliEngine, target: Target, tmp_path: Path) -> None:
    """What the engine makes in every container, mount points of the user's included, is no write."""
    flags = f"-v {tmp_path}:/deep/er/mount --tmpfs /other/place -v {tmp_path}:/etc/more:ro"
    container = engine.create(line(target, flags), root=Root.WRITABLE)
    try:
        container.start()
        layer = container.upper_layer()
        assert layer is not None
        assert read_upper_layer(layer)[0] == ()
        container.execute(["touch", "/srv/data/new"])
        container.kill()
        # the layer is known as long as the container exists
        layer = container.upper_layer()
        assert layer is not None
        assert [str(write.path) for write in read_upper_layer(layer)[0]] == ["/srv/data/new"]
    finally:
        container.remove()


def test_layer_of_a_container_that_ended_at_once(engine: CliEngine, target: Target) -> None:
    """The layer is found although there was no mount table to be seen, and where the engine puts its init."""
    init = "--init" if engine.name == "docker" else ""  # Podman wants a package of its own for it
    container = engine.create(line(target, init, "touch /srv/data/short"), root=Root.WRITABLE)
    try:
        container.start()
        _wait_until_stopped(container)
        assert container.exit_code() == 0
        layer = container.upper_layer()
        assert layer is not None
        assert [str(write.path) for write in read_upper_layer(layer)[0]] == ["/srv/data/short"]
        diff = container.diff()
        assert diff is not None
        assert ("A", PurePosixPath("/srv/data/short")) in diff
    finally:
        container.remove()


def test_volumes_of_the_image(engine: CliEngine, target: Target) -> None:
    """The directory behind an image's VOLUME is told; one that a plan covers is not the image's any more."""
    container = engine.create(target, root=Root.WRITABLE)
    planned = engine.create(
        target, root=Root.READ_ONLY, plan=plan_of(place("/var/lib/store", StorageKind.SCRATCH, uid=1001, gid=1001))
    )
    try:
        container.start()
        inside(container, "echo x > /var/lib/store/file", user=None)
        assert (container.volumes()[PurePosixPath("/var/lib/store")] / "file").read_text() == "x\n"
        assert planned.volumes() == {}
    finally:
        container.remove()
        planned.remove()


def test_flag_alone(engine: CliEngine, target: Target, name: str) -> None:
    """Without a plan a read-only root is the engine's own flag: Podman makes /tmp writable with it, Docker does not."""
    container = engine.create(line(target, "--read-only=false"), root=Root.READ_ONLY)
    writable = engine.create(line(target, "--read-only"), root=Root.WRITABLE)
    try:
        container.start()
        writable.start()
        assert container.execute(["touch", "/etc/x"], user="0").code == 1
        assert container.execute(["touch", "/tmp/x"], user="0").code == (1 if name == "docker" else 0)
        assert writable.execute(["touch", "/etc/x"], user="0").code == 0
    finally:
        container.remove()
        writable.remove()


def test_life(engine: CliEngine, target: Target) -> None:
    """Start, address, commands, logs, stop, exit code."""
    script = "trap 'echo bye; exit 3' TERM; echo out; echo err >&2; while :; do sleep 0.1; done"
    container = engine.create(
        line(target, "--log-driver none -p 127.0.0.1:8080:8080", f"sh -c {shlex.quote(script)}"), root=Root.WRITABLE
    )
    try:
        assert (container.pid(), container.exit_code()) == (None, None)
        container.start()
        pid, address = container.pid(), container.address()
        assert pid is not None
        assert address is not None
        assert Path(f"/proc/{pid}/root/srv/data/first").exists()
        assert container.exit_code() is None
        assert container.execute(["sh", "-c", "echo hi; exit 5"]).code == 5
        assert container.execute(["id", "-u"], user="7").output == b"7\n"
        assert container.execute(["no-such-program"]).code == 127
        begun = time.monotonic()
        assert container.execute(["sleep", "60"], timeout=1).code == 124
        assert time.monotonic() - begun < 10
        assert container.stop(10) == 3
        # two streams are two pipes to the engine: what comes at once may change places
        assert container.logs() in (b"out\nerr\nbye\n", b"err\nout\nbye\n")
        assert container.logs(limit=4) == b"bye\n"
        assert container.execute(["true"]).code == 127
    finally:
        container.remove()
        container.remove()


def test_flood_of_logs_is_bounded(engine: CliEngine, target: Target) -> None:
    """The end of a long log is given, no more of it than asked for, and soon."""
    container = engine.create(
        line(target, "", "sh -c 'yes 0123456789 | head -c 30000000; echo end'"), root=Root.WRITABLE
    )
    try:
        container.start()
        _wait_until_stopped(container)
        begun = time.monotonic()
        log = container.logs(limit=1000)
        assert (len(log), log.endswith(b"end\n")) == (1000, True)
        assert time.monotonic() - begun < 20
    finally:
        container.remove()


def test_command_that_can_not_be_started(engine: CliEngine, target: Target) -> None:
    """The engine's refusal is an error of ours with its words, and the container can still be removed."""
    container = engine.create(line(target, "", "/no/such/program"), root=Root.WRITABLE)
    try:
        with pytest.raises(EngineRefused, match="no such"):
            container.start()
    finally:
        container.remove()


def test_refused_creation_leaves_nothing(engine: CliEngine, target: Target) -> None:
    """Volumes that were made before the engine refused are gone again."""
    with pytest.raises(EngineRefused):
        engine.create(line(target, "--memory nonsense"), root=Root.READ_ONLY, plan=plan_of(*PLACES))


def test_container_of_the_user_is_only_looked_at(engine: CliEngine, target: Target, name: str) -> None:
    """An attached container can be read, running and stopped; whatever would touch it is refused."""
    words = line(target, "-d --name lithify-test-attached -e MORE=1 -m 64m").line
    subprocess.run(words, check=True, capture_output=True)
    try:
        subprocess.run([name, "exec", "lithify-test-attached", "touch", "/srv/data/new"], check=True)
        container = engine.attach("lithify-test-attached")
        assert container is not None
        assert container.name == "lithify-test-attached"
        group = Path(f"/proc/{container.pid()}/cgroup").read_text().splitlines()[0].split(":", 2)[2]
        for reference in (f"{name}:lithify-test-attached", str(container.pid()), group):
            assert choose_running(reference, Settings())[1].upper_layer() is not None
            assert choose_running(reference, Settings())[1].pid() == container.pid()
        for touch in (container.start, container.kill, container.remove, container.keep):
            with pytest.raises(EngineRefused, match="yours"):
                touch()
        subprocess.run([name, "kill", "lithify-test-attached"], check=True, capture_output=True)
        stopped = engine.attach("lithify-test-attached")
        assert stopped is not None
        _wait_until_stopped(stopped)
        layer = stopped.upper_layer()
        assert layer is not None
        assert [str(write.path) for write in read_upper_layer(layer)[0]] == ["/srv/data/new"]
        command = engine.render(
            Target(kind=TargetKind.CONTAINER, engine=name, reference="lithify-test-attached"), plan_of(PLACES[0])
        )
        parsed = parse_run_line(command.command)
        assert parsed.value("name") == "lithify-test-attached"
        assert parsed.environment()["MORE"] == "1"
        assert parsed.value("memory") in ("64m", str(64 * MIB))
        assert parsed.command in ((), ("sleep", "1000"))
        twin = engine.create(
            Target(kind=TargetKind.CONTAINER, engine=name, reference="lithify-test-attached"), root=Root.WRITABLE
        )
        try:
            twin.start()
            assert inside(twin, "echo $MORE") == "1\n"
        finally:
            twin.remove()
    finally:
        subprocess.run([*REMOVE[name], "lithify-test-attached"], check=True, capture_output=True)


_CHILD = """
import sys, time
from tests.runtime.test_cli_engines import ENGINES, PLACES, Root, Target, TargetKind, plan_of
name, image = sys.argv[1:]
target = Target(kind=TargetKind.IMAGE, engine=name, reference=image)
container = ENGINES[name]().create(target, root=Root.READ_ONLY, plan=plan_of(*PLACES))
container.start()
print(container.name, flush=True)
time.sleep(600)
"""


def test_sweep_takes_what_a_killed_process_left(engine: CliEngine, target: Target, name: str) -> None:
    """What belongs to a process that is gone is removed; what is in use or was kept is not."""
    ours = engine.create(target, root=Root.WRITABLE)
    kept = engine.create(target, root=Root.WRITABLE, purpose="look")
    environment = {**os.environ, "PYTHONPATH": "src:."}
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, name, target.reference], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert child.stdout is not None
        left = child.stdout.readline().strip()
        assert left.startswith("lithify-")
        assert not any(left in swept for swept in engine.sweep())
        child.send_signal(signal.SIGKILL)
        child.wait()
        kept.keep()
        assert kept.name.startswith("lithify-kept-")
        kept.remove()
        swept = engine.sweep()
        assert f"{name} container {left}" in swept
        assert any("app-data" in line for line in swept)
        assert engine.attach(left) is None
        assert engine.attach(ours.name) is not None
        assert engine.attach(kept.name) is not None
        assert engine.sweep() == []
    finally:
        child.kill()
        child.communicate()
        ours.remove()
        subprocess.run([*REMOVE[name], kept.name], check=True, capture_output=True)


def test_engine_that_is_not_there(
    engine: CliEngine, target: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No program, or no daemon: one clear error with a hint, also for a container that was made before."""
    container = engine.create(target, root=Root.WRITABLE)
    assert isinstance(container, CliContainer)
    with monkeypatch.context() as gone:
        gone.setenv("PATH", str(tmp_path))
        with pytest.raises(EngineUnreachable) as caught:
            ENGINES[target.engine]().attach("any")
        assert "install" in caught.value.hint
        with pytest.raises(EngineUnreachable):
            container.pid()
    container.remove()


def _wait_until_stopped(container: Container) -> None:
    end = time.monotonic() + 20
    while container.exit_code() is None and time.monotonic() < end:
        time.sleep(0.1)


def test_docker_goes_away(docker_image: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An engine that is gone half-way is an error of ours in whatever is asked of a container."""
    container = DockerEngine().create(
        Target(kind=TargetKind.IMAGE, engine="docker", reference=docker_image), root=Root.WRITABLE
    )
    with monkeypatch.context() as gone:
        gone.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
        for ask in (container.start, container.pid, container.exit_code, container.kill, container.diff):
            with pytest.raises(EngineUnreachable):
                ask()
        with pytest.raises(EngineUnreachable):
            container.execute(["true"])
        with pytest.raises(EngineUnreachable):
            container.remove()
    container.remove()


def test_docker_without_daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A socket that nobody listens at is an engine that gives no answer."""
    if not shutil.which("docker"):
        pytest.skip("needs docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(EngineUnreachable) as caught:
        DockerEngine().attach("any")
    assert "daemon" in caught.value.hint

"""The bundle engine with real root filesystems, a real OCI runtime and a real kernel."""

import glob
import hashlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest

from lithify.engines.base import Root
from lithify.engines.bundle.engine import BundleContainer, BundleEngine
from lithify.errors import EngineRefused, EngineUnreachable, LithifyError, NotPermitted, UsageError
from lithify.model.image import EntryType
from lithify.model.mount import Mount, MountPlan, Redirect, Seed, StorageKind
from lithify.model.run import Target, TargetKind
from lithify.model.writes import RunKey

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the bundle engine needs root")

RUNTIMES = ("runc", "crun")


class Workshop:
    """An engine with a state directory of its own, which knows what it made."""

    def __init__(self, runtime: str, state: Path) -> None:
        self.engine = BundleEngine(runtime, state)
        self.state = state
        self.made: list[BundleContainer] = []

    def create(self, rootfs: Path, *command: str, **options: object) -> BundleContainer:
        fields = {name: options.pop(name) for name in ("user", "environment", "memory") if name in options}
        target = Target(
            kind=TargetKind.ROOTFS,
            engine="bundle",
            reference=str(rootfs),
            command=command,
            **fields,  # type: ignore[arg-type]
        )
        return self.create_target(target, **options)

    def create_target(self, target: Target, **options: object) -> BundleContainer:
        options.setdefault("root", Root.WRITABLE)
        container = self.engine.create(target, **options)  # type: ignore[arg-type]
        self.made.append(container)
        return container

    def started(self, rootfs: Path, *command: str, **options: object) -> BundleContainer:
        container = self.create(rootfs, *command, **options)
        container.start()
        return container


@pytest.fixture(params=RUNTIMES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workshop]:
    """A workshop of each runtime; afterwards nothing of what it made may be left."""
    if not shutil.which(request.param):
        pytest.skip(f"needs {request.param}")
    workshop = Workshop(request.param, tmp_path / "state")
    yield workshop
    for container in workshop.made:
        container.remove()
    for container in workshop.made:
        assert traces(container.name) == []
    assert os.listdir(workshop.state / "runs") == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture
def runc(tmp_path: Path) -> Iterator[Workshop]:
    """A workshop of runc only, for what does not depend on the runtime."""
    workshop = Workshop("runc", tmp_path / "state")
    yield workshop
    for container in workshop.made:
        container.remove()
        assert traces(container.name) == []
    assert os.listdir(workshop.state / "runs") == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def traces(name: str) -> list[str]:
    """Return what the host still has of a container: cgroups, links, processes."""
    link = f"/sys/class/net/li{name[-12:]}"
    found = [path for path in (link, *glob.glob(f"/sys/fs/cgroup/**/{name}", recursive=True)) if os.path.exists(path)]
    return found + [path for path in glob.glob("/proc/[0-9]*/cmdline") if name.encode() in read(path)]


def mount(path: str, storage: StorageKind = StorageKind.MEMORY, **fields: object) -> Mount:
    return Mount(path=PurePosixPath(path), storage=storage, **fields)  # type: ignore[arg-type]


def plan(*mounts: Mount, redirects: tuple[Redirect, ...] = ()) -> MountPlan:
    return MountPlan(key=RunKey(image="test"), container="test", mounts=mounts, redirects=redirects)


def ask(container: BundleContainer, port: int = 8080) -> str:
    """Return the probe's answer, asked until it listens."""
    address = container.address()
    assert address is not None
    for _ in range(100):
        try:
            with socket.create_connection((address, port), timeout=5) as connection:
                return connection.recv(100).decode().strip()
        except OSError:
            time.sleep(0.05)
    raise AssertionError(container.logs())


def container_file(container: BundleContainer, path: str) -> list[str]:
    return Path(f"/proc/{container.pid()}/root/{path}").read_text().splitlines()


def until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def snapshot(root: Path) -> dict[str, tuple[int, ...]]:
    """Return the attributes of every entry below `root`."""
    found: dict[str, tuple[int, ...]] = {}
    for base, directories, files in os.walk(root):
        for name in (*directories, *files, "."):
            status = os.lstat(os.path.join(base, name))
            found[os.path.join(base, name)] = (status.st_mode, status.st_uid, status.st_mtime_ns, status.st_size)
    return found


def entries(directory: Path) -> set[str]:
    """Return the paths of everything below `directory`."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def test_a_life_with_a_restart_in_place(shop: Workshop, static_rootfs: Path) -> None:
    """Start, answer, die by SIGKILL, start again on the same layer, stop when asked."""
    before = snapshot(static_rootfs)
    container = shop.create(static_rootfs, "/probe", "serve", "8080", "/hits")
    assert container.pid() is None
    assert container.exit_code() is None
    layer = container.upper_layer()
    assert layer is not None
    container.start()
    assert container.pid()
    assert container.exit_code() is None
    assert ask(container) == "ok 2"
    assert entries(layer.upper) == {"hits"}
    with pytest.raises(EngineRefused, match="runs already"):
        container.start()
    container.kill()
    assert container.pid() is None
    assert container.exit_code() == 137
    assert container.address() is None
    container.start()
    (hosts,) = (line for line in container_file(container, "etc/hosts") if container.name[-12:] in line)
    assert hosts.split()[0] == container.address()
    assert ask(container) == "ok 4"
    assert container.stop(10) == 0
    assert container.exit_code() == 0
    assert container.logs() == b"listening on 8080\n" * 2
    assert container.logs(5) == b"8080\n"
    container.remove()
    container.remove()
    assert snapshot(static_rootfs) == before


def test_the_flag_alone_refuses_and_a_place_serves(shop: Workshop, static_rootfs: Path) -> None:
    refused = shop.started(static_rootfs, "/probe", "serve", "8080", "/state/hits", root=Root.READ_ONLY)
    until(lambda: refused.exit_code() is not None)
    assert refused.exit_code() == 1
    assert refused.logs().startswith(b"open /state/hits: ")
    place = mount("/state", size=1 << 20, inodes=100, mode=0o750)
    planned = plan(place)
    served = shop.started(static_rootfs, "/probe", "serve", "8080", "/state/hits", root=Root.READ_ONLY, plan=planned)
    assert ask(served) == "ok 2"
    served.kill()
    served.start()
    assert ask(served) == "ok 2", "memory is gone with a restart"


def test_two_run_side_by_side(shop: Workshop, static_rootfs: Path) -> None:
    both = [shop.started(static_rootfs, "/probe", "serve", "8080", "/hits") for _ in range(2)]
    assert [ask(container) for container in both] == ["ok 2", "ok 2"]
    assert both[0].address() != both[1].address()
    assert both[0].name != both[1].name


def test_nothing_but_the_program_writes_to_the_upper_layer(shop: Workshop, static_rootfs: Path) -> None:
    """An image without /etc, /proc, /dev or a mount point of the plan gets them in a layer below."""
    planned = plan(mount("/a/b/c"), mount("/etc/keys", StorageKind.SCRATCH))
    container = shop.started(static_rootfs, "/probe", root=Root.READ_ONLY, plan=planned)
    layer = container.upper_layer()
    assert layer is not None
    assert entries(layer.upper) == set()
    root, image = layer.upper.stat(), static_rootfs.stat()
    assert (root.st_mode, root.st_mtime_ns) == (image.st_mode, image.st_mtime_ns)
    assert {PurePosixPath("/a/b/c"), PurePosixPath("/etc/hosts")} <= layer.noise
    assert layer.lowers[-1] == static_rootfs
    assert "proc" in os.listdir(layer.lowers[0])


PLACES = [
    # what the image has there: a missing directory, one with another mode and owner, one with the same
    pytest.param(mount("/new/place", mode=0o1770, uid=7, gid=8), {}, id="missing"),
    pytest.param(mount("/opt", mode=0o2775, uid=33, gid=33), {}, id="another-mode"),
    pytest.param(mount("/tmp", mode=0o1777), {}, id="same"),
    pytest.param(
        mount("/run", mode=0o755, seed=Seed.SKELETON), {"/run/lock": "1777 0 0", "/run/motd": None}, id="skeleton"
    ),
    pytest.param(
        mount("/var", mode=0o755, seed=Seed.CONTENT, size=64 << 20),
        {"/var/local": "2775 0 50", "/var/mail": "2775 0 8", "/var/tmp": "1777 0 0", "/var/lib/dpkg/status": "644 0 0"},
        id="content",
    ),
    pytest.param(
        mount("/var", StorageKind.SCRATCH, mode=0o755, seed=Seed.CONTENT),
        {"/var/local": "2775 0 50", "/var/mail": "2775 0 8", "/var/tmp": "1777 0 0", "/var/lib/dpkg/status": "644 0 0"},
        id="disk-content",
    ),
    pytest.param(
        mount("/etc", StorageKind.VOLUME, mode=0o700, uid=3, seed=Seed.SKELETON, name="v"),
        {"/etc/cron.d": "755 0 0", "/etc/passwd": None},
        id="volume-skeleton",
    ),
]


@pytest.mark.parametrize(("place", "inside"), PLACES)
def test_a_place_is_as_planned_at_each_start(
    shop: Workshop, base_rootfs: Path, place: Mount, inside: dict[str, str | None]
) -> None:
    """Mode, owner, options and seed hold at the first start, after a restart in place, and with each runtime."""
    before = snapshot(base_rootfs)
    container = shop.create(base_rootfs, "sleep", "1000", root=Root.READ_ONLY, plan=plan(place))

    def attributes(path: str) -> str | None:
        found = container.execute(["stat", "-c", "%a %u %g", path])
        return found.output.decode().strip() if found.code == 0 else None

    for _ in range(2):
        container.start()
        assert attributes(str(place.path)) == f"{place.mode:o} {place.uid} {place.gid}"
        assert {path: attributes(path) for path in inside} == inside
        assert container.execute(["touch", f"{place.path}/new"], user=f"{place.uid}:{place.gid}").code == 0
        assert b"Read-only" in container.execute(["touch", "/usr/new"]).output
        table = container.execute(["findmnt", "-no", "OPTIONS", str(place.path)]).output.split()[-1].decode()
        assert {"nosuid", "nodev", "noexec", "rw"} <= set(table.split(","))
        container.kill()
    assert snapshot(base_rootfs) == before


def test_an_executable_place_can_be_executed_from(shop: Workshop, base_rootfs: Path) -> None:
    planned = plan(mount("/x", executable=True), mount("/y"), mount("/z", StorageKind.SCRATCH, executable=True))
    container = shop.started(base_rootfs, "sleep", "1000", root=Root.READ_ONLY, plan=planned)
    codes = {
        path: container.execute(["sh", "-c", f"cp /bin/true {path}/p && {path}/p"]).code for path in ("/x", "/y", "/z")
    }
    assert codes == {"/x": 0, "/y": 126, "/z": 0}


def test_limits_of_memory_places_hold(shop: Workshop, base_rootfs: Path) -> None:
    planned = plan(mount("/small", size=64 << 10, inodes=5))
    container = shop.started(base_rootfs, "sleep", "1000", root=Root.READ_ONLY, plan=planned)
    full = container.execute(["dd", "if=/dev/zero", "of=/small/f", "bs=4k", "count=100"])
    assert b"No space left" in full.output
    many = container.execute(["sh", "-c", "for i in 1 2 3 4 5 6; do : > /small/$i || exit 9; done"])
    assert many.code != 0


def test_a_file_place(shop: Workshop, base_rootfs: Path) -> None:
    planned = plan(
        mount("/etc/motd", StorageKind.SCRATCH, type=EntryType.FILE, mode=0o644),
        mount("/etc/debian_version", type=EntryType.FILE, mode=0o600, uid=5),
        mount("/etc/none", StorageKind.VOLUME, type=EntryType.FILE, mode=0o640, name="n"),
    )
    container = shop.started(base_rootfs, "sleep", "1000", root=Root.READ_ONLY, plan=planned)
    version = (base_rootfs / "etc/debian_version").read_bytes()
    for _ in range(2):
        look = container.execute(["sh", "-c", "cat /etc/debian_version; stat -c '%a %u' /etc/debian_version /etc/none"])
        assert look.output == version + b"600 5\n640 0\n"
        for name in ("motd", "debian_version", "none"):
            assert container.execute(["sh", "-c", f"echo changed >> /etc/{name}"]).code == 0
        assert container.execute(["touch", "/etc/other"]).code == 1
        container.kill()
        container.start()
    motd = (base_rootfs / "etc/motd").read_bytes() if (base_rootfs / "etc/motd").exists() else b""
    assert container.execute(["cat", "/etc/motd"]).output == motd + b"changed\n" * 2
    assert container.execute(["cat", "/etc/none"]).output == b"changed\n" * 2


def test_a_replacement_finds_the_volumes_of_the_first(shop: Workshop, static_rootfs: Path) -> None:
    planned = plan(mount("/data", StorageKind.VOLUME, name="data"))
    command = ("/probe", "serve", "8080", "/data/hits")
    first = shop.started(static_rootfs, *command, root=Root.READ_ONLY, plan=planned)
    assert ask(first) == "ok 2"
    assert first.stop(10) == 0
    second = shop.started(static_rootfs, *command, root=Root.READ_ONLY, plan=planned, storage=first)
    assert ask(second) == "ok 4"
    volume = second.named[PurePosixPath("/data")]
    first.remove()
    assert ask(second) == "ok 5"
    second.remove()
    assert not volume.exists()
    fresh = shop.started(static_rootfs, *command, root=Root.READ_ONLY, plan=planned)
    assert ask(fresh) == "ok 2"


def test_redirects_are_applied(runc: Workshop, base_rootfs: Path) -> None:
    old, new = PurePosixPath("/old"), PurePosixPath("/new")
    redirects = (
        Redirect(old=old, new=new, variable="TMPDIR", value="/new"),
        Redirect(old=old, new=new, argument=(2, 'echo "$TMPDIR $KEPT"')),
    )
    container = runc.started(
        base_rootfs, "sh", "-c", "echo nothing", environment={"KEPT": "kept"}, plan=plan(redirects=redirects)
    )
    until(lambda: container.exit_code() is not None)
    assert container.logs() == b"/new kept\n"
    with pytest.raises(EngineRefused, match="argument 7"):
        runc.create(base_rootfs, "true", plan=plan(redirects=(Redirect(old=old, new=new, argument=(7, "x")),)))


def test_hostile_links_lead_nowhere(shop: Workshop, static_rootfs: Path, tmp_path: Path) -> None:
    """Links in the image that point out of it are resolved inside; nothing outside is mounted on or written."""
    outside = tmp_path / "outside"
    outside.mkdir()
    rootfs = tmp_path / "rootfs"
    (rootfs / "etc").mkdir(parents=True)
    shutil.copy(static_rootfs / "probe", rootfs / "probe")
    (rootfs / "run").symlink_to("/../../../../etc")
    (rootfs / "data").symlink_to(outside)
    (rootfs / "up").symlink_to(f"../../../../../../../..{outside}")
    (rootfs / "etc" / "hosts").symlink_to("/proc/1/root/etc/hosts")
    (rootfs / "etc" / "resolv.conf").symlink_to("../run/systemd/resolve.conf")
    hosts = Path("/etc/hosts").read_bytes()
    before = snapshot(rootfs)
    planned = plan(
        mount("/run/app"), mount("/data/in", StorageKind.SCRATCH), mount("/up/in", StorageKind.VOLUME, name="v")
    )
    container = shop.started(rootfs, "/probe", "serve", "8080", "/run/app/x", root=Root.READ_ONLY, plan=planned)
    assert ask(container) == "ok 2"
    pid = container.pid()
    mounted = {line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()}
    assert {"/etc/app", f"{outside}/in"} <= mounted
    assert container.execute(["/probe", "write", "/data/in/x"]).code == 0
    assert container.execute(["/probe", "write", "/data/x"]).code == 1
    container.remove()
    assert list(outside.iterdir()) == []
    assert snapshot(rootfs) == before
    assert Path("/etc/hosts").read_bytes() == hosts


def test_a_plan_that_can_not_be_made_is_refused(runc: Workshop, static_rootfs: Path, tmp_path: Path) -> None:
    rootfs = tmp_path / "rootfs"
    rootfs.mkdir()
    shutil.copy(static_rootfs / "probe", rootfs / "probe")
    (rootfs / "loop").symlink_to("loop")
    bad = [
        mount("/"),
        mount("/proc/sys"),
        mount("/probe"),
        mount("/probe/below"),
        mount("/loop/x"),
        mount("/../.."),
        mount("/sys", type=EntryType.FILE),
    ]
    for place in bad:
        with pytest.raises(EngineRefused):
            runc.create(rootfs, "/probe", plan=plan(place))
    with pytest.raises(UsageError, match="what to run"):
        runc.create(rootfs)
    assert entries(rootfs) == {"probe", "loop"}


def test_a_program_that_ends_at_once(shop: Workshop, static_rootfs: Path) -> None:
    container = shop.create(static_rootfs, "/probe", "exit", "42")
    for _ in range(2):
        container.start()
        until(lambda: container.exit_code() is not None)
        assert container.exit_code() == 42
        assert container.stop(1) == 42
        container.kill()
    assert container.logs() == b""


@pytest.mark.parametrize("command", ["/none", "none", "/etc"])
def test_a_program_that_can_not_be_started(shop: Workshop, base_rootfs: Path, command: str) -> None:
    container = shop.create(base_rootfs, command)
    with pytest.raises(EngineRefused, match="can't"):
        container.start()
    assert container.pid() is None
    with pytest.raises(EngineRefused) as again:
        container.start()
    assert "\n" not in str(again.value)


def test_a_flooded_log_is_bounded(runc: Workshop, static_rootfs: Path) -> None:
    container = runc.started(static_rootfs, "/probe", "flood")
    directory = next((runc.state / "runs").glob("*/containers/*"))
    until(lambda: (directory / "log.1").exists(), 60)
    time.sleep(0.5)
    container.kill()
    size = sum((directory / name).stat().st_size for name in ("log", "log.1"))
    assert size <= 2 * (8 << 20)
    assert container.logs().splitlines()[-2] == b"a line that is written again and again until somebody stops it"
    assert len(container.logs(5 << 20)) == 5 << 20


def test_commands_inside(shop: Workshop, base_rootfs: Path) -> None:
    container = shop.started(base_rootfs, "sleep", "1000", user="daemon", environment={"A": "b"})
    look = container.execute(["sh", "-c", "id -u; id -g; echo $HOME $A $HOSTNAME; exit 9"])
    assert (look.code, look.output) == (9, b"1\n1\n/usr/sbin b\n")
    assert container.execute(["id", "-nu"], user="nobody").output == b"nobody\n"
    assert container.execute(["id", "-G"], user="0:4242").output == b"4242\n"
    assert container.execute(["no-such-program"]).code == 127
    assert container.execute(["/etc"]).code == 127
    assert container.execute(["sh", "-c", "sleep 500 & sleep 500"], timeout=0.5).code == 124
    running = container.execute(["sh", "-c", "cat /proc/[0-9]*/stat | grep -v ') Z'"]).output
    assert running.count(b"(sleep)") == 1, "what ran out of time is gone, but for its corpses"
    assert container.stop(0.2) == 137, "sleep as the first process ignores SIGTERM"
    with pytest.raises(EngineRefused, match="does not run"):
        container.execute(["true"])


def test_it_looks_like_a_container_of_docker(shop: Workshop, base_rootfs: Path) -> None:
    container = shop.started(base_rootfs, "sleep", "1000")

    def inside(script: str) -> str:
        return container.execute(["sh", "-c", script]).output.decode().strip()

    assert "00000000a80425fb" in inside("grep CapEff /proc/self/status")
    assert inside("stat -c %a /dev/shm /dev/null /proc") == "1777\n666\n555"
    assert inside("touch /sys/x 2>&1; echo 1 > /proc/sys/kernel/hostname").count("Read-only file system") == 2
    assert inside("hostname") == container.name[-12:]
    assert inside("getent hosts $(hostname)").split()[0] == container.address()
    assert inside("cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "0"
    assert int(inside("ls /proc | grep -c '^[0-9]'")) < 8
    unprivileged = shop.started(base_rootfs, "sleep", "1000", user="nobody")
    assert b"0000000000000000" in unprivileged.execute(["grep", "CapEff", "/proc/self/status"]).output


def test_what_a_service_manager_told_us_stays_ours(
    shop: Workshop, base_rootfs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("LISTEN_FDS", "1")
        container = shop.started(base_rootfs, "sleep", "1000")
        assert b"NOTIFY" not in container.execute(["env"]).output
        assert b"notify" not in container.execute(["cat", "/proc/self/mountinfo"]).output


def test_a_memory_limit_is_set_or_said_not_to_be(shop: Workshop, static_rootfs: Path) -> None:
    container = shop.started(static_rootfs, "/probe", memory=64 << 20)
    limits = glob.glob(f"/sys/fs/cgroup/**/{container.name}/memory.limit_in_bytes", recursive=True)
    limits += glob.glob(f"/sys/fs/cgroup/**/{container.name}/memory.max", recursive=True)
    if container.notes:
        assert "memory limit" in " ".join(container.notes)
    else:
        assert [int(Path(path).read_text()) for path in limits] == [64 << 20]


OWNER = """
import sys, time
from pathlib import Path
from lithify.engines.base import Root
from lithify.engines.bundle.engine import BundleEngine
from lithify.model.run import Target, TargetKind
engine = BundleEngine(sys.argv[1], Path(sys.argv[2]))
target = Target(kind=TargetKind.ROOTFS, engine="bundle", reference=sys.argv[3], command=("/probe",))
for number in range(2):
    container = engine.create(target, root=Root.WRITABLE)
    if number or sys.argv[4] == "started":
        container.start()
    if number and sys.argv[4] == "kept":
        container.keep()
    print(container.name, container.pid() or 0, flush=True)
time.sleep(100)
"""


def owner(shop: Workshop, rootfs: Path, how: str) -> tuple[subprocess.Popen[str], list[tuple[str, int]]]:
    """Start another lithify process that makes two containers; return it, and their names and pids."""
    command = [sys.executable, "-c", OWNER, shop.engine._runtime(), str(shop.state), str(rootfs), how]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    lines = [child.stdout.readline().split() for _ in range(2)]
    return child, [(name, int(pid)) for name, pid in lines]


def test_what_a_killed_lithify_left_is_swept(shop: Workshop, static_rootfs: Path) -> None:
    child, made = owner(shop, static_rootfs, "started")
    with child:
        try:
            assert shop.engine.sweep() == [], "its owner lives"
            assert all(os.path.exists(f"/proc/{pid}") for _, pid in made)
        finally:
            child.send_signal(signal.SIGKILL)
    assert all(os.path.exists(f"/proc/{pid}") for _, pid in made), "containers outlive lithify"
    swept = shop.engine.sweep()
    assert sorted(swept) == sorted(f"container {name}" for name, _ in made)
    assert [trace for name, _ in made for trace in traces(name)] == []
    assert shop.engine.sweep() == []
    assert os.listdir(shop.state / "runs") == []


STAGES = ("", "containers/*/config.json", "containers/*/orders.json", "containers/*/shim.json", "runtime/*",
          "containers/*/pid", "containers/*/status.json")  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
def test_a_lithify_killed_at_any_stage_is_swept_after(shop: Workshop, static_rootfs: Path, stage: str) -> None:
    """Killed as soon as a file of that stage is there, in the middle of a create included."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", OWNER, shop.engine._runtime(), str(shop.state), str(static_rootfs), "started"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as child:
        until(lambda: bool(glob.glob(f"{shop.state}/runs/*/{stage}")), 60)
        child.send_signal(signal.SIGKILL)
    shop.engine.sweep()
    assert os.listdir(shop.state / "runs") == []
    needle = os.fsencode(shop.state)
    until(lambda: not any(needle in read(path) for path in glob.glob("/proc/[0-9]*/cmdline")))


def read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def test_what_was_kept_stays_for_a_look(shop: Workshop, static_rootfs: Path) -> None:
    child, made = owner(shop, static_rootfs, "kept")
    with child:
        child.send_signal(signal.SIGKILL)
    (left, _), (kept, pid) = made
    assert shop.engine.sweep() == [f"container {left}"]
    assert shop.engine.sweep() == []
    found = shop.engine.attach(kept)
    assert found is not None
    assert found.pid() == pid
    assert found.address() is not None
    assert shop.engine.sweep(kept=True) == [f"container {kept}"]
    assert traces(kept) == []


@pytest.mark.skipif(not os.access("/sys/fs/cgroup/pids", os.W_OK), reason="cgroups of version 1 can't be made here")
def test_control_groups_that_a_runtime_forgot_are_removed(runc: Workshop, base_rootfs: Path) -> None:
    """One that is killed between its own state and the groups knows nothing of them any more."""
    container = runc.started(base_rootfs, "sleep", "1000")
    pid = container.pid()
    assert pid is not None
    (state,) = runc.state.glob(f"**/runtime/{container.name}")
    os.kill(pid, signal.SIGKILL)
    until(lambda: container.exit_code() is not None)
    shutil.rmtree(state)
    assert any("/sys/fs/cgroup/" in path for path in traces(container.name)), "else this test shows nothing"
    container.remove()
    assert traces(container.name) == []


def test_a_container_is_looked_at_by_any_pid_in_it(runc: Workshop, base_rootfs: Path) -> None:
    container = runc.started(base_rootfs, "sh", "-c", "sleep 1000 & echo x > /written; wait")
    until(lambda: len(child_pids(container.pid())) == 1)
    (child,) = child_pids(container.pid())
    until(lambda: (own := container.upper_layer()) is not None and entries(own.upper) == {"written"})
    for reference in (str(child), f"/{container.name}"):
        view = runc.engine.attach(reference)
        assert view is not None
        layer, real = view.upper_layer(), container.upper_layer()
        assert layer is not None
        assert real is not None
        assert (layer.upper, layer.lowers) == (real.upper, real.lowers)
        assert entries(layer.upper) == {"written"}
        assert real.noise <= layer.noise
        assert view.address() == container.address()
        assert view.exit_code() is None
        with pytest.raises(EngineRefused, match="not ours"):
            view.start()
        with pytest.raises(EngineRefused, match="not ours"):
            view.execute(["true"])
        with pytest.raises(EngineRefused, match="not ours"):
            view.remove()
    assert runc.engine.attach("/no/such/cgroup") is None
    assert runc.engine.attach("no-such-name") is None
    assert runc.engine.attach("4194304") is None
    view = runc.engine.attach(str(container.pid()))
    assert view is not None
    container.kill()
    assert view.pid() is None
    assert view.exit_code() == 255


def child_pids(pid: int | None) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_volumes_of_an_image_are_disks_of_their_own(shop: Workshop, static_rootfs: Path, tmp_path: Path) -> None:
    """A VOLUME comes with what the image has there, lives over a restart, and gives way to a plan."""
    tree = tmp_path / "tree"
    (tree / "data" / "sub").mkdir(parents=True)
    (tree / "data" / "sub" / "seed").write_text("seed")
    shutil.copy(static_rootfs / "probe", tree / "probe")
    (tree / "data").chmod(0o2770)
    os.chown(tree / "data", 55, 66)
    config: dict[str, object] = {
        "Volumes": {"/data": {}, "/made": {}},
        "Entrypoint": ["/probe"],
        "Cmd": ["serve", "8080", "/data/hits"],
    }
    target = Target(kind=TargetKind.LAYOUT, engine="bundle", reference=str(layout(tree, tmp_path / "image", config)))
    container = shop.create_target(target, root=Root.READ_ONLY)
    container.start()
    assert ask(container) == "ok 2"
    container.kill()
    container.start()
    assert ask(container) == "ok 4"
    volumes = container.volumes()
    assert set(volumes) == {PurePosixPath("/data"), PurePosixPath("/made")}
    data = volumes[PurePosixPath("/data")]
    assert entries(data) == {"hits", "sub", "sub/seed"}
    status = data.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o2770, 55, 66)
    layer = container.upper_layer()
    assert layer is not None
    assert entries(layer.upper) == set()
    planned = shop.create_target(target, root=Root.READ_ONLY, plan=plan(mount("/data", mode=0o755)))
    assert set(planned.volumes()) == {PurePosixPath("/made")}
    rendered = shop.engine.render(target, plan(mount("/data", mode=0o755)))
    bundle = Path(rendered.command[-2])
    # cron refuses a crontab that has a second name: the image's files must stay as they are
    assert (bundle / "rootfs" / "probe").stat().st_nlink == 1
    assert not any("mount points" in note for note in rendered.notes)


def layout(tree: Path, directory: Path, config: dict[str, object]) -> Path:
    """Pack `tree` as an OCI image layout of one layer."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": "application/octet-stream", "digest": f"sha256:{digest}", "size": len(data)}

    layer = blob(subprocess.run(["tar", "-C", tree, "-c", "."], stdout=subprocess.PIPE, check=True).stdout)
    described = {"config": config, "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
    manifest = blob(json.dumps({"config": blob(json.dumps(described).encode()), "layers": [layer]}).encode())
    (directory / "oci-layout").write_text("{}")
    (directory / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    return directory


def test_many_at_once(runc: Workshop, static_rootfs: Path) -> None:
    """Drop-tests run in parallel: each gets a network, a layer and a volume of its own."""
    planned = plan(mount("/data", StorageKind.VOLUME, name="data"))

    def one(_: int) -> str:
        container = runc.started(
            static_rootfs, "/probe", "serve", "8080", "/data/hits", root=Root.READ_ONLY, plan=planned
        )
        try:
            return ask(container)
        finally:
            container.remove()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(8))) == ["ok 2"] * 8


@pytest.mark.parametrize("name", ["with:colon,comma and space", "back\\slash\n", "not-utf8-\udcff", "é"])
def test_a_root_filesystem_of_any_name(runc: Workshop, static_rootfs: Path, tmp_path: Path, name: str) -> None:
    rootfs = tmp_path / name
    shutil.copytree(static_rootfs, rootfs)
    container = runc.started(rootfs, "/probe", "serve", "8080", "/hits")
    assert ask(container) == "ok 2"
    layer = container.upper_layer()
    assert layer is not None
    assert layer.lowers[-1] == rootfs
    view = runc.engine.attach(str(container.pid()))
    assert view is not None
    seen = view.upper_layer()
    assert seen is not None
    assert seen.lowers == layer.lowers


def test_a_state_directory_that_holds_no_upper_layer(tmp_path: Path, static_rootfs: Path) -> None:
    """On an overlay, as inside a container, memory takes the layers."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, tmp_path / "merged"], check=True)
    try:
        shop = Workshop("runc", tmp_path / "merged" / "state")
        container = shop.started(static_rootfs, "/probe", "serve", "8080", "/hits")
        assert ask(container) == "ok 2"
        container.remove()
        assert os.listdir(shop.state / "runs") == []
    finally:
        subprocess.run(["umount", tmp_path / "merged"], check=True)


def test_a_state_directory_behind_a_link(shop: Workshop, static_rootfs: Path, tmp_path: Path) -> None:
    """A runtime takes no root filesystem below a symbolic link, as `/var/run` and many a temporary directory are."""
    shop.state.mkdir()
    (tmp_path / "link").symlink_to(shop.state)
    shop.engine = BundleEngine(shop.engine._runtime_name, tmp_path / "link")
    container = shop.started(static_rootfs, "/probe", "sleep", "1000")
    assert container.pid() is not None


def test_no_directory_is_one_clear_error(runc: Workshop, tmp_path: Path) -> None:
    with pytest.raises(LithifyError, match="no directory at") as caught:
        runc.create(tmp_path / "none", "/probe")
    assert caught.value.exit_code == 3
    (runc.state / "runs").mkdir(parents=True)


def test_without_the_network_tools_it_runs_alone_and_says_so(
    runc: Workshop, static_rootfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "runc").symlink_to(str(shutil.which("runc")))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    container = runc.started(static_rootfs, "/probe", "serve", "8080", "/hits")
    assert container.pid()
    assert container.address() is None
    assert "ip is not installed" in " ".join(container.cannot_show)
    assert any("seccomp" in sentence for sentence in container.cannot_show)


def test_what_is_missing_is_said(
    runc: Workshop, static_rootfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(EngineUnreachable, match="runc is not installed") as caught:
            runc.create(static_rootfs, "/probe")
        assert "apt-get install runc" in caught.value.hint
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(NotPermitted, match="root") as refused:
            runc.create(static_rootfs, "/probe")
        assert "sudo" in refused.value.hint
    long = tmp_path / ("d" * 250)
    for _ in range(15):
        long /= "d" * 250
    with pytest.raises(LithifyError):
        runc.started(long, "/probe")
    assert os.listdir(runc.state / "runs") == []


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_rendered_bundle_runs(tmp_path: Path, base_rootfs: Path, runtime: str) -> None:
    """What `render` returns is started as it stands, twice, and is as the plan says each time."""
    rootfs = tmp_path / "rootfs"
    subprocess.run(["cp", "-a", base_rootfs, rootfs], check=True)
    engine = BundleEngine(runtime, tmp_path / "state")
    script = """
        stat -c '%a %u %g %n' /new /run /run/lock /var/mail /etc/motd; touch /usr/x 2>&1
        echo x >> /data/count; wc -l < /data/count; touch /new/x /run/x && ls /run; cat /etc/hostname"""
    target = Target(kind=TargetKind.ROOTFS, engine="bundle", reference=str(rootfs), command=("sh", "-c", script))
    planned = plan(
        mount("/new", mode=0o1770, uid=0, gid=8),
        mount("/run", seed=Seed.SKELETON),
        mount("/var", StorageKind.SCRATCH, seed=Seed.CONTENT),
        mount("/data", StorageKind.VOLUME, name="data"),
        mount("/etc/motd", StorageKind.SCRATCH, type=EntryType.FILE, mode=0o644),
    )
    rendered = engine.render(target, planned)
    assert engine.render(target, planned) == rendered
    assert any("/new" in note and str(rootfs) in note for note in rendered.notes)
    command = list(rendered.command)
    if runtime == "crun" and os.path.ismount("/sys/fs/cgroup/unified"):
        hide = 'umount --lazy /sys/fs/cgroup/unified && exec "$@"'
        command = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", hide, "sh", *command]
    for count in (1, 2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[:5] == [
            "1770 0 8 /new",
            "755 0 0 /run",
            "1777 0 0 /run/lock",
            "2775 0 8 /var/mail",
            "644 0 0 /etc/motd",
        ]
        assert "Read-only file system" in lines[5]
        assert lines[6].strip() == str(count)
        assert lines[7:9] == ["lock", "x"]
    assert stat.S_IMODE((rootfs / "run" / "lock").stat().st_mode) == 0o1777
    assert not (rootfs / "usr" / "x").exists()

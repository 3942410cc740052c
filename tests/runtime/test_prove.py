"""What a proof tries from inside a container's mounts: refusals, places, a remount; with a shell in it or none."""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest
from tests.runtime.hardening import Daemon, Images, Lithify

from lithify.engines.base import Container, Root
from lithify.engines.bundle.engine import BundleEngine
from lithify.engines.mounts import read_mounts
from lithify.model.image import EntryType
from lithify.model.mount import Mount, MountPlan, Seed, StorageKind
from lithify.model.run import Target, TargetKind
from lithify.model.verdict import Verdict
from lithify.model.writes import RunKey
from lithify.prove.probe import try_every_directory, try_remount, writable_mounts, write_as
from lithify.report.wire import parse

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the bundle engine needs root")

P = PurePosixPath
STAY = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
Start = Callable[..., int]


def mount(path: str, storage: StorageKind = StorageKind.MEMORY, **fields: object) -> Mount:
    return Mount(path=P(path), storage=storage, **fields)  # type: ignore[arg-type]


def directories(root: Path) -> int:
    """Count the directories of an image but those on which an engine mounts."""
    skipped = {root / "dev", root / "proc", root / "sys"}
    found = 1
    for base, names, _ in os.walk(root):
        names[:] = [name for name in names if Path(base, name) not in skipped and not Path(base, name).is_symlink()]
        found += len(names)
    return found


@pytest.fixture(params=["runc", "crun"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Starts a container of a root filesystem and returns its pid."""
    if not shutil.which(request.param):
        pytest.skip(f"needs {request.param}")
    engine = BundleEngine(request.param, tmp_path / "state")
    made: list[Container] = []

    def run(
        rootfs: Path, *command: str, root: Root = Root.READ_ONLY, mounts: tuple[Mount, ...] = (), idle: bool = False
    ) -> int:
        target = Target(kind=TargetKind.ROOTFS, engine="bundle", reference=str(rootfs), command=command)
        plan = MountPlan(key=RunKey(image="test"), container="test", mounts=mounts)
        made.append(engine.create(target, root=root, plan=plan, idle=idle))
        made[-1].start()
        pid = made[-1].pid()
        assert pid is not None
        return pid

    yield run
    for container in made:
        container.remove()


def test_every_directory_of_an_image_without_a_shell_refuses(start: Start, static_rootfs: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    shutil.copytree(static_rootfs, image)
    for name in ("state", "a/b/c", "closed", "with\nline", "sticky"):
        (image / name).mkdir(parents=True)
    (image / "closed").chmod(0)
    (image / "sticky").chmod(0o1777)
    (image / "link").symlink_to("/proc/self")
    pid = start(image, "/probe", mounts=(mount("/state"),))
    met = try_every_directory(pid)
    assert (met.accepted, met.other) == ((), ())
    # the place is none of the root; /etc is the runtime's, for the hosts file
    assert met.refused >= directories(image) - 1
    assert try_remount(pid) != ""


def test_a_writable_root_is_told_directory_by_directory_and_left_clean(start: Start, images: Images) -> None:
    image = images.make(files={"opt/app/file": "x"})
    pid = start(image, "sleep", "1000", root=Root.WRITABLE, mounts=(mount("/srv"),))
    met = try_every_directory(pid)
    assert met.refused == 0
    assert {P("/"), P("/opt/app"), P("/etc"), P("/tmp")} <= set(met.accepted)
    assert P("/srv") not in met.accepted
    assert len(met.accepted) >= directories(image) - 1
    left = subprocess.run(["find", f"/proc/{pid}/root", "-xdev", "-name", ".lithify*"], capture_output=True, text=True)
    assert left.stdout == ""


def test_a_directory_that_is_writable_on_a_read_only_root_is_found(start: Start, images: Images) -> None:
    """What somebody remounted or mounted over the root shows, by trying and by the mount table."""
    image = images.make(files={"opt/hole/file": "x"})
    pid = start(image, "sleep", "1000", mounts=(mount("/opt/hole", StorageKind.SCRATCH), mount("/run", mode=0o755)))
    open_places = {str(place.path): place.executable for place in writable_mounts(pid)}
    assert {"/opt/hole", "/run"} <= set(open_places)
    assert not open_places["/run"]
    assert not any(path in open_places for path in ("/", "/proc", "/sys"))
    inside = ["nsenter", "--mount", f"--target={pid}", "mount", "-o", "remount,bind,rw", "/"]
    subprocess.run(inside, check=True, timeout=30)
    assert P("/opt") in try_every_directory(pid).accepted
    assert "/" in {str(place.path) for place in writable_mounts(pid)}


def test_a_tree_too_deep_to_walk_by_recursion(start: Start, static_rootfs: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    shutil.copytree(static_rootfs, image)
    descriptor = os.open(image, os.O_RDONLY)
    for _ in range(1000):  # deeper than a path may be long
        os.mkdir("directory", dir_fd=descriptor)
        below = os.open("directory", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    try:
        met = try_every_directory(start(image, "/probe"))
        assert met.refused >= 300
        assert (met.accepted, met.other) == ((), ())
    finally:
        subprocess.run(["rm", "-rf", image], check=True)


def test_a_process_that_is_gone(start: Start, static_rootfs: Path) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    with pytest.raises(ProcessLookupError):
        try_every_directory(process.pid)
    assert writable_mounts(process.pid) == ()


def test_writing_as_a_user(start: Start, images: Images) -> None:
    """As the user who was seen writing, with no group and no right besides."""
    image = images.make(files={"srv/data/file": "x", "etc/app.conf": "setting\n"})
    pid = start(
        image,
        "sleep",
        "1000",
        mounts=(
            mount("/srv/theirs", uid=33, gid=34, mode=0o750),
            mount("/srv/all", mode=0o1777),
            mount("/srv/data", StorageKind.SCRATCH, uid=7, gid=8, mode=0o2770, seed=Seed.CONTENT),
            mount("/etc/app.conf", StorageKind.SCRATCH, type=EntryType.FILE, uid=33, mode=0o640, seed=Seed.CONTENT),
        ),
    )
    assert write_as(pid, P("/srv/theirs"), 33, 34) == ""
    assert write_as(pid, P("/srv/theirs"), 34, 34) == "EACCES"
    assert write_as(pid, P("/srv/theirs"), 0, 0) == ""
    assert write_as(pid, P("/srv/all"), 12345, 54321) == ""
    assert write_as(pid, P("/srv/data"), 1, 8) == ""
    assert write_as(pid, P("/srv/data"), 1, 1) == "EACCES"
    assert write_as(pid, P("/opt"), 0, 0) == "EROFS"
    assert write_as(pid, P("/srv/none"), 0, 0) == "ENOENT"
    assert write_as(pid, P("/etc/app.conf"), 33, 33, file=True) == ""
    assert write_as(pid, P("/etc/app.conf"), 35, 35, file=True) == "EACCES"
    assert write_as(pid, P("/etc/passwd"), 0, 0, file=True) == "EROFS"
    assert write_as(pid, P("/etc"), 0, 0) == "EROFS", "the directory of a single file stays as it is"
    conf = Path(f"/proc/{pid}/root/etc/app.conf")
    assert conf.read_text() == "setting\n"
    assert stat.S_IMODE(conf.stat().st_mode) == 0o640
    assert os.listdir(f"/proc/{pid}/root/srv/data") == ["file"]


def test_links_on_the_way_are_not_followed(start: Start, images: Images, tmp_path: Path) -> None:
    """A program can put a link where a place was: nothing is written to where it leads, on whichever side."""
    host = tmp_path / "host"
    host.mkdir()
    pid = start(images.make(), "sleep", "1000", mounts=(mount("/srv/all", mode=0o1777),))
    (Path(f"/proc/{pid}/root/srv/all") / "out").symlink_to(host)
    (Path(f"/proc/{pid}/root/srv/all") / "file").symlink_to("/tmp/x")
    assert write_as(pid, P("/srv/all/out"), 0, 0) in ("ENOTDIR", "ELOOP")
    assert write_as(pid, P("/srv/all/file"), 0, 0, file=True) == "ELOOP"
    assert os.listdir(host) == []


def test_an_idle_container_shows_the_same(start: Start, static_rootfs: Path) -> None:
    """For a program that ends by itself: its mounts and limits, and nothing that runs."""
    pid = start(static_rootfs, "/probe", "exit", "0", mounts=(mount("/state", mode=0o755),), idle=True)
    assert {m.path: m.read_only for m in read_mounts(pid)}[P("/")]
    assert try_every_directory(pid).accepted == ()
    assert write_as(pid, P("/state"), 0, 0) == ""
    assert try_remount(pid) != ""


# Whole proofs


def verdict(out: str) -> Verdict:
    return parse(out.encode(), Verdict, source="stdout")


def failed(found: Verdict) -> list[str]:
    return [check.name for check in found.checks if not check.passed]


@pytest.fixture
def docker(own_docker: Daemon, lithify: Lithify, images: Images) -> Daemon:
    """A Docker of our own with a small image `lean:1`, to which lithify talks."""
    lithify.environment, lithify.enter = {"DOCKER_HOST": own_docker.host}, own_docker.enter
    with subprocess.Popen(["tar", "-C", images.base, "-c", "."], stdout=subprocess.PIPE) as archive:
        own_docker.ask_with(archive.stdout, "import", "-", "lean:1")
    return own_docker


ADMIN = "--cap-add=SYS_ADMIN"
RIGHTS = (
    pytest.param(("--privileged",), id="privileged"),
    pytest.param(("--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--security-opt=seccomp=unconfined"), id="all"),
    pytest.param((ADMIN,), id="admin"),
)


@pytest.mark.parametrize("rights", RIGHTS)
def test_a_root_that_can_be_remounted_is_no_proof(docker: Daemon, lithify: Lithify, rights: tuple[str, ...]) -> None:
    if docker.call("run", "--rm", *rights, "lean:1", "true").returncode:
        pytest.skip(f"this host lacks rights that {' '.join(rights)} gives")
    line = ("docker", "run", *rights, "lean:1", "bash", "-c", f"date > /run/pid || exit 1; {STAY}")
    options = ("--tmpfs", "/run", "--check-inside", "test -e /run/pid", "--format", "json")
    done = lithify.run("prove", *options, "--", *line)
    assert done.code == 1, done.err
    assert failed(verdict(done.out)) == ["remount-refused"]


def test_what_is_remounted_to_try_is_read_only_again(docker: Daemon) -> None:
    container = docker.ask("run", "-d", ADMIN, "--read-only", "lean:1", "sleep", "1000")
    try:
        pid = int(docker.ask("inspect", "--format", "{{.State.Pid}}", container))
        before = [m for m in read_mounts(pid) if m.path == P("/")]
        assert try_remount(pid) == ""
        assert [m for m in read_mounts(pid) if m.path == P("/")] == before
        assert before[-1].read_only
        assert P("/opt") not in try_every_directory(pid).accepted
    finally:
        docker.ask("rm", "--force", container)


def test_a_job_of_docker_is_proved_though_it_is_over_at_once(docker: Daemon, lithify: Lithify) -> None:
    line = ("docker", "run", "lean:1", "bash", "-c", "date > /tmp/stamp")
    good = lithify.run("prove", "--tmpfs", "/tmp", "--format", "json", "--", *line)
    assert (good.code, failed(verdict(good.out))) == (0, []), good.err
    assert {check.name for check in verdict(good.out).refused} == {"root-refuses", "remount-refused"}
    bad = lithify.run("prove", "--tmpfs", "/run", "--format", "json", "--", *line)
    assert (bad.code, failed(verdict(bad.out))[0]) == (1, "starts")


def test_a_place_of_another_user_is_no_place(lithify: Lithify, images: Images) -> None:
    """A plan by hand whose place the program can't write to fails on that place and on what the program does."""
    image = images.make(f"date > /srv/app/x; date > /tmp/ready; {STAY}", {"srv/app": None})
    (image / "srv/app").chmod(0o777)
    mounts = ("--tmpfs", "/srv/app:uid=5,gid=5,mode=0700", "--tmpfs", "/tmp")
    options = ("--user", "33", "--check-inside", "test -e /tmp/ready", "--format", "json")
    done = lithify.run("prove", image, *mounts, *options, "--", "app")
    assert done.code == 1, done.err
    found = {check.name: check for check in verdict(done.out).works}
    assert not found["place /srv/app"].passed
    assert "33:" in found["place /srv/app"].summary
    assert "EACCES" in found["place /srv/app"].summary

"""What only Podman does."""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from lithify.engines.base import Root
from lithify.engines.command_line.container_line import line_of_container
from lithify.engines.command_line.podman import PodmanEngine
from lithify.engines.command_line.runline import MountKind, parse_run_line
from lithify.errors import EngineRefused
from lithify.model.image import EntryType
from lithify.model.mount import Mount, MountPlan, Seed, StorageKind
from lithify.model.run import Exercise, Target, TargetKind
from lithify.model.writes import BLIND_SPOTS, RunKey, Source
from lithify.pipeline.learn import learn
from lithify.pipeline.trial import Trials
from lithify.prove.probe import write_as

LINE = "podman --runtime runc --cgroup-manager cgroupfs run --ulimit nofile=1024:1024 --ulimit nproc=1024:1024"


def target_of(image: str, words: str = "", command: str = "sleep 1000") -> Target:
    line = tuple(shlex.split(f"{LINE} {words} {image} {command}"))
    return Target(kind=TargetKind.LINE, engine="podman", reference=" ".join(line), line=line)


def plan_of(*mounts: Mount) -> MountPlan:
    return MountPlan(key=RunKey(image="x"), container="x", mounts=mounts)


def memory(path: str, seed: Seed, **more: Any) -> Mount:
    return Mount(path=PurePosixPath(path), storage=StorageKind.MEMORY, seed=seed, size=1 << 20, **more)


def test_only_planned_places_are_writable(podman_image: str) -> None:
    """What `--read-only` brings with it is left out, shared memory kept."""
    engine = PodmanEngine()
    container = engine.create(target_of(podman_image, "-u 0"), root=Root.READ_ONLY, plan=plan_of())
    try:
        container.start()
        for path, code in (("/run", 1), ("/tmp", 1), ("/var/tmp", 1), ("/dev/shm", 0)):
            assert container.execute(["touch", f"{path}/x"]).code == code, path
    finally:
        container.remove()


@pytest.mark.parametrize("words", ["--read-only-tmpfs=false", "--ipc host", "--tmpfs /dev/shm", "--shm-size 1m"])
def test_shared_memory_stays_as_the_line_has_it(words: str, podman_image: str) -> None:
    """Nothing is mounted over what the user set."""
    command = PodmanEngine().render(target_of(podman_image, words), plan_of()).command
    shown = [mount for mount in parse_run_line(command).mounts() if mount.path == PurePosixPath("/dev/shm")]
    assert len(shown) == (0 if "ipc" in words else 1)
    assert "size=1m" not in words or "size=1m" in shown[0].options


def test_a_line_that_wants_the_writable_places_keeps_them(podman_image: str) -> None:
    """The user's own word stands, and the report says what it means."""
    command = PodmanEngine().render(target_of(podman_image, "--read-only-tmpfs=true"), plan_of())
    assert any("/var/tmp" in note for note in command.notes)
    assert "--read-only-tmpfs=false" not in command.command


def test_a_copy_up_that_spoils_modes_is_not_used(podman_image: str) -> None:
    """A directory that all may write would come back without that: it gets a tmpfs of its own, or a volume."""
    engine = PodmanEngine()
    few = engine.render(target_of(podman_image), plan_of(memory("/srv/pipe", Seed.SKELETON))).command
    places = {str(m.path): m.kind for m in parse_run_line(few).mounts()}
    assert places["/srv/pipe/one"] is MountKind.TMPFS
    plain = engine.render(target_of(podman_image), plan_of(memory("/etc/apt", Seed.CONTENT))).command
    assert any("/etc/apt:" in word and ",tmpcopyup" in word for word in plain)


def test_a_file_that_the_image_lacks_is_refused(podman_image: str) -> None:
    """Podman can't make one by itself; the error says what to do."""
    mount = Mount(path=PurePosixPath("/etc/none"), storage=StorageKind.VOLUME, type=EntryType.FILE, name="none")
    with pytest.raises(EngineRefused) as caught:
        PodmanEngine().render(target_of(podman_image), plan_of(mount))
    assert caught.value.hint


def test_line_of_a_container_is_the_line_it_was_made_with(podman_image: str) -> None:
    """Podman remembers it, options of the program included."""
    target = target_of(podman_image, "-d --name lithify-test-remembered -e A=b --tmpfs /run")
    subprocess.run(target.line, check=True, capture_output=True, timeout=60)
    try:
        words = ["podman", "container", "inspect", "lithify-test-remembered"]
        known = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)[0]
        assert line_of_container("podman", known, {}).words == target.line
        words = ["podman", "image", "inspect", podman_image]
        image = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)[0]
        # one made without a command line is put together from what it is
        known["Config"]["CreateCommand"] = None
        made = line_of_container("podman", known, image)
        assert made.environment()["A"] == "b"
        assert [str(mount.path) for mount in made.mounts()] == ["/run"]
        assert made.command == ()
    finally:
        words = ["podman", "rm", "-f", "-v", "-t0", "lithify-test-remembered"]
        subprocess.run(words, check=True, capture_output=True, timeout=60)


@pytest.mark.skipif(os.geteuid() != 0, reason="ids beyond one's own are for root to map")
def test_users_of_a_mapped_namespace_are_the_containers(podman_image: str) -> None:
    """Layers hold the host's ids; what is learnt and tried are the container's."""
    words = "--uidmap 0:200000:65536 --gidmap 0:300000:65536 -u 0"
    command = "sh -c 'touch /srv/data/second; chown 1001:33 /srv/data/second; exec sleep 1000'"
    engine, target = PodmanEngine(), target_of(podman_image, words, command)
    learnt = learn(Trials(engine=engine, target=target, exercise=Exercise())).write_set
    (write,) = [write for write in learnt.writes if write.path == PurePosixPath("/srv/data/second")]
    assert (write.uid, write.gid) == (1001, 33)
    directory = learnt.image.entries[PurePosixPath("/srv/data")]
    assert (directory.uid, directory.gid) == (1001, 0)
    plan = plan_of(memory("/srv/data", Seed.CONTENT, uid=1001, gid=0, mode=0o700))
    container = engine.create(target, root=Root.READ_ONLY, plan=plan)
    try:
        container.start()
        pid = container.pid()
        assert pid is not None
        assert write_as(pid, PurePosixPath("/srv/data"), 1001, 0) == ""
        assert write_as(pid, PurePosixPath("/srv/data"), 1002, 5) == "EACCES"
    finally:
        container.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="layers are read as root")
def test_what_podman_itself_writes_is_no_write_of_the_program(static_rootfs: Path) -> None:
    """An image without `/etc` gets a group file and directories for Podman's own files."""
    name = f"localhost/lithify-test-static:{os.getpid()}"
    with subprocess.Popen(["tar", "-C", static_rootfs, "-c", "."], stdout=subprocess.PIPE) as tar:
        words = ["podman", "import", "--change", "USER 65532:65532", "-", name]
        subprocess.run(words, stdin=tar.stdout, check=True, capture_output=True, timeout=60)
    try:
        trials = Trials(engine=PodmanEngine(), target=target_of(name, command="/probe wait"), exercise=Exercise())
        assert learn(trials).write_set.writes == ()
    finally:
        subprocess.run(["podman", "rmi", "--force", name], check=True, capture_output=True, timeout=60)


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory with a name as short as Podman wants it for where it runs (50 characters), unmounted at the end."""
    with tempfile.TemporaryDirectory(prefix="lt-") as name:
        yield Path(name)
        # Podman mounts its storage over itself and leaves it so
        subprocess.run(["umount", f"{name}/root/overlay"], check=False, capture_output=True, timeout=60)


@pytest.mark.skipif(os.geteuid() != 0, reason="layers are read as root")
@pytest.mark.parametrize("driver", ["vfs", "fuse-overlayfs"])
def test_storage_without_the_kernels_overlay_is_read_by_podmans_diff(
    driver: str, static_rootfs: Path, short_directory: Path
) -> None:
    """What a program wrote is found, nothing besides, and the blind spots are told."""
    options = ["--storage-driver", "vfs"]
    if driver != "vfs":
        if not shutil.which(driver):
            pytest.skip(f"needs {driver}")
        options = ["--storage-driver", "overlay", "--storage-opt", f"overlay.mount_program={shutil.which(driver)}"]
    podman = ("podman", "--root", f"{short_directory}/root", "--runroot", f"{short_directory}/run", *options)
    image = "localhost/lithify-test-storage"
    with subprocess.Popen(["tar", "-C", static_rootfs, "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run([*podman, "import", "-", image], stdin=tar.stdout, check=True, capture_output=True, timeout=60)
    line = (*podman, *shlex.split(LINE)[1:], image, "/probe", "serve", "80", "/srv")
    target = Target(kind=TargetKind.LINE, engine="podman", reference=" ".join(line), line=line)
    found = learn(Trials(engine=PodmanEngine(), target=target, exercise=Exercise())).write_set
    assert [(str(write.path), write.evidence) for write in found.writes] == [("/srv", (Source.DIFF,))]
    assert Source.LAYER not in found.observation.sources
    assert BLIND_SPOTS[Source.DIFF] in found.observation.notes
    listed = subprocess.run([*podman, "ps", "-aq"], check=True, capture_output=True, timeout=60).stdout
    assert not listed

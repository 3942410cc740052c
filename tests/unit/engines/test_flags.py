"""A plan in the words of each engine."""

import shlex
from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lithify.engines.base import RunCommand
from lithify.engines.command_line.docker_flags import DockerFlags
from lithify.engines.command_line.flags import EngineHost
from lithify.engines.command_line.podman_flags import PodmanFlags
from lithify.engines.command_line.runline import parse_run_line
from lithify.errors import EngineRefused
from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.mount import Mount, MountPlan, Redirect, Seed, StorageKind
from lithify.model.writes import RunKey


def directory(mode: int = 0o755, uid: int = 0, gid: int = 0, entries: int = 0, directories: int = 0) -> ImageEntry:
    return ImageEntry(type=EntryType.DIRECTORY, mode=mode, uid=uid, gid=gid, entries=entries, directories=directories)


IMAGE = ImageFacts(
    reference="web:1",
    uid=101,
    gid=101,
    command=("serve", "--state", "/app/state"),
    has_shell=True,
    entries={
        PurePosixPath("/tmp"): directory(0o1777),
        PurePosixPath("/run"): directory(entries=2, directories=2),
        PurePosixPath("/run/lock"): directory(0o1777),
        PurePosixPath("/run/web"): directory(uid=101, gid=101),
        PurePosixPath("/var/cache/web"): directory(uid=101, gid=101, entries=900, directories=300),
        PurePosixPath("/var/lib/web"): directory(0o700, uid=101, gid=101),
        PurePosixPath("/etc/web.conf"): ImageEntry(type=EntryType.FILE, mode=0o640, uid=101, gid=101, size=9),
    },
)
ENGINES = {
    "docker": (DockerFlags, "/var/lib/docker/volumes"),
    "podman": (PodmanFlags, "/var/lib/containers/storage/volumes"),
}
MEMORY, SCRATCH, VOLUME = StorageKind.MEMORY, StorageKind.SCRATCH, StorageKind.VOLUME


def place(path: str, storage: StorageKind, **more: object) -> Mount:
    return Mount(path=PurePosixPath(path), storage=storage, **more)  # type: ignore[arg-type]


def patch(text: str, *mounts: Mount, redirects: tuple[Redirect, ...] = ()) -> RunCommand:
    plan = MountPlan(key=RunKey(image="x"), container="web", mounts=mounts, redirects=redirects)
    line = parse_run_line(shlex.split(text))
    flags, volumes = ENGINES[line.engine]
    return flags(line=line, image=IMAGE, host=EngineHost(volumes=PurePosixPath(volumes))).add(plan).command


def shown(command: RunCommand) -> str:
    return shlex.join(command.command)


@pytest.mark.parametrize(
    ("engine", "mount", "expected"),
    [
        (
            "docker",
            place("/tmp", MEMORY, mode=0o1777, size=1 << 20, inodes=500),
            "--tmpfs /tmp:rw,noexec,nosuid,nodev,size=1m,nr_inodes=500,mode=1777",
        ),
        (
            "podman",
            place("/tmp", MEMORY, mode=0o1777, size=1 << 20),
            "--tmpfs /tmp:rw,noexec,nosuid,nodev,size=1m,notmpcopyup,mode=1777",
        ),
        (
            "docker",
            place("/new", MEMORY, uid=101, gid=101, size=4096, executable=True),
            "--tmpfs /new:rw,exec,nosuid,nodev,size=4k,uid=101,gid=101,mode=0755",
        ),
        (
            "podman",
            place("/new", MEMORY, uid=101, gid=101, size=4096, executable=True),
            "--tmpfs /new:rw,exec,nosuid,nodev,size=4k,notmpcopyup,U,mode=0755",
        ),
        # the mode of a mount point that the image lacks would be lost at a restart
        (
            "docker",
            place("/new", MEMORY, mode=0o1777, size=4096),
            (
                "--mount 'type=volume,dst=/new,volume-nocopy,volume-driver=local,volume-opt=type=tmpfs,"
                'volume-opt=device=tmpfs,"volume-opt=o=noexec,nosuid,nodev,size=4k,mode=1777"\''
            ),
        ),
        (
            "docker",
            place("/run", MEMORY, seed=Seed.SKELETON, size=4096),
            (
                "--tmpfs /run:rw,noexec,nosuid,nodev,size=4k,mode=0755 "
                "--tmpfs /run/lock:rw,noexec,nosuid,nodev,size=4k,mode=1777 "
                "--tmpfs /run/web:rw,noexec,nosuid,nodev,size=4k,uid=101,gid=101,mode=0755"
            ),
        ),
        (
            "docker",
            place("/var/cache/web", MEMORY, uid=101, gid=101, seed=Seed.CONTENT, size=4096),
            "--mount type=volume,dst=/var/cache/web",
        ),
        (
            "docker",
            place("/var/cache/web", SCRATCH, uid=101, gid=101, seed=Seed.CONTENT),
            "--mount type=volume,dst=/var/cache/web",
        ),
        (
            "podman",
            place("/var/cache/web", SCRATCH, uid=101, gid=101, seed=Seed.CONTENT),
            "--mount type=volume,dst=/var/cache/web,noexec,nosuid,nodev",
        ),
        (
            "docker",
            place("/var/lib/web", VOLUME, uid=101, gid=101, mode=0o700, name="data"),
            "--mount type=volume,src=data,dst=/var/lib/web",
        ),
        (
            "podman",
            place("/var/lib/web", VOLUME, uid=101, gid=101, mode=0o700, name="data"),
            "--volume data:/var/lib/web:noexec,nosuid,nodev,nocopy",
        ),
        ("docker", place("/run", SCRATCH), "--mount type=volume,dst=/run,volume-nocopy"),
        (
            "docker",
            place("/etc/web.conf", VOLUME, type=EntryType.FILE, name="conf", mode=0o640),
            "--mount type=bind,src=/var/lib/docker/volumes/conf/_data/web.conf,dst=/etc/web.conf",
        ),
    ],
)
def test_one_place(engine: str, mount: Mount, expected: str) -> None:
    """Each kind of place in the words of each engine."""
    flags = {
        "docker": "--read-only",
        "podman": "--read-only --read-only-tmpfs=false --tmpfs /dev/shm:rw,noexec,nosuid,nodev,size=64m,mode=1777",
    }
    command = patch(f"{engine} run -d web:1", mount)
    assert shown(command) == f"{engine} run -d {flags[engine]} {expected} web:1"


def test_volumes_are_made_first() -> None:
    """A volume that must not be executable, on a directory that the image lacks, has its setup in order."""
    command = patch("sudo docker run web:1", place("/data", VOLUME, uid=5, gid=6, mode=0o700, name="data"))
    root = "/var/lib/docker/volumes"
    layers = f"lowerdir={root}/data.lower/_data,upperdir={root}/data/_data,workdir={root}/data.work/_data"
    make = f"--driver local --opt type=overlay --opt device=overlay --opt o={layers},noexec,nosuid,nodev"
    tar = "tar --create --no-recursion --owner=5 --group=6 --mode=0700 --transform=s,.*,data, --directory=/ ."
    words = [shlex.join(words).replace("'\"'\"'", "") for words in command.setup]
    assert words == [
        "sudo docker volume create data.lower",
        "sudo docker volume create data.work",
        f"sudo docker volume create {make} data",
        "sudo docker create --name data.setup --volume data:/data web:1 true",
        f"sh -c '{tar} | sudo docker cp - data.setup:/'",
        "sudo docker rm --force --volumes data.setup",
    ]
    assert patch("docker run web:1", place("/data", VOLUME, name="data", executable=True)).setup == (
        ("docker", "volume", "create", "data"),
    )


def test_what_can_not_be_kept_is_told() -> None:
    """Nothing that the plan asks for is dropped in silence."""
    assert any("can be run" in note for note in patch("docker run web:1", place("/var/cache/web", SCRATCH)).notes)
    on_disk = patch("docker run web:1", place("/var/cache/web", MEMORY, seed=Seed.CONTENT, size=4096))
    assert any("on disk" in note for note in on_disk.notes)
    assert any(
        "no limit" in note
        for note in patch("podman run web:1", place("/tmp", MEMORY, mode=0o1777, size=1, inodes=5)).notes
    )
    assert any("size" in note for note in patch("docker run web:1", place("/tmp", MEMORY, mode=0o1777)).notes)
    with pytest.raises(EngineRefused):
        patch("podman run web:1", place("/etc/none", VOLUME, type=EntryType.FILE, name="x"))


def test_what_the_line_has_is_kept() -> None:
    """Mounts of the user's own at a planned path stay; a read-only one is told."""
    kept = patch(
        "docker run --tmpfs /tmp:size=9m -v d:/var/lib/web web:1",
        place("/tmp", MEMORY),
        place("/var/lib/web", VOLUME, name="x"),
    )
    assert shown(kept) == "docker run --tmpfs /tmp:size=9m -v d:/var/lib/web --read-only web:1"
    told = patch("docker run -v d:/var/lib/web:ro web:1", place("/var/lib/web", VOLUME, name="x"))
    assert any("read-only" in note for note in told.notes)
    assert shown(patch("docker run --read-only=false web:1")) == "docker run --read-only web:1"
    assert shown(patch("docker run --read-only web:1")) == "docker run --read-only web:1"
    with_shm = patch("podman run --shm-size 1g --ipc=host web:1")
    assert "/dev/shm" not in shown(with_shm)


def test_redirects() -> None:
    """A variable is set or changed in place, an argument changed in the command, a directory set."""
    variable = Redirect(old=PurePosixPath("/x"), new=PurePosixPath("/tmp"), variable="HOME", value="/tmp")
    assert shown(patch("docker run web:1", redirects=(variable,))) == "docker run --read-only --env HOME=/tmp web:1"
    changed = patch("docker run -e HOME=/root -e B=c web:1", redirects=(variable,))
    assert shown(changed) == "docker run --env HOME=/tmp -e B=c --read-only web:1"
    argument = replace(variable, variable=None, argument=(2, "/state"))
    assert shown(patch("docker run web:1", redirects=(argument,))).endswith("web:1 serve --state /state")
    assert shown(patch("docker run web:1 a b c d", redirects=(argument,))).endswith("web:1 a b /state d")
    assert "--workdir /tmp" in shown(patch("docker run web:1", redirects=(replace(variable, variable=None),)))
    added = replace(variable, variable=None, appended=("--log=/tmp/x",))
    assert shown(patch("docker run web:1", redirects=(added,))).endswith("web:1 serve --state /app/state --log=/tmp/x")
    once = patch("docker run web:1 a b", redirects=(added,))
    assert shown(once).endswith("web:1 a b --log=/tmp/x")
    assert patch(shown(once), redirects=(added,)) == once


def test_arguments_count_from_the_entrypoint() -> None:
    """A plan counts in all that is started; a run line has the part after the image's entrypoint."""
    image = ImageFacts(reference="web:1", entrypoint=("start.sh", "--quiet"), command=("serve", "--state", "/srv"))
    plan = MountPlan(key=RunKey(image="x", command=(*image.entrypoint, *image.command)), container="app")

    def words(index: int, text: str) -> tuple[str, ...]:
        moved = Redirect(old=PurePosixPath("/srv"), new=PurePosixPath("/mnt"), argument=(index, text))
        line = parse_run_line(("docker", "run", "web:1"))
        flags = DockerFlags(line=line, image=image, host=EngineHost(volumes=PurePosixPath("/volumes")))
        return flags.add(replace(plan, redirects=(moved,))).line.words

    assert words(4, "/mnt")[-4:] == ("web:1", "serve", "--state", "/mnt")
    assert " ".join(words(1, "--loud")).endswith("--entrypoint start.sh web:1 --loud serve --state /srv")
    with pytest.raises(EngineRefused):
        words(5, "/mnt")


PATHS = st.sampled_from(
    [*map(str, IMAGE.entries), "/new", "/new/deep", "/srv/a b", "/srv/co:lon", "/srv/com,ma", "/srv/ü"]
)
MOUNTS = st.builds(
    Mount,
    path=PATHS.map(PurePosixPath),
    storage=st.sampled_from(StorageKind),
    size=st.sampled_from([None, 4096, 1 << 26]),
    inodes=st.sampled_from([None, 100]),
    uid=st.sampled_from([0, 101, 5]),
    gid=st.sampled_from([0, 101]),
    mode=st.sampled_from([0o755, 0o700, 0o1777]),
    executable=st.booleans(),
    seed=st.sampled_from(Seed),
)
LINES = st.sampled_from([
    "docker run -d web:1", "sudo podman run -it --rm web:1 sh", "docker run --tmpfs /tmp -v d:/new -- web:1",
    "podman --log-level error run --read-only -v /a:/b --env=A=b web:1",
])  # fmt: skip


@given(LINES, st.lists(MOUNTS, max_size=5, unique_by=lambda mount: mount.path))
def test_twice_is_once_and_nothing_is_lost(text: str, mounts: list[Mount]) -> None:
    """Whatever the plan: the user's words stay in order, each place is in the line, a second time changes nothing."""
    once = patch(text, *mounts)
    line, original = parse_run_line(once.command), parse_run_line(shlex.split(text))
    assert line.options[: len(original.options)] == original.options
    assert (line.prefix, line.image, line.command) == (original.prefix, original.image, original.command)
    assert {mount.path for mount in mounts} <= {mount.path for mount in line.mounts()}
    twice = patch(shlex.join(once.command), *mounts)
    assert (twice.command, twice.setup) == (once.command, ())

"""The services of the measure are complete: what a folder names is there, and can be run."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

import pytest
from bench.services.build import copy_files, image_config, mark_deletions, write_layer, write_layout
from bench.services.places import Place, accepts_file, cost, naive_places, outermost
from bench.services.service import HERE, Service, read_services

from lithify.model.image import EntryType, ImageFacts
from lithify.model.writes import Change, Observation, RunKey, Source, Write, WriteSet

SERVICES = tuple(read_services())
PROGRAMS = sorted(
    path for name in ("check", "exercise", "files/**/*.sh", "files/usr/local/bin/*") for path in HERE.glob(f"*/{name}")
)


def test_there_are_sixteen() -> None:
    """The measure counts to sixteen, five of them on Podman at the least."""
    assert len(SERVICES) == 16
    assert sum(service.podman for service in SERVICES) >= 5


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_folder_is_complete(service: Service) -> None:
    """A service says what it is and what it runs, and brings its exercise and its check as programs."""
    assert service.summary
    assert service.entrypoint or service.command
    assert service.packages or service.scratch
    assert service.memory
    for program in (service.exercise, service.check):
        assert os.access(program, os.X_OK)
        assert "client.sh" in program.read_text()
    assert service.scratch or (service.folder / "setup").exists() or service.name == "memcached"
    assert all(path.is_absolute() for path in (*service.volumes, service.working_directory))
    assert all(isinstance(volume, PurePosixPath) for volume in service.volumes)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_marker_is_looked_for(service: Service) -> None:
    """What has to survive is what the check looks for, and a service that keeps nothing looks for nothing."""
    assert bool(service.marker) == ("marker_expected" in service.check.read_text())


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: str(path.relative_to(HERE)))
def test_program_parses(program: os.PathLike[str]) -> None:
    """Every script is one that its shell can read."""
    with open(program) as file:
        shell = "bash" if "bash" in file.readline() else "sh"
    subprocess.run([shell, "-n", program], check=True)


def test_key_follows_the_folder() -> None:
    """The key of an image changes with what it is made of, and only then."""
    service = SERVICES[0]
    assert service.key() == next(read_services((service.name,))).key()
    assert len({service.key() for service in SERVICES}) == len(SERVICES)


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A small image: a program with its configuration, and a directory for its data."""
    for directory in ("etc/app/conf.d", "srv/app", "var/lib/app", "run"):
        (tmp_path / "root" / directory).mkdir(parents=True)
    for file in ("etc/app/app.conf", "etc/app/conf.d/site.conf", "srv/app/main.py"):
        (tmp_path / "root" / file).write_text("text")
    return tmp_path / "root"


def service_in(folder: Path) -> Service:
    """A service whose code is in /srv/app."""
    return Service(folder=folder, summary="app", command=("app",), code=(PurePosixPath("/srv/app"),))


def test_outermost_leaves_out_what_lies_in_another() -> None:
    """A directory within another, or named twice, is no place of its own; a name that only begins alike is."""
    paths = map(PurePosixPath, ("/run/app", "/run", "/run", "/runner", "/var/lib"))
    assert outermost(paths) == list(map(PurePosixPath, ("/run", "/runner", "/var/lib")))


def test_naive_plan_mounts_what_the_layer_names(rootfs: Path) -> None:
    """Directories of the image, by the layer alone: not those the program made, not what a log line said."""
    writes = [
        Write(path=PurePosixPath("/run/app/app.pid"), change=Change.CREATED),
        Write(path=PurePosixPath("/var/lib/app"), change=Change.METADATA, type=EntryType.DIRECTORY),
        Write(path=PurePosixPath("/etc/app/conf.d/site.conf"), change=Change.REPLACED),
        Write(path=PurePosixPath("/srv/app/x"), change=Change.ATTEMPTED, evidence=(Source.LOG,)),
        Write(path=PurePosixPath("/marker"), change=Change.CREATED),
    ]
    image = ImageFacts(reference="app")
    write_set = WriteSet(
        key=RunKey(image="app"),
        container="app",
        image=image,
        writes=tuple(writes),
        observation=Observation(seconds=1.0),
    )
    assert [str(place.path) for place in naive_places(write_set, rootfs)] == ["/etc/app/conf.d", "/run", "/var/lib/app"]


def test_cost_counts_entries_code_state_and_memory(rootfs: Path, tmp_path: Path) -> None:
    """What lies below the places is counted once; code, /etc and state that dies are named; memory is summed."""
    places = [
        Place(path=PurePosixPath("/etc/app"), lasting=True),
        Place(path=PurePosixPath("/etc/app/conf.d"), lasting=True),
        Place(path=PurePosixPath("/srv"), lasting=False, memory=1 << 20),
        Place(path=PurePosixPath("/run"), lasting=False, memory=2 << 20),
    ]
    found = cost(service_in(tmp_path), rootfs, places, [PurePosixPath("/srv/data"), PurePosixPath("/etc/app/keys")])
    assert (found.places, found.entries, found.system, found.dying, found.memory) == (4, 3 + 2, 3, 1, 3 << 20)
    endless = cost(service_in(tmp_path), rootfs, [Place(path=PurePosixPath("/run"), lasting=False, memory=None)], [])
    assert endless.memory is None


def test_directory_that_takes_a_file_is_found(tmp_path: Path) -> None:
    """A directory is tried through the root of a process, nothing is left in it; one that is not there refuses."""
    assert accepts_file(os.getpid(), PurePosixPath(tmp_path))
    assert not list(tmp_path.iterdir())
    assert not accepts_file(os.getpid(), PurePosixPath(tmp_path) / "absent")
    assert not accepts_file(os.getpid(), PurePosixPath("/proc/self/fdinfo"))


def test_layout_holds_what_the_folder_says(rootfs: Path, tmp_path: Path) -> None:
    """A layer carries deletions as the image format has them, and the layout the user, command and volumes."""
    (rootfs / "run/.wh.old").touch()
    mark_deletions(rootfs)
    layer = write_layer(rootfs, tmp_path / "layer.tar.gz")
    with tarfile.open(layer.path) as archive:
        assert "./run/.wh.old" in archive.getnames()
    service = Service(folder=tmp_path, summary="app", user="app", command=("app",), volumes=(PurePosixPath("/data"),))
    config = image_config(service, [layer], "key")
    assert (config["config"]["User"], config["config"]["Cmd"]) == ("app", ["app"])
    assert config["config"]["Volumes"] == {"/data": {}}
    write_layout(tmp_path / "oci", config, [layer])
    assert (tmp_path / "oci/blobs/sha256" / layer.digest.removeprefix("sha256:")).samefile(layer.path)


def test_files_keep_only_the_execute_bit(tmp_path: Path) -> None:
    """Modes in an image come from what git keeps, whatever the umask of who checked it out."""
    (tmp_path / "from/bin").mkdir(parents=True)
    (tmp_path / "from/bin/run").write_text("#!/bin/sh")
    (tmp_path / "from/bin/run").chmod(0o700)
    (tmp_path / "from/text").write_text("text")
    (tmp_path / "from/text").chmod(0o600)
    (tmp_path / "from/link").symlink_to("bin/run")
    copy_files(tmp_path / "from", tmp_path / "to")
    modes = {name: (tmp_path / "to" / name).stat().st_mode & 0o7777 for name in ("bin", "bin/run", "text")}
    assert modes == {"bin": 0o755, "bin/run": 0o755, "text": 0o644}
    assert (tmp_path / "to/link").readlink() == Path("bin/run")


@pytest.mark.parametrize(
    ("script", "told"), [(None, "no docker on this machine"), ("exit 1", "it does not answer: try `docker version`")]
)
@pytest.mark.parametrize("measure", ["harden", "services", "services.build", "services.direct"])
def test_a_measure_without_its_engine_says_so(measure: str, script: str | None, told: str, tmp_path: Path) -> None:
    """In a line, before anything is built."""
    if script is not None:
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "docker").chmod(0o755)
    engine = [] if measure == "harden" else ["--engine", "docker"]
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{measure}", *engine],
        capture_output=True,
        text=True,
        cwd=HERE.parents[1],
        env={**os.environ, "PATH": str(tmp_path)},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("nothing ")
    assert done.stderr.endswith(f"on docker: {told}\n")

"""The services of the measure are complete: what a folder names is there, and can be run."""

import os
import subprocess
from pathlib import PurePosixPath

import pytest
from bench.services.service import HERE, Service, read_services

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

"""Root filesystems that the tests with real containers share: made once, kept outside the repository."""

import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bench.services.build import build, load
from bench.services.service import read_services
from tests.runtime.hardening import Daemon, Images, Lithify, copy_linked, daemon

PROBE = Path(__file__).with_name("probe.c")


def cache_directory() -> Path:
    """Return where built root filesystems are kept: LITHIFY_TEST_CACHE, or a directory in the user's cache."""
    named = os.environ.get("LITHIFY_TEST_CACHE")
    directory = Path(named) if named else Path.home() / ".cache" / "lithify-tests"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def cached(name: str, build: Callable[[Path], None]) -> Path:
    """Return the directory `name` of the cache; the first who asks builds it, whoever asks meanwhile waits."""
    directory = cache_directory() / name
    with _locked(directory.with_name(f".{name}.lock")):
        if not directory.exists():
            partial = directory.with_name(f".{name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            build(partial)
            partial.rename(directory)
    return directory


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def debootstrap(directory: Path, *packages: str, suite: str = "bookworm") -> None:
    """Install a minimal Debian with `packages` in `directory`."""
    include = [f"--include={','.join(packages)}"] if packages else []
    command = ["mmdebstrap", "--quiet", "--variant=minbase", *include, suite, str(directory)]
    subprocess.run(command, check=True, timeout=600, stdin=subprocess.DEVNULL)
    # device nodes of the build are none of an image's
    shutil.rmtree(directory / "dev")
    (directory / "dev").mkdir(mode=0o755)


@pytest.fixture(scope="session")
def base_rootfs() -> Path:
    """A minimal Debian: bash, coreutils, no service. Not to be written to."""
    if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
        pytest.skip("needs root and mmdebstrap")
    return cached("minbase", debootstrap)


_SPARE = (
    "usr/share", "usr/include", "usr/lib/apt", "usr/lib/dpkg", "usr/lib/systemd", "usr/lib/udev", "usr/lib/locale",
    "usr/lib/x86_64-linux-gnu/gconv", "var/lib/dpkg", "var/lib/apt", "var/lib/pam", "etc/apt", "etc/pam.d",
    "etc/systemd",
)  # fmt: skip


def slim(directory: Path) -> None:
    """Take away from a root filesystem what no program needs to run."""
    for name in _SPARE:
        shutil.rmtree(directory / name, ignore_errors=True)


@pytest.fixture(scope="session")
def lean_rootfs(base_rootfs: Path) -> Path:
    """The same without what no program needs to run: few directories, quick to copy. Not to be written to."""

    def build(directory: Path) -> None:
        copy_linked(base_rootfs, directory)
        slim(directory)

    return cached("lean", build)


@pytest.fixture
def images(lean_rootfs: Path, tmp_path: Path) -> Images:
    """Makes root filesystems for one test."""
    return Images(lean_rootfs, tmp_path)


@pytest.fixture
def lithify(tmp_path: Path) -> Iterator[Lithify]:
    """The command with a state directory of its own; fails the test after which something is left in it."""
    command = Lithify(tmp_path / "state")
    yield command
    assert command.left() == []


@pytest.fixture(scope="session")
def own_docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A Docker that only the tests use, which may count everything in it and may end it."""
    with daemon(tmp_path_factory.mktemp("docker")) as found:
        if found is None:
            pytest.skip("needs root and a dockerd that can be started beside others")
        yield found


@pytest.fixture(scope="session")
def nginx_rootfs(base_rootfs: Path) -> Path:
    """Debian with nginx. Not to be written to."""
    return cached("nginx", lambda directory: debootstrap(directory, "nginx-light"))


@pytest.fixture(scope="session")
def static_rootfs() -> Path:
    """One static program, `/probe` (see probe.c), and nothing else: no shell, no /etc/passwd, no /tmp."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")

    def build(directory: Path) -> None:
        directory.mkdir(mode=0o755)
        subprocess.run(["gcc", "-O1", "-static", "-o", directory / "probe", PROBE], check=True, timeout=120)

    return cached(f"static-{hashlib.sha256(PROBE.read_bytes()).hexdigest()[:12]}", build)


APP_ENTRIES = (
    ("var/cache/app", 0o755, 1001, 0, None),
    ("var/cache/app/a", 0o700, 1001, 0, None),
    ("srv/data", 0o2770, 1001, 0, None),
    ("srv/data/first", 0o644, 1001, 0, b"first\n"),
    ("srv/data/program", 0o755, 1001, 0, b"#!/bin/sh\necho ran\n"),
    ("srv/pipe", 0o755, 0, 0, None),
    ("srv/pipe/one", 0o1777, 0, 0, None),
    ("srv/pipe/two", 0o750, 1001, 1001, None),
    ("var/lib/store", 0o755, 1001, 1001, None),
    ("etc/app.conf", 0o640, 1001, 0, b"setting\n"),
)
"""What the image of the engines' tests has besides a minimal Debian: path, mode, uid, gid, content of a file."""
APP_CONFIG = (
    "USER app", "WORKDIR /srv", "ENV FIRST=1", "ENV SECOND=two", "VOLUME /var/lib/store", "EXPOSE 8080",
    'CMD ["sleep","1000"]',
)  # fmt: skip


@pytest.fixture(scope="session")
def app_archive(base_rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root filesystem archive with a user `app` (1001), directories of its own, and content in some of them."""
    archive = tmp_path_factory.mktemp("app") / "app.tar"
    base = ["--exclude=./etc/passwd", f"--directory={base_rootfs}", "."]
    subprocess.run(["tar", "--create", f"--file={archive}", *base], check=True)
    passwd = (base_rootfs / "etc/passwd").read_bytes() + b"app:x:1001:1001::/srv:/bin/sh\n"
    entries = (*APP_ENTRIES, ("etc/passwd", 0o644, 0, 0, passwd))
    with tarfile.open(archive, "a") as tar:
        for name, mode, uid, gid, content in entries:
            member = tarfile.TarInfo(f"./{name}")
            member.mode, member.uid, member.gid = mode, uid, gid
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            member.size = len(content or b"")
            tar.addfile(member, io.BytesIO(content) if content is not None else None)
    return archive


@pytest.fixture(scope="session")
def docker_image(app_archive: Path) -> Iterator[str]:
    """`app_archive` as an image of Docker."""
    yield from _imported(["docker"], app_archive)


@pytest.fixture(scope="session")
def podman_image(app_archive: Path) -> Iterator[str]:
    """`app_archive` as an image of Podman."""
    yield from _imported(["podman"], app_archive)


@pytest.fixture(scope="session")
def docker_nginx() -> str:
    """The measure's nginx as an image of Docker; what the measure builds it keeps."""
    return _measured("docker", "nginx")


@pytest.fixture(scope="session")
def podman_nginx() -> str:
    """The measure's nginx as an image of Podman."""
    return "localhost/" + _measured("podman", "nginx")


def _measured(engine: str, name: str) -> str:
    needs(engine)
    if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
        pytest.skip("needs root and mmdebstrap")
    (service,) = read_services((name,))
    return load(build(service), engine)


def needs(engine: str) -> None:
    """Skip the test where an engine does not work here."""
    if not shutil.which(engine) or subprocess.run([engine, "info"], capture_output=True, check=False).returncode:
        pytest.skip(f"needs a {engine} that works")


def _imported(program: list[str], archive: Path) -> Iterator[str]:
    needs(program[0])
    name = f"localhost/lithify-test-app:{os.getpid()}"
    changes = [word for change in APP_CONFIG for word in ("--change", change)]
    subprocess.run([*program, "import", *changes, archive, name], check=True, capture_output=True, timeout=300)
    yield name
    subprocess.run([*program, "rmi", "--force", name], check=True, capture_output=True, timeout=60)

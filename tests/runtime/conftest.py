"""Root filesystems that the tests with real containers share: made once, kept outside the repository."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

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


def debootstrap(directory: Path, *packages: str) -> None:
    """Install a minimal Debian with `packages` in `directory`."""
    include = [f"--include={','.join(packages)}"] if packages else []
    command = ["mmdebstrap", "--quiet", "--variant=minbase", *include, "bookworm", str(directory)]
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


@pytest.fixture(scope="session")
def static_rootfs() -> Path:
    """One static program, `/probe` (see probe.c), and nothing else: no shell, no /etc/passwd, no /tmp."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")

    def build(directory: Path) -> None:
        directory.mkdir(mode=0o755)
        subprocess.run(["gcc", "-O1", "-static", "-o", directory / "probe", PROBE], check=True, timeout=120)

    return cached(f"static-{hashlib.sha256(PROBE.read_bytes()).hexdigest()[:12]}", build)

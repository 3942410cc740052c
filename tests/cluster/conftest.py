"""A cluster that the tests of this folder share, and images that are in it."""

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.cluster.cluster import Cluster
from tests.cluster.node import DAEMONS, Node, NodeUnavailable, find_programs, pack_directory
from tests.runtime.conftest import (
    base_rootfs,
    cached,
    debootstrap,
    lean_rootfs,
    lithify,
    needs,
    nginx_rootfs,
    slim,
    static_rootfs,
)
from tests.runtime.hardening import copy_linked, images_removed

import lithify as package
from lithify.engines.temporary import temporary_folder

__all__ = ["base_rootfs", "lean_rootfs", "lithify", "nginx_rootfs", "static_rootfs"]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster to be used as one likes: a node of the tests' own, or the one that LITHIFY_TEST_KUBECONFIG names."""
    work = tmp_path_factory.mktemp("cluster")
    named = os.environ.get("LITHIFY_TEST_KUBECONFIG")
    try:
        if named:
            kubeconfig = Path(named)
            yield Cluster(kubeconfig, find_programs("kubectl"), work, Node.find(kubeconfig))
            return
        programs = find_programs(*DAEMONS)
        # not pytest's own directory: the paths of sockets in it would be too long
        with temporary_folder(on_disk=True) as folder:
            node = Node(folder, programs)
            node.up()
            try:
                yield Cluster(node.kubeconfig, node.programs, work, node)
            finally:
                node.down()
    except NodeUnavailable as error:
        pytest.skip(f"no Kubernetes node can be had here: {error}")


@pytest.fixture(scope="session")
def app_image(cluster: Cluster, lean_rootfs: Path) -> str:
    """A minimal Debian as an image of the cluster: a shell, coreutils, no service."""
    return cluster.import_root("docker.io/lithify-test/app:1", lean_rootfs, Cmd=["sleep", "infinity"])


@pytest.fixture(scope="session")
def nginx_image(cluster: Cluster, nginx_rootfs: Path) -> str:
    """Debian's nginx as an image of the cluster."""
    return cluster.import_root("docker.io/lithify-test/nginx:1", nginx_rootfs, Cmd=["nginx", "-g", "daemon off;"])


SOURCE = Path(__file__).parents[2]
_TABLES = tomllib.loads((SOURCE / "pyproject.toml").read_text())
PROJECT, BUILD = _TABLES["project"], _TABLES["build-system"]
EXAMPLE = "registry.example/lithify:node"
"""What the documentation calls the image that holds lithify."""
PACKAGES = "usr/local/lib/python3.11/dist-packages"


@pytest.fixture(scope="session")
def python_rootfs(base_rootfs: Path) -> Path:
    """Debian's Python with what lithify depends on. Not to be written to; skipped where `base_rootfs` is."""

    def build(directory: Path) -> None:
        debootstrap(directory, "python3")
        install(directory, PROJECT["dependencies"])
        slim(directory)
        shutil.rmtree(directory / "usr/lib/x86_64-linux-gnu/perl", ignore_errors=True)

    return cached("python", build)


def install(root: Path, wanted: Sequence[str]) -> None:
    """Install distributions of PyPI for the Python of a root filesystem."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", f"--target={root / PACKAGES}", "--upgrade"]
    options = ["--python-version=3.11", "--only-binary=:all:", "--no-compile"]
    subprocess.run([*command, *options, *wanted], check=True, timeout=300)


@pytest.fixture(scope="session")
def lithify_rootfs(python_rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the lithify that is tested: what can be asked. Not to be written to."""
    return add_lithify(python_rootfs, tmp_path_factory.mktemp("node") / "root")


@pytest.fixture(scope="session")
def example_image(cluster: Cluster) -> str:
    """The image that examples/node-image makes, by Docker and the command that it says, as an image of the cluster.

    It is built without a network, on a Debian that has the packages and wheels which it would fetch.
    """
    wheels = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["kubernetes"], *BUILD["requires"]]

    def build(directory: Path) -> None:
        debootstrap(directory, "python3-venv")
        command = [sys.executable, "-m", "pip", "download", "--quiet", f"--dest={directory / 'wheels'}"]
        subprocess.run([*command, "--python-version=3.11", "--only-binary=:all:", *wheels], check=True, timeout=300)
        (directory / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        shutil.rmtree(directory / "etc/apt/sources.list.d", ignore_errors=True)
        (directory / "etc/apt/sources.list").write_text("")

    needs("docker")
    base_rootfs = cached(f"node-base-{hashlib.sha256(repr(wheels).encode()).hexdigest()[:12]}", build)
    base, image, archive = f"localhost/lithify-test-base:{os.getpid()}", EXAMPLE, cluster.work / "example.tar"
    with images_removed(base) as built:
        layer = pack_directory(base_rootfs, cluster.work / "base.tar")
        subprocess.run(["docker", "import", layer, base], check=True, capture_output=True, timeout=300)
        layer.unlink()
        words = [
            "--network=none",
            f"--build-arg=BASE={base}",
            "--file=examples/node-image/Dockerfile",
            f"--iidfile={built}",
            f"--tag={image}",
        ]
        done = subprocess.run(["docker", "build", *words, "."], cwd=SOURCE, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        try:
            subprocess.run(["docker", "save", f"--output={archive}", image], check=True, timeout=300)
            cluster.import_image(archive)
        finally:
            archive.unlink(missing_ok=True)
    return image


def add_lithify(base: Path, root: Path) -> Path:
    """Put the lithify that is tested into a copy of a root filesystem with Python."""
    copy_linked(base, root)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(package.__file__).parent, root / PACKAGES / "lithify", ignore=ignored)
    program = root / "usr/local/bin/lithify"
    program.write_text("#!/usr/bin/python3\nimport sys\nfrom lithify.cli.main import main\n\nsys.exit(main())\n")
    program.chmod(0o755)
    return root

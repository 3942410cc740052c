"""A cluster that the tests of this folder share, and images that are in it."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.cluster import Cluster
from tests.cluster.node import DAEMONS, Node, NodeUnavailable, find_programs
from tests.runtime.conftest import base_rootfs, lean_rootfs, lithify, nginx_rootfs, static_rootfs

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
        # not pytest's own directory: the paths of sockets in it would be too long
        node = Node(Path(tempfile.mkdtemp(prefix="lithify-node-", dir="/var/tmp")), find_programs(*DAEMONS))
        node.up()
    except NodeUnavailable as error:
        pytest.skip(f"no Kubernetes node can be had here: {error}")
    try:
        yield Cluster(node.kubeconfig, node.programs, work, node)
    finally:
        node.down()


@pytest.fixture(scope="session")
def app_image(cluster: Cluster, lean_rootfs: Path) -> str:
    """A minimal Debian as an image of the cluster: a shell, coreutils, no service."""
    return cluster.import_root("docker.io/lithify-test/app:1", lean_rootfs, Cmd=["sleep", "infinity"])


@pytest.fixture(scope="session")
def nginx_image(cluster: Cluster, nginx_rootfs: Path) -> str:
    """Debian's nginx as an image of the cluster."""
    return cluster.import_root("docker.io/lithify-test/nginx:1", nginx_rootfs, Cmd=["nginx", "-g", "daemon off;"])

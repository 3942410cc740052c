"""The node itself: pods run on it as anywhere, and it goes without a trace."""

import os
from pathlib import Path

import pytest
from tests.cluster.cluster import Cluster, wait_for
from tests.cluster.node import DAEMONS, Node, NodeUnavailable, find_programs

from lithify.engines.temporary import temporary_folder


def test_a_pod_runs_and_writes_into_an_upper_layer(cluster: Cluster, app_image: str) -> None:
    """A pod is scheduled, started, logged, entered by exec, and reached from the host by its address."""
    container = {
        "name": "app",
        "image": app_image,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "echo started; touch /srv/written; exec sleep infinity"],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": {"containers": [container]}}
    with cluster.namespace("lithify-test-node") as namespace:
        cluster.apply(pod, namespace=namespace)
        cluster.kubectl("wait", "-n", namespace, "pod/one", "--for=condition=Ready", "--timeout=60s", timeout=70)
        wait_for(lambda: cluster.kubectl("logs", "-n", namespace, "one") == "started\n")
        assert cluster.kubectl("exec", "-n", namespace, "one", "--", "ls", "/srv") == "written\n"
        if cluster.node is not None:
            identity = cluster.get("pod", "one", "-n", namespace)["status"]["containerStatuses"][0]["containerID"]
            assert _written_files(identity.partition("://")[2]) == {"/srv/written"}
        cluster.kubectl("delete", "-n", namespace, "pod/one", "--grace-period=0", "--force", timeout=60)


def _written_files(identity: str) -> set[str]:
    """Return the regular files in the upper layer of a container, found by the control group of its processes."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if identity not in (process / "cgroup").read_text():
                continue
            root = next(line for line in (process / "mountinfo").read_text().splitlines() if line.split()[4] == "/")
        except (OSError, StopIteration):
            continue
        upper = root.partition("upperdir=")[2].split(",")[0]
        return {
            os.path.join(folder, name).removeprefix(upper)
            for folder, _, names in os.walk(upper)
            for name in names
            if "/etc/" not in f"{folder}/"
        }
    return set()


def test_a_node_that_is_taken_down_leaves_nothing(tmp_path: Path) -> None:
    """Folder, interface, control groups, processes: all gone, also of pods that still ran."""
    with temporary_folder(on_disk=True) as folder:
        try:
            programs = find_programs(*DAEMONS)
            node = Node(folder, programs)
            node.up()
        except NodeUnavailable as error:
            pytest.skip(f"no Kubernetes node can be had here: {error}")
        assert node.is_up()
        found = Node.find(node.kubeconfig)
        assert found is not None
        assert found.is_up()
        processes = _processes_of(folder)
        assert len(processes) >= 7
        node.down()
        assert not folder.exists()
        assert _processes_of(folder) == []
        assert str(folder) not in Path("/proc/self/mountinfo").read_text()
        node.down()


def _processes_of(folder: Path) -> list[str]:
    """Return the pids of processes that work in `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found

"""Workloads learnt from pods that lithify can't look into from where it is: by pods of its own on their nodes."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.cluster import Cluster, wait_for
from tests.cluster.manifests import STAY, deployment, shell
from tests.cluster.node import NODE, SECOND
from tests.runtime.hardening import Lithify

import lithify as package

IMAGE = "docker.io/lithify-test/node:1"
OLD = "docker.io/lithify-test/node-old:1"
STORE = "docker.io/lithify-test/store:1"
"""An image that declares a volume."""
LABEL = "--selector=dev.lithify.run"
SCRIPT = f"""
mkdir -p /var/cache/app
echo x > /var/lib/store/$NODE
if test $NODE = {SECOND}; then mkdir /var/cache/orders; echo x > /var/cache/orders/1; fi
(while :; do echo x > /var/tmp/$NODE.tmp; rm /var/tmp/$NODE.tmp; sleep 0.2; done) &
{STAY}
"""


@pytest.fixture(scope="module")
def nodes(cluster: Cluster, lean_rootfs: Path, lithify_rootfs: Path, tmp_path_factory: Any) -> Any:
    """The cluster with a second node, the images on both, and one more that holds another lithify."""
    if cluster.node is None:
        pytest.skip("a second node can be joined to one of the tests' own only")
    second = cluster.node.join()
    try:
        cluster.import_root(STORE, lean_rootfs, beside=[second], Volumes={"/var/lib/store": {}})
        cluster.import_root(IMAGE, lithify_rootfs, beside=[second])
        old = tmp_path_factory.mktemp("old")
        subprocess.run(["cp", "--archive", f"{lean_rootfs}/.", old], check=True)
        program = old / "usr/local/bin/lithify"
        program.write_text("#!/bin/sh\necho lithify 0.0.1\n")
        program.chmod(0o755)
        cluster.import_root(OLD, old, beside=[second])
        yield cluster
    finally:
        second.down()


@pytest.fixture(scope="module")
def shop(nodes: Cluster) -> Iterator[str]:
    """A namespace with a Deployment that has a pod on each node, one of which writes what the other does not."""
    container = shell(SCRIPT, STORE)
    container["env"] = [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    web = deployment("web", container, tolerations=[{"operator": "Exists"}], topologySpreadConstraints=[spread])
    with nodes.namespace("lithify-test-readers") as namespace:
        nodes.apply(web, namespace=namespace)
        nodes.kubectl("rollout", "status", "-n", namespace, "deployment/web", "--timeout=60s", timeout=70)
        pods = nodes.get("pods", "-n", namespace)["items"]
        assert sorted(pod["spec"]["nodeName"] for pod in pods) == [NODE, SECOND]
        yield namespace


@pytest.fixture
def elsewhere(lithify: Lithify) -> Iterator[Lithify]:
    """Lithify where no process of a node is to be seen: as on a machine that is none."""
    held = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sleep", "infinity"])
    try:
        wait_for(lambda: is_held(held.pid), 30)
        enter = ("nsenter", "--target", *children_of(held.pid), "--pid", "--mount")
        yield replace(lithify, enter=(*enter, "setpriv", "--pdeathsig", "KILL"))
    finally:
        held.kill()
        held.wait(10)


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def is_held(pid: int) -> bool:
    """Tell whether the first process of the new namespace is there, past what `unshare` does in it before."""
    return [Path(os.readlink(f"/proc/{child}/exe")).name for child in children_of(pid)] == ["sleep"]


def commands(part: bytes) -> list[str]:
    """Return the processes that were called by a line with `part` in it, and have not ended."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if part in (process / "cmdline").read_bytes():
                found.append(process.name)
    return found


def words(cluster: Cluster, namespace: str, *more: object) -> tuple[object, ...]:
    return ("learn", "deployment/web", "-n", namespace, "--kubeconfig", cluster.kubeconfig, *more)


def test_replicas_on_all_nodes_are_read_by_pods_there(nodes: Cluster, shop: str, elsewhere: Lithify) -> None:
    """What each alone wrote is in the write set, names that came and went meanwhile too; and nothing is left."""
    done = elsewhere.run(*words(nodes, shop, "--node-image", IMAGE, "--for", "2s", "--format", "json"), timeout=200)
    assert done.code == 0, done.err
    found = done.json()
    writes = {write["path"]: write for write in found["writes"]}
    assert {"/var/cache/app", "/var/cache/orders"} <= set(writes)
    assert {f"/var/lib/store/{NODE}", f"/var/lib/store/{SECOND}"} <= set(writes)
    assert found["mounted"] == []
    assert set(writes["/var/tmp"]["names"]) == {f"{NODE}.tmp", f"{SECOND}.tmp"}
    assert {writer["program"] for writer in writes["/var/tmp"]["writers"]} >= {"/usr/bin/sh"}
    assert found["container"] == "app"
    assert found["key"]["image"].startswith("sha256:")
    assert "not read" not in json.dumps(found["observation"])
    assert left(nodes) == []


def test_without_an_image_it_says_what_to_name(nodes: Cluster, shop: str, elsewhere: Lithify) -> None:
    done = elsewhere.run(*words(nodes, shop))
    assert done.code == 4
    message, hint = done.error()
    assert f"2 of 2 pods can't be looked into from here (on {NODE}, {SECOND})" in message
    assert "--node-image" in hint


def test_the_other_replica_counts_when_a_workload_is_hardened(nodes: Cluster, shop: str, lithify: Lithify) -> None:
    """On one node lithify reads its own pod there, and has the other's read; where it can't it says so."""
    assert nodes.node is not None
    init = json.loads((nodes.node.folder / "node.json").read_text())["init"]
    # the processes of the first node, and the host's own files
    on_first = replace(lithify, enter=("nsenter", "--target", str(init), "--pid", "unshare", "--mount-proc"))
    options = ["-n", shop, "--kubeconfig", nodes.kubeconfig, "--format", "json", "--no-live"]
    options += ["--state", "/var/lib/store=ephemeral"]
    done = on_first.run("harden", "deployment/web", *options, timeout=300, LITHIFY_NODE_IMAGE=IMAGE)
    assert done.code == 0, done.out + done.err
    result = done.json()
    (member,) = result["members"]
    places = [mount["path"] for mount in member["hardening"]["plan"]["mounts"]]
    assert "/var/cache/orders" in places
    assert "not read" not in " ".join(result["notes"])
    assert left(nodes) == []

    done = on_first.run(*words(nodes, shop))
    assert done.code == 0, done.err
    assert "orders" not in done.out
    assert f"1 of 2 pods can't be looked into from here (on {SECOND})" in " ".join(done.out.split())


def test_a_proof_says_where_it_has_to_run(nodes: Cluster, shop: str, elsewhere: Lithify) -> None:
    """The kernel is the node's, its processes are out of sight: as in a container beside them."""
    done = elsewhere.run("harden", "deployment/web", "-n", shop, "--kubeconfig", nodes.kubeconfig, timeout=200)
    assert done.code == 4
    message, hint = done.error()
    assert message == "container app runs, and none of its processes can be seen from here"
    assert "--node-image" in hint
    assert "hostPID" in hint
    assert left(nodes) == []


def test_an_interrupt_ends_the_watching_at_once(nodes: Cluster, shop: str, lithify: Lithify) -> None:
    # without `nsenter`, which an interrupt ends before the program that it started
    apart = replace(lithify, enter=("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"))
    terminal = apart.terminal(*words(nodes, shop, "--node-image", IMAGE, "--for", "20m"))
    wait_for(lambda: running(nodes) == 2, 90)
    terminal.press_ctrl_c()
    done = terminal.end(120)
    assert done.code == 130, done.err
    assert left(nodes) == []


def left(cluster: Cluster) -> list[str]:
    """Return what bears our label, whoever made it."""
    found = [*cluster.get("namespaces", LABEL)["items"], *cluster.get("pods", "--all-namespaces", LABEL)["items"]]
    return [one["metadata"]["name"] for one in found]


def running(cluster: Cluster) -> int:
    """Return how many pods of ours run."""
    pods = cluster.get("pods", "--all-namespaces", LABEL)["items"]
    return sum(pod["status"].get("phase") == "Running" for pod in pods)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (OLD, f"says 'lithify 0.0.1'; this is lithify {package.__version__}"),
        ("127.0.0.1:1/none:1", "does not start"),
    ],
)
def test_an_image_that_can_not_answer_is_named(
    nodes: Cluster, shop: str, elsewhere: Lithify, image: str, why: str
) -> None:
    done = elsewhere.run(*words(nodes, shop, "--node-image", image), timeout=200)
    assert done.code == 4, done.out
    message, hint = done.error()
    assert image in message
    assert why in message
    assert f" node {NODE} " in message or f" node {SECOND} " in message
    assert "--node-image" in hint
    assert left(nodes) == []


def test_missing_rights_are_named_before_anything_is_made(
    nodes: Cluster, shop: str, elsewhere: Lithify, tmp_path: Path
) -> None:
    nodes.kubectl("create", "serviceaccount", "viewer", "-n", shop)
    nodes.kubectl(
        "create", "rolebinding", "viewer", "-n", shop, "--clusterrole=view", f"--serviceaccount={shop}:viewer"
    )
    content = json.loads(nodes.kubectl("config", "view", "--raw", "--minify", "--output=json"))
    content["users"][0]["user"] = {"token": nodes.kubectl("create", "token", "viewer", "-n", shop).strip()}
    viewer = tmp_path / "viewer"
    viewer.write_text(json.dumps(content))
    done = elsewhere.run(*words(replace(nodes, kubeconfig=viewer), shop, "--node-image", IMAGE))
    assert done.code == 4
    message, hint = done.error()
    assert "may not do what looking into other nodes needs" in message
    namespaces = "create namespaces, delete namespaces, get namespaces, get serviceaccounts"
    pods = "create pods, list pods, delete pods, create pods/exec"
    assert hint == f"missing: the right to {namespaces}, {pods}, in every namespace"


def test_what_a_killed_lithify_left_on_a_node_is_swept(nodes: Cluster, shop: str, elsewhere: Lithify) -> None:
    terminal = elsewhere.terminal(*words(nodes, shop, "--node-image", IMAGE, "--for", "5m"))

    def pods() -> Any:
        return nodes.get("pods", "--all-namespaces", LABEL)["items"]

    wait_for(lambda: running(nodes) == 2, 90)
    for pod in pods():
        # by themselves they end too, should nobody come
        assert pod["spec"]["activeDeadlineSeconds"] < 3600
        assert pod["metadata"]["namespace"].startswith("lithify-")
    terminal.kill(signal.SIGKILL)
    terminal.end()
    # the kernel takes its time to end what it has taken the terminal from
    wait_for(lambda: not commands(b"\0deployment/web\0-n\0" + shop.encode()), 60)
    assert len(pods()) == 2
    done = elsewhere.terminal("learn", "deployment/none", "-n", shop, "--kubeconfig", nodes.kubeconfig).end()
    assert done.code == 3, done.err
    assert "removed what an earlier run left: namespace lithify-" in done.err
    wait_for(lambda: left(nodes) == [], 90)

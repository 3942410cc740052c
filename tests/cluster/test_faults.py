"""What goes wrong while a cluster is used: one clear error, the right exit code, and nothing left for good."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cluster.cluster import Cluster, forwarder, left_behind, wait_for
from tests.cluster.manifests import STAY, deployment, shell, text
from tests.runtime.hardening import Lithify

SELECTOR = "--selector=dev.lithify.run"


def namespaces(cluster: Cluster) -> list[str]:
    return [one["metadata"]["name"] for one in cluster.get("namespaces", SELECTOR)["items"]]


def gone(cluster: Cluster) -> None:
    """Wait until no scratch namespace is there: one that was deleted takes its seconds."""
    wait_for(lambda: namespaces(cluster) == [], 90, lambda: str(namespaces(cluster)))


@pytest.fixture
def file(app_image: str, tmp_path: Path) -> Path:
    """A workload that takes its time."""
    path = tmp_path / "app.yaml"
    path.write_text(text(deployment("app", shell(f"mkdir /var/cache/app; {STAY}", app_image))))
    return path


@pytest.fixture
def bad_file(app_image: str, tmp_path: Path) -> Path:
    """One that is refused at once."""
    path = tmp_path / "bad.yaml"
    path.write_text(text(deployment("bad", shell("true", app_image, nonsense=1))))
    return path


def runs(cluster: Cluster) -> bool:
    """Tell whether a pod of a trial runs."""
    pods = [pod for name in namespaces(cluster) for pod in cluster.get("pods", "-n", name)["items"]]
    return any(pod["status"].get("phase") == "Running" for pod in pods)


def test_what_a_killed_lithify_left_is_swept_at_the_next_start(
    cluster: Cluster, lithify: Lithify, file: Path, bad_file: Path
) -> None:
    """Only what is nobody's: not a namespace that was kept, nor another machine's; but one whose time is over."""
    terminal = lithify.terminal("harden", file, "--kubeconfig", cluster.kubeconfig)
    wait_for(lambda: runs(cluster), 60)
    terminal.kill(signal.SIGKILL)
    terminal.end()
    left = namespaces(cluster)[-1]
    labels = cluster.get("namespace", left)["metadata"]["labels"]
    elsewhere = {"dev.lithify.boot": "another", "dev.lithify.until": "99999999999"}
    others = {
        "lithify-kept": {"dev.lithify.kept": "true"},
        "lithify-elsewhere": elsewhere,
        "lithify-over": {**elsewhere, "dev.lithify.until": "1"},
    }
    try:
        for name, more in others.items():
            own = {key: value for key, value in labels.items() if key.startswith("dev.lithify")}
            metadata = {"name": name, "labels": {**own, **more}}
            cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, namespace="default")
        done = lithify.run("harden", bad_file, "--kubeconfig", cluster.kubeconfig)
        assert done.code == 3
        wait_for(lambda: sorted(namespaces(cluster)) == ["lithify-elsewhere", "lithify-kept"], 90)
    finally:
        cluster.kubectl("delete", "namespace", *others, "--ignore-not-found", timeout=90)
    gone(cluster)


@pytest.mark.parametrize("stage", [namespaces, runs], ids=["while a namespace is made", "while a pod runs"])
def test_ctrl_c_ends_it_and_leaves_nothing(
    cluster: Cluster, lithify: Lithify, file: Path, stage: Callable[[Cluster], object]
) -> None:
    terminal = lithify.terminal("harden", file, "--kubeconfig", cluster.kubeconfig)
    wait_for(lambda: stage(cluster) or terminal.process.poll() is not None, 120)
    terminal.press_ctrl_c()
    done = terminal.end(180)
    assert done.code == 130, done.err
    assert "interrupted: what was started has been removed" in done.err
    assert namespaces(cluster) == []


def test_a_cluster_that_goes_half_way(cluster: Cluster, lithify: Lithify, file: Path, bad_file: Path) -> None:
    """The error says so, and what could not be removed is swept once the cluster is back."""
    with forwarder(cluster) as (kubeconfig, cut):
        terminal = lithify.terminal("harden", file, "--kubeconfig", kubeconfig)
        wait_for(lambda: runs(cluster), 60)
        cut()
        done = terminal.end(120)
    assert done.code == 4, done.err
    message, hint = done.error()
    assert message.startswith("no answer from https://127.0.0.1:")
    assert "is it running" in hint
    assert namespaces(cluster)
    lithify.run("harden", bad_file, "--kubeconfig", cluster.kubeconfig)
    gone(cluster)


def test_a_right_that_is_missing_is_named_before_anything_is_made(
    cluster: Cluster, lithify: Lithify, file: Path
) -> None:
    with cluster.namespace("lithify-test-rights") as namespace:
        cluster.kubectl("create", "serviceaccount", "poor", "-n", namespace)
        done = lithify.run("harden", file, "--kubeconfig", cluster.as_account("poor", namespace))
        assert done.code == 4
        message, hint = done.error()
        assert "may not do what a proof in a scratch namespace needs" in message
        assert hint.startswith("missing: the right to create namespaces, delete namespaces, list nodes, create deploy")
        assert left_behind(cluster) == []


def test_a_host_that_is_no_node_says_so(cluster: Cluster, lithify: Lithify, file: Path, tmp_path: Path) -> None:
    """Nodes are told by the boot of their kernel; another one's stands here in place of ours."""
    boot = tmp_path / "boot"
    boot.write_text("00000000-0000-0000-0000-000000000000\n")
    script = f'mount --bind {boot} /proc/sys/kernel/random/boot_id && exec "$@"'
    elsewhere = replace(lithify, enter=("unshare", "--mount", "sh", "-c", script, "sh"))
    done = elsewhere.run("harden", file, "--kubeconfig", cluster.kubeconfig)
    assert done.code == 4
    message, hint = done.error()
    assert message.startswith("this host is no node of the cluster")
    assert hint.startswith("name an image that holds lithify with --node-image, or run it on a node, as root")


def test_an_init_container_that_fails_is_told_in_its_words(
    cluster: Cluster, lithify: Lithify, app_image: str, tmp_path: Path
) -> None:
    setup = {**shell("echo no database >&2; exit 3", app_image), "name": "setup", "imagePullPolicy": "Never"}
    path = tmp_path / "app.yaml"
    path.write_text(text(deployment("app", shell(STAY, app_image), initContainers=[setup])))
    done = lithify.run("harden", path, "--container", "app", "--kubeconfig", cluster.kubeconfig)
    assert "init container setup ends with exit code 3: no database" in " ".join((done.out + done.err).split())

"""`lithify harden ... --node-image` on a machine that is no node: the whole proof, asked of a node by a pod of ours."""

import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.cluster import Cluster, forwarder, wait_for
from tests.cluster.manifests import STAY, config_map, deployment, shell, text
from tests.cluster.test_harden import WEB, proved
from tests.cluster.test_readers import commands
from tests.runtime.hardening import Done, Lithify

from lithify.engines.kubernetes.readers import waiting_pod

IMAGE = "docker.io/lithify-test/node:1"
LABEL = "--selector=dev.lithify.run"
_NEW_NETWORK = 0x40000000
_ADMISSION = "admissionregistration.k8s.io/v1"


class Desk:
    """A machine that shares no process, mount or network with the node, and reaches the API server by one port."""

    def __init__(self, lithify: Lithify, kubeconfig: Path) -> None:
        self.lithify = lithify
        self.kubeconfig = kubeconfig

    def words(self, *words: object) -> tuple[object, ...]:
        return ("harden", *words, "--kubeconfig", self.kubeconfig, "--node-image", IMAGE)

    def harden(self, *words: object, timeout: float = 300) -> Done:
        return self.lithify.run(*self.words(*words), timeout=timeout)


@pytest.fixture(scope="module")
def node_image(cluster: Cluster, lithify_rootfs: Path) -> str:
    return cluster.import_root(IMAGE, lithify_rootfs)


@pytest.fixture
def desk(cluster: Cluster, lithify: Lithify, node_image: str) -> Iterator[Desk]:
    alone = ("unshare", "--pid", "--net", "--fork", "--kill-child", "--mount-proc")
    held = subprocess.Popen([*alone, "sh", "-c", "ip link set lo up && exec sleep infinity"])
    try:
        wait_for(lambda: _program_of(_child_of(held.pid)) == "sleep", 30)
        child = _child_of(held.pid)
        enter = ("nsenter", "--target", str(child), "--pid", "--net", "--mount", "setpriv", "--pdeathsig", "KILL")
        with forwarder(cluster, _listen_in(child)) as (kubeconfig, _):
            yield Desk(replace(lithify, enter=enter), kubeconfig)
    finally:
        held.kill()
        held.wait(10)


def _child_of(pid: int) -> int:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(found[0]) if found else 0


def _program_of(pid: int) -> str:
    with suppress(OSError):
        return Path(os.readlink(f"/proc/{pid}/exe")).name
    return ""


def _listen_in(pid: int) -> socket.socket:
    """Return a socket that listens on the loopback of another network namespace."""
    made: list[socket.socket] = []

    def listen() -> None:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        assert ctypes.CDLL(None).setns(namespace, _NEW_NETWORK) == 0  # of this thread alone
        os.close(namespace)
        made.append(socket.create_server(("127.0.0.1", 0)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    return made[0]


@pytest.fixture(autouse=True)
def nothing_left(cluster: Cluster) -> Iterator[None]:
    """Fail the test after which something with our label is left."""
    yield
    assert left(cluster) == []


def left(cluster: Cluster) -> list[str]:
    found = [*cluster.get("namespaces", LABEL)["items"], *cluster.get("pods", "--all-namespaces", LABEL)["items"]]
    return [one["metadata"]["name"] for one in found]


def readers(cluster: Cluster) -> list[dict[str, str]]:
    """Return the pods of ours that run on nodes, where they are and for how long they would."""
    pods = cluster.get("pods", "--all-namespaces", LABEL)["items"]
    return [pod["metadata"] | pod["spec"] for pod in pods if pod["status"].get("phase") == "Running"]


def copies(cluster: Cluster, purpose: str = "") -> int:
    """Return how many pods of trials run, or of those for `purpose`."""
    scratch = [name for name in left(cluster) if name.startswith("lithify-") and name.endswith(purpose)]
    pods = [pod for name in scratch for pod in cluster.get("pods", "-n", name)["items"]]
    names = [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Running"]
    return sum(not name.startswith("reader-") for name in names)


def lent_to(cluster: Cluster) -> set[str]:
    """Return the namespaces that volumes of ours are for; one that was deleted takes its moment to go."""
    return set(re.findall("lithify-[a-z0-9-]+", json.dumps(cluster.get("persistentvolumes"))))


CHECK = """\
import os, socket, sys
assert sys.argv[1] == os.environ["LITHIFY_CONTAINER"]
namespace, pod, container = sys.argv[1].split("/")
print(namespace, container, os.environ["LITHIFY_PID"].isdigit(), file=open(sys.argv[0] + ".log", "a"))
try:
    socket.create_connection((os.environ["LITHIFY_ADDRESS"], 80), 2).close()
    sys.exit("a desk reaches no pod")
except OSError:
    pass
"""


@pytest.mark.usefixtures("nginx_image")
def test_a_manifest_is_proved_from_a_desk(cluster: Cluster, desk: Desk, tmp_path: Path) -> None:
    """The check runs at the desk, from where no pod is reached; what --http asks is asked on the node."""
    file, check = tmp_path / "web.yaml", tmp_path / "check.py"
    file.write_text(WEB)
    check.write_text(CHECK)
    words = ("--http", "http://localhost:80/", "--check", f"python3 {check}", "--format", "json", "--write")
    result = proved(desk.harden(file, *words))
    (member,) = result["members"]
    hardening = member["hardening"]
    assert not hardening["flag_alone_works"]
    assert {mount["path"] for mount in hardening["plan"]["mounts"]} >= {"/var/lib/nginx", "/run"}
    assert set(hardening["write_set"]["observation"]["sources"]) >= {"upper-layer", "process-table", "live-names"}
    assert hardening["original"]["listeners"] == ["tcp/80"]
    works = [check["name"] for check in hardening["verdict"]["works"]]
    assert {"http (started)", "check (started)", "http (restarted)", "check (restarted)"} <= set(works)
    assert [check["name"] for check in hardening["verdict"]["refused"]] == ["root-refuses", "remount-refused"]
    asked = (tmp_path / "check.py.log").read_text().splitlines()
    assert len(asked) > 4
    assert all(line.startswith("lithify-") and line.endswith(" nginx True") for line in asked)
    assert "readOnlyRootFilesystem: true" in file.read_text()


def test_a_live_workload_with_a_claim_is_proved_and_changed_from_a_desk(
    cluster: Cluster, desk: Desk, app_image: str, tmp_path: Path
) -> None:
    """What only production writes counts; a claim that the cluster has no storage for gets some of the node's disk."""
    script = f"""
mkdir -p /var/cache/app; echo x > /data/x
if test -e /etc/app/production; then mkdir -p /var/cache/orders; echo x > /var/cache/orders/1; fi
{STAY}
"""
    seen = tmp_path / "seen"
    mounts = [{"name": "mode", "mountPath": "/etc/app"}, {"name": "data", "mountPath": "/data"}]
    volumes: list[Any] = [{"name": "mode", "configMap": {"name": "mode", "optional": True}}]
    volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": "data"}})
    web = deployment("web", shell(script, app_image, volumeMounts=mounts), volumes=volumes)
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Mi"}},
        "storageClassName": "none",
        "volumeName": "lithify-test-desk",
    }
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec}
    disk = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Mi"},
        "storageClassName": "none",
        "hostPath": {"path": str(tmp_path)},
    }
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "lithify-test-desk"}, "spec": disk}
    with cluster.namespace("lithify-test-desk") as namespace:
        try:
            cluster.apply(volume, claim, config_map("mode", production=""), web, namespace=namespace)
            cluster.kubectl("rollout", "status", "-n", namespace, "deployment/web", "--timeout=60s", timeout=70)
            cluster.kubectl("delete", "configmap", "mode", "-n", namespace)
            words = ("-n", namespace, "--check", f"echo $1 >> {seen}; test $LITHIFY_PID", "--format", "json", "--apply")
            done = desk.harden("deployment/web", *words)
            (member,) = proved(done)["members"]
            places = [mount["path"] for mount in member["hardening"]["plan"]["mounts"]]
            assert places == ["/var/cache/app", "/var/cache/orders"]
            assert "given a directory of the node" in json.dumps(member["hardening"]["verdict"]["cannot_show"])
            assert f"patched deployment/web in namespace {namespace}" in done.err
            scratch = {line.partition("/")[0] for line in seen.read_text().splitlines()}
            assert len(scratch) >= 3
            assert not [one for one in scratch if Path("/var/tmp", one).exists()]
            wait_for(lambda: not scratch & lent_to(cluster), 30, lambda: str(lent_to(cluster)))
        finally:
            cluster.kubectl("delete", "deployment/web", "persistentvolumeclaim/data", "-n", namespace, "--wait=false")
            cluster.kubectl("delete", "persistentvolume/lithify-test-desk", "--ignore-not-found", "--wait=false")


def test_a_job_that_is_over_before_anybody_sees_it(desk: Desk, app_image: str, tmp_path: Path) -> None:
    """Its layer is looked for where the node's runtime keeps it."""
    job = deployment("once", shell("mkdir -p /var/cache/once", app_image))
    job |= {"apiVersion": "batch/v1", "kind": "Job"}
    job["spec"] = {"template": job["spec"]["template"]}
    job["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    file = tmp_path / "once.yaml"
    file.write_text(text(job))
    (member,) = proved(desk.harden(file, "--format", "json"))["members"]
    assert [mount["path"] for mount in member["hardening"]["plan"]["mounts"]] == ["/var/cache/once"]


@pytest.fixture
def file(app_image: str, tmp_path: Path) -> Path:
    """A workload that takes its time."""
    path = tmp_path / "app.yaml"
    path.write_text(text(deployment("app", shell(f"mkdir /var/cache/app; {STAY}", app_image))))
    return path


def test_a_pod_of_ours_that_goes_half_way(cluster: Cluster, desk: Desk, file: Path) -> None:
    """Evicted, deleted, the node drained: the error says which node and why, and all the rest is removed."""
    terminal = desk.lithify.terminal(*desk.words(file, "--for", "10m"))
    wait_for(lambda: copies(cluster) and readers(cluster), 120)
    (reader,) = readers(cluster)
    cluster.kubectl("delete", "pod", "-n", reader["namespace"], reader["name"], "--grace-period=0", "--force")
    done = terminal.end(180)
    assert done.code == 4, done.err
    message, hint = done.error()
    assert message == f"node {reader['nodeName']} can't be looked into any more: its pod was removed"
    assert "start again" in hint


def test_admission_that_lets_no_such_pod_in_is_told_in_its_words(cluster: Cluster, desk: Desk, file: Path) -> None:
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]
    validation = {"expression": "!has(object.spec.hostPID) || !object.spec.hostPID", "message": "nobody looks at nodes"}
    policy = {
        "apiVersion": _ADMISSION,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "lithify-test-desk"},
        "spec": {"matchConstraints": {"resourceRules": rules}, "validations": [validation]},
    }
    binding = {
        "apiVersion": _ADMISSION,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "lithify-test-desk"},
        "spec": {"policyName": "lithify-test-desk", "validationActions": ["Deny"]},
    }
    kinds = "validatingadmissionpolicies,validatingadmissionpolicybindings"
    try:
        cluster.apply(policy, binding, namespace="default")
        probe = text({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {
            "hostPID": True, "containers": [{"name": "x", "image": "x"}]}})  # fmt: skip
        run = ("create", "--dry-run=server", "--filename=-", "--output=name")
        wait_for(lambda: not cluster.kubectl(*run, stdin=probe, check=False), 60)
        done = desk.harden(file)
    finally:
        cluster.kubectl("delete", kinds, "lithify-test-desk", "--ignore-not-found")
    assert done.code == 4, done.err
    message, hint = done.error()
    assert message.startswith("the cluster refuses the pod that would look into a node: ")
    assert "nobody looks at nodes" in message
    assert "privileged pod" in hint


def test_demands_that_no_node_meets(cluster: Cluster, desk: Desk, app_image: str, tmp_path: Path) -> None:
    """A pod of ours goes where the workload's would, and nowhere else."""
    file = tmp_path / "far.yaml"
    file.write_text(text(deployment("far", shell(STAY, app_image), nodeSelector={"zone": "moon"})))
    done = desk.harden(file)
    assert done.code == 4, done.err
    assert "would look into a node does not start: no node takes it: " in done.error()[0]


def test_an_interrupt_at_a_desk_leaves_nothing(cluster: Cluster, lithify: Lithify, node_image: str, file: Path) -> None:
    # without `nsenter`, which an interrupt ends before the program that it started
    apart = replace(lithify, enter=("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"))
    terminal = apart.terminal(*Desk(apart, cluster.kubeconfig).words(file, "--for", "10m"))
    wait_for(lambda: copies(cluster), 120)
    terminal.press_ctrl_c()
    done = terminal.end(180)
    assert done.code == 130, done.err
    assert left(cluster) == []


def test_a_pod_on_a_node_ends_soon_after_the_last_that_was_run_in_it(cluster: Cluster, app_image: str) -> None:
    """Whatever else runs on the node, which it sees."""

    def phase() -> str:
        return str(cluster.get("pod", "reader", "--namespace", namespace)["status"]["phase"])

    with cluster.namespace("quiet") as namespace:
        cluster.apply(waiting_pod("reader", {}, {}, app_image, 600, quiet=10), namespace=namespace)
        wait_for(lambda: phase() == "Running", 120)
        cluster.kubectl(
            "exec", "--namespace", namespace, "reader", "--", "timeout", "30", "tail", "-f", "/dev/null", check=False
        )
        assert phase() == "Running"  # for it was at work for longer than it may be quiet
        wait_for(lambda: phase() == "Succeeded", 120)


def test_what_a_killed_lithify_left_is_swept_from_the_desk(cluster: Cluster, desk: Desk, file: Path) -> None:
    """Its namespaces, its pod on the node; that would have ended by itself, and what runs in it ends at once."""
    terminal = desk.lithify.terminal(*desk.words(file, "--for", "10m"))
    # The one before, for a look into the image, is on its way out as soon as it runs.
    wait_for(lambda: copies(cluster, "-learn"), 120)
    (reader,) = readers(cluster)
    assert int(reader["activeDeadlineSeconds"]) <= 6 * 3600
    terminal.kill(signal.SIGKILL)
    terminal.end()
    wait_for(lambda: not commands(os.fsencode(file)), 60)
    if cluster.node is not None:
        init = json.loads((cluster.node.folder / "node.json").read_text())["init"]
        there = os.readlink(f"/proc/{init}/ns/pid")
        wait_for(lambda: there not in map(_namespace_of, commands(b"lithify\0answer\0")), 60)
    words = ("learn", "deployment/none", "-n", "default", "--kubeconfig", desk.kubeconfig)
    done = desk.lithify.terminal(*words).end()
    assert done.code == 3, done.err
    told = set(re.findall(r"removed what an earlier run left: namespace (lithify-[a-z0-9-]+)", done.err))
    assert reader["namespace"] in told
    assert [name for name in told if name.endswith("-learn")]
    wait_for(lambda: left(cluster) == [], 90)


def _namespace_of(pid: str) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")
    return ""

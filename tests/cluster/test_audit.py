"""`lithify audit --cluster` and `--node` on a real cluster: what the API says, what the node does."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.cluster.cluster import Cluster, wait_for
from tests.runtime.hardening import Lithify

NAMESPACE = "lithify-test-audit"


def container(name: str, image: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": image, "imagePullPolicy": "Never", "command": ["sleep", "infinity"], **more}


def template(app: str, *containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    spec = {"terminationGracePeriodSeconds": 0, "containers": containers, **more}
    return {"metadata": {"labels": {"app": app}}, "spec": spec}


@pytest.fixture(scope="module")
def volume_image(cluster: Cluster, lean_rootfs: Path) -> str:
    """An image that declares a volume."""
    return cluster.import_root("docker.io/lithify-test/volume:1", lean_rootfs, Volumes={"/data": {}})


def workloads(image: str, volume_image: str) -> list[dict[str, Any]]:
    stone = {"readOnlyRootFilesystem": True}
    web = template(
        "web",
        container("app", image),
        container("cache", image, securityContext=stone, volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}]),
        initContainers=[container("setup", image, command=["true"])],
        volumes=[{"name": "tmp", "emptyDir": {}}],
    )
    web["metadata"]["labels"]["mesh"] = "on"
    void = template("void", container("app", image, securityContext={**stone, "privileged": True}))
    writes = ["sh", "-c", "dd if=/dev/zero of=/srv/data bs=1M count=3; exec sleep infinity"]
    writer = template("writer", container("app", image, command=writes))
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "web",
                "annotations": {"lithify.dev/ignore.runs-as-root": "owner=web a test"},
            },
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": web},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "void"},
            "spec": {"selector": {"matchLabels": {"app": "void"}}, "template": void},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "writer"},
            "spec": {"serviceName": "x", "selector": {"matchLabels": {"app": "writer"}}, "template": writer},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "report"},
            "spec": {
                "schedule": "0 0 1 1 *",
                "suspend": True,
                "jobTemplate": {
                    "spec": {"template": template("report", container("job", image), restartPolicy="Never")}
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "bare", "labels": {"app": "bare"}},
            "spec": template("bare", container("app", image, securityContext=stone))["spec"],
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "volume"},
            "spec": template("volume", container("app", volume_image, securityContext=stone))["spec"],
        },
    ]


def mesh(image: str) -> list[dict[str, Any]]:
    """A policy of the API server's own that puts a proxy into pods, as a mesh's webhook does."""
    fields = f'name: "proxy", image: "{image}", imagePullPolicy: "Never"'
    proxy = f"Object.spec.containers{{{fields}}}"
    patch = f"Object{{spec: Object.spec{{containers: [{proxy}]}}}}"
    name = "lithify-test-mesh"
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
                    "objectSelector": {"matchLabels": {"mesh": "on"}},
                    "resourceRules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                    ],
                },
                "reinvocationPolicy": "Never",
                "failurePolicy": "Fail",
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": patch}}],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name},
        },
    ]


@pytest.fixture(scope="module")
def namespace(cluster: Cluster, app_image: str, volume_image: str) -> Iterator[str]:
    """Workloads of each kind, one of them with a container that admission puts in, and one with a debugger in it."""
    with cluster.namespace(NAMESPACE) as name:
        policies = mesh(app_image)
        try:
            cluster.apply(*policies, namespace=name)
            wait_for(lambda: injects(cluster, name, app_image), 60)
            cluster.apply(*workloads(app_image, volume_image), namespace=name)
            cluster.kubectl("create", "job", "-n", name, "report-1", "--from=cronjob/report")
            wait_for(lambda: running(cluster, name) == 7, 90, lambda: cluster.kubectl("get", "pods", "-n", name))
            debug = [
                "debug",
                "-n",
                name,
                "bare",
                f"--image={app_image}",
                "--image-pull-policy=Never",
                "--container=debugger",
            ]
            cluster.kubectl(*debug, "--", "sleep", "infinity", check=False)
            yield name
        finally:
            for kind in ("MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"):
                cluster.kubectl("delete", kind, policies[0]["metadata"]["name"], check=False)


def injects(cluster: Cluster, namespace: str, image: str) -> bool:
    """Tell whether the policy is in force, by a pod that is not made."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "dry", "labels": {"mesh": "on"}}}
    pod["spec"] = {"containers": [container("app", image)]}
    made = cluster.kubectl(
        "create", "-n", namespace, "--dry-run=server", "--output=json", "--filename=-", stdin=json.dumps(pod)
    )
    return len(json.loads(made)["spec"]["containers"]) == 2


def debug_bare(cluster: Cluster, namespace: str, image: str) -> None:
    """Put an ephemeral container into the pod `bare`, and wait for it."""
    debugger = {"spec": {"ephemeralContainers": [container("debugger", image)]}}
    words = ("patch", "-n", namespace, "pod/bare", "--subresource=ephemeralcontainers", "--type=strategic")
    cluster.kubectl(*words, f"--patch={json.dumps(debugger)}")

    def runs() -> bool:
        found = cluster.get("pod", "bare", "-n", namespace)["status"].get("ephemeralContainerStatuses", [])
        return any("running" in one["state"] for one in found)

    wait_for(runs)


def running(cluster: Cluster, namespace: str) -> int:
    found = cluster.get("pods", "-n", namespace)["items"]
    return sum(
        all("running" in s["state"] for s in p["status"].get("containerStatuses", [{"state": {}}])) for p in found
    )


@pytest.fixture(scope="module")
def report(cluster: Cluster, namespace: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = Lithify(tmp_path_factory.mktemp("state")).run(
        "audit", "--cluster", f"--kubeconfig={cluster.kubeconfig}", "-n", namespace, "--format=json"
    )
    assert run.code == 1, run.err
    found: dict[str, Any] = json.loads(run.out)
    return found


def verdicts(report: dict[str, Any]) -> dict[tuple[str, str], tuple[str, str]]:
    return {
        (f"{c['kind']}/{c['name']}", c["container"]["name"]): (c["verdict"], c["container"]["effective"])
        for c in report["containers"]
    }


def test_every_container_is_judged_under_the_object_that_a_person_edits(report: dict[str, Any]) -> None:
    assert verdicts(report) == {
        ("Deployment/web", "setup"): ("writable", "writable"),
        ("Deployment/web", "app"): ("writable", "writable"),
        ("Deployment/web", "cache"): ("read-only", "read-only"),
        ("Deployment/web", "proxy"): ("writable", "writable"),
        ("DaemonSet/void", "app"): ("read-only", "remountable"),
        ("StatefulSet/writer", "app"): ("writable", "writable"),
        ("CronJob/report", "job"): ("writable", "writable"),
        ("Pod/bare", "app"): ("read-only", "read-only"),
        ("Pod/bare", "debugger"): ("writable", "writable"),
        ("Pod/volume", "app"): ("read-only", "read-only"),
    }
    assert len([c for c in report["containers"] if c["name"] == "web"]) == 8  # two pods of four
    assert {c["file"] for c in report["containers"] if c["name"] == "web"} == {f"cluster:{NAMESPACE}/Deployment/web"}


def test_what_admission_put_in_is_named_as_such(report: dict[str, Any]) -> None:
    injected = {c["container"]["name"] for c in report["containers"] if c["container"]["injected"]}
    assert injected == {"proxy"}
    messages = [f["message"] for f in report["findings"] if f["rule"] == "writable-root-filesystem"]
    assert "injected container 'proxy' can write to its root filesystem (all 2 pods)" in messages
    assert "ephemeral container 'debugger' can write to its root filesystem" in messages


def test_a_finding_leads_into_the_object_that_is_edited(report: dict[str, Any]) -> None:
    (finding,) = [
        f
        for f in report["findings"]
        if f["rule"] == "writable-root-filesystem" and f["kind"] == "CronJob" and f["container"]["name"] == "job"
    ]
    where = ["spec", "jobTemplate", "spec", "template", "spec", "containers", 0]
    assert finding["route"] == [*where, "securityContext", "readOnlyRootFilesystem"]


def test_the_checklist_does_not_apply(cluster: Cluster, namespace: str, lithify: Lithify) -> None:
    run = lithify.run("audit", "--cluster", f"--kubeconfig={cluster.kubeconfig}", "-n", namespace, "--format=cklb")
    (rule,) = json.loads(run.out)["stigs"][0]["rules"]
    assert rule["status"] == "not_applicable"
    assert "from what runs under Kubernetes" in rule["comments"]


def test_an_annotation_on_the_owner_exempts(report: dict[str, Any]) -> None:
    found = [f for f in report["findings"] if f["rule"] == "runs-as-root"]
    assert {f["kind"] for f in found if f["exemption"]} == {"Deployment"}
    assert {f["exemption"]["owner"] for f in found if f["exemption"]} == {"web"}


def test_a_volume_of_the_image_is_seen_in_the_mount_table(
    cluster: Cluster, report: dict[str, Any], lithify: Lithify
) -> None:
    """The API knows nothing of it; what is written there dies with the container."""
    if cluster.node is None:
        pytest.skip("the nodes of this cluster are not on this host")
    on_node = json.loads(lithify.run("audit", "--node", f"{NAMESPACE}/volume", "--format=json").out)
    for found in (report, on_node):
        (finding,) = [f for f in found["findings"] if f["rule"] == "anonymous-volume"]
        assert (finding["name"], finding["message"]) == (
            "volume",
            "container 'app' keeps /data on a volume without a name",
        )


def test_data_in_a_layer_is_told_by_the_kubelet(cluster: Cluster, report: dict[str, Any], lithify: Lithify) -> None:
    def kept() -> set[str]:
        run = lithify.run("audit", "--cluster", f"--kubeconfig={cluster.kubeconfig}", "-n", NAMESPACE, "--format=json")
        return {f["name"] for f in json.loads(run.out)["findings"] if f["rule"] == "data-in-container-layer"}

    wait_for(lambda: kept() == {"writer"}, 60)  # the kubelet counts every ten seconds


def test_the_mount_table_stands_beside_the_word_of_the_api(
    cluster: Cluster, namespace: str, lithify: Lithify, report: dict[str, Any]
) -> None:
    """A privileged container remounts its root: the API goes on to say read-only."""
    if cluster.node is None:
        pytest.skip("the nodes of this cluster are not on this host")
    assert {c["container"]["reason"] for c in report["containers"] if c["name"] == "web"} == {
        None,
        "it does not run: judged by its flag",
    }
    pod = cluster.get("pods", "-n", namespace, "--selector=app=void")["items"][0]["metadata"]["name"]
    remount = ["exec", "-n", namespace, pod, "--", "mount", "-o", "remount,rw", "/"]
    cluster.kubectl(*remount)
    try:
        words = ("--cluster", f"--kubeconfig={cluster.kubeconfig}", "-n", namespace, "daemonset/void")
        run = lithify.run("audit", *words, "--format=json")
        found = json.loads(run.out)
        assert verdicts(found) == {("DaemonSet/void", "app"): ("read-only", "writable")}
        assert "its mount table says rw" in found["containers"][0]["container"]["reason"]
        assert any("were not named" in skipped["reason"] for skipped in found["skipped"])
        run = lithify.run("audit", "--node", f"{namespace}/{pod}", "--format=json")
        assert verdicts(json.loads(run.out)) == {(f"Pod/{pod}", "app"): ("read-only", "writable")}
    finally:
        cluster.kubectl(*remount[:-2], "remount,ro", "/", check=False)


@pytest.mark.parametrize("with_crictl", [True, False])
def test_a_node_says_the_same_without_the_api_server(
    cluster: Cluster, report: dict[str, Any], lithify: Lithify, with_crictl: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cluster.node is None:
        pytest.skip("the nodes of this cluster are not on this host")
    places = [place for place in os.environ["PATH"].split(":") if not (Path(place) / "crictl").exists()]
    monkeypatch.setenv("PATH", ":".join([str(cluster.programs), *places] if with_crictl else places))
    run = lithify.run("audit", "--node", "--format=json", "--fail-on=never")
    assert run.code == 0, run.err
    found = json.loads(run.out)
    ours = {c["container"]["id"]: c for c in found["containers"] if c["namespace"] == NAMESPACE}
    by_api = {c["container"]["id"]: c for c in report["containers"] if c["container"]["role"] != "init"}
    assert by_api.keys() <= ours.keys()
    for identity, api in by_api.items():
        assert ours[identity]["verdict"] == api["verdict"], api
        assert ours[identity]["container"]["effective"] == api["container"]["effective"], api
    ended = [c for c in ours.values() if c["container"]["name"] == "setup"]
    assert len(ended) == (2 if with_crictl else 0)
    assert any("containers that do not run are not seen" in s["reason"] for s in found["skipped"]) is not with_crictl


def test_a_container_of_the_node_is_watched_by_its_name(
    cluster: Cluster, report: dict[str, Any], lithify: Lithify
) -> None:
    """`learn --attach NAMESPACE/POD/CONTAINER`, where neither Docker nor Podman runs it."""
    if cluster.node is None:
        pytest.skip("the nodes of this cluster are not on this host")
    del report  # which is of the same pods
    pod = cluster.kubectl("get", "pods", "-n", NAMESPACE, "-l", "app=writer", "-o", "name").split()[0]
    name = f"{NAMESPACE}/{pod.partition('/')[2]}/app"
    for reference in (name, f"node:{name}"):
        run = lithify.run("learn", "--attach", reference, "--no-live", "--for", "1s", "--format=json")
        assert run.code == 0, run.err
        found = json.loads(run.out)
        assert "/srv/data" in {write["path"] for write in found["writes"]}
        assert found["key"]["command"][:2] == ["sh", "-c"]  # as it was started: the shell has become another by now
    refused = lithify.run("learn", "--attach", f"node:{name}-not")
    assert refused.code == 3
    assert "audit --node" in refused.err


def test_what_is_not_there_and_what_is_not_allowed_are_told(cluster: Cluster, namespace: str, lithify: Lithify) -> None:
    run = lithify.run("audit", "--cluster", f"--kubeconfig={cluster.kubeconfig}", "-n", namespace, "deployment/none")
    assert run.code == 3
    assert "no pod of Deployment/none" in run.err
    words = ("-n", namespace, "-n", "lithify-test-none", "daemonset/void", "--format=json")
    run = lithify.run("audit", "--cluster", f"--kubeconfig={cluster.kubeconfig}", *words)
    assert run.code == 1, run.err
    assert "namespace lithify-test-none has no pod" in {skipped["reason"] for skipped in json.loads(run.out)["skipped"]}
    cluster.kubectl("create", "serviceaccount", "-n", namespace, "nobody")
    token = cluster.kubectl("create", "token", "-n", namespace, "nobody").strip()
    config = cluster.kubectl("config", "view", "--raw", "--output=json")
    changed = json.loads(config)
    changed["users"] = [{"name": user["name"], "user": {"token": token}} for user in changed["users"]]
    weak = cluster.work / "weak"
    weak.write_text(json.dumps(changed))
    run = lithify.run("audit", "--cluster", f"--kubeconfig={weak}")
    assert run.code == 4
    assert "the right to list pods in every namespace" in run.err
    assert "--namespace" in run.err


def test_a_service_account_sees_what_its_role_allows(
    cluster: Cluster, namespace: str, tmp_path: Path, report: dict[str, Any]
) -> None:
    """As in a pod: token, certificate and namespace from files; it may list pods, and nothing else."""
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "reader"},
        "rules": [rule],
    }
    cluster.apply(role, namespace=namespace)
    cluster.kubectl("create", "serviceaccount", "-n", namespace, "reader")
    cluster.kubectl(
        "create", "rolebinding", "-n", namespace, "reader", "--role=reader", f"--serviceaccount={namespace}:reader"
    )
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--output=json"))
    server = config["clusters"][0]["cluster"]
    authority = server.get("certificate-authority-data")
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "token").write_text(cluster.kubectl("create", "token", "-n", namespace, "reader").strip())
    (account / "ca.crt").write_bytes(
        base64.b64decode(authority) if authority else Path(server["certificate-authority"]).read_bytes()
    )
    (account / "namespace").write_text(namespace)
    address = urlsplit(server["server"])
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **{key: value for key, value in os.environ.items() if key != "KUBECONFIG"},
        "HOME": str(home),
        "KUBERNETES_SERVICE_HOST": str(address.hostname),
        "KUBERNETES_SERVICE_PORT": str(address.port or 443),
    }
    # In a mount namespace of its own, the files stand where a kubelet puts them.
    place = "/run/secrets/kubernetes.io"
    script = f'mount -t tmpfs none /run && mkdir -p {place} && cp -r "$0" {place}/ && exec "$@"'
    audit = [sys.executable, "-m", "lithify.cli.main", "audit", "--cluster", "-n", "default", "-n", namespace]
    audit.append("--format=json")
    command = ["unshare", "--mount", "sh", "-c", script, str(account), *audit]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["summary"]["containers"] == report["summary"]["containers"]
    assert {c["kind"] for c in found["containers"]} == {"ReplicaSet", "DaemonSet", "StatefulSet", "Job", "Pod"}
    (forbidden,) = [f for f in found["findings"] if f["rule"] == "unreadable-input"]
    assert forbidden["file"] == "cluster:default"
    assert "the right to list pods in namespace default" in forbidden["message"]
    reasons = " ".join(skipped["reason"] for skipped in found["skipped"])
    assert f"the right to get replicasets.apps in namespace {namespace}" in reasons

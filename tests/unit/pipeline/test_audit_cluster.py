"""What an audit makes of a cluster, against a fake API server; tests/cluster asks a real one."""

import gc
import io
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from tests.fake_apiserver import Reply, refused, serving, write_config

from lithify.documents.live import LiveDocument
from lithify.errors import NotPermitted
from lithify.model.finding import Report
from lithify.pipeline.audit.cluster import audit_cluster
from lithify.pipeline.audit.merge import merge_reports
from lithify.report import json as report_json

APPS = {
    "/apis/apps/v1": [("deployments", "Deployment"), ("replicasets", "ReplicaSet")],
    "/apis/batch/v1": [("jobs", "Job"), ("cronjobs", "CronJob")],
    "/apis/shop.example/v1": [("tills", "Till")],
}


def owned(kind: str, name: str, api_version: str = "apps/v1") -> dict[str, Any]:
    reference = {"apiVersion": api_version, "kind": kind, "name": name, "uid": f"{kind}-{name}", "controller": True}
    return {"ownerReferences": [reference]}


def pod(name: str, namespace: str = "shop", *, flag: bool = False, metadata: Any = None, **more: Any) -> dict[str, Any]:
    containers = [{"name": "app", "image": "x", "securityContext": {"readOnlyRootFilesystem": flag}}]
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", **(metadata or {})},
        "spec": {"nodeName": "far", "containers": [*containers, *more.pop("containers", [])], **more},
        "status": {
            "containerStatuses": [{"name": "app", "containerID": f"containerd://{name}", "state": {"running": {}}}]
        },
    }


def owner(kind: str, name: str, *containers: str, **metadata: Any) -> dict[str, Any]:
    spec = {"template": {"spec": {"containers": [{"name": one, "image": "x"} for one in containers]}}}
    return {"kind": kind, "metadata": {"name": name, "uid": f"{kind}-{name}", **metadata}, "spec": spec}


def cluster_of(pods: list[dict[str, Any]], objects: dict[str, Any]) -> Callable[..., Reply]:
    def script(_method: str, path: str, query: dict[str, str], _body: Any) -> Reply:
        if path in APPS:
            return 200, {"resources": [{"name": n, "kind": k, "namespaced": True} for n, k in APPS[path]]}
        if path in ("/api/v1/pods", "/api/v1/namespaces/shop/pods"):
            first = int(query.get("continue") or 0)
            size = int(query["limit"])
            more = str(first + size) if first + size < len(pods) else ""
            return 200, {"metadata": {"continue": more}, "items": pods[first : first + size]}
        if path in objects:
            found = objects[path]
            return found if isinstance(found, tuple) else (200, found)
        return refused(404, "not found")

    return script


def audited(tmp_path: Path, script: Callable[..., Reply], **options: Any) -> Report:
    with serving(script) as server:
        return audit_cluster(kubeconfig=str(write_config(tmp_path / "config", server.address)), **options)


def as_json(report: Report) -> dict[str, Any]:
    parts: list[str] = []
    report_json.render(report, parts.append)
    found: dict[str, Any] = json.loads("".join(parts))
    return found


def rendered(name: str, report: Report) -> str:
    parts: list[str] = []
    import_module(f"lithify.report.{name}").render(report, parts.append)
    return "".join(parts)


SCHEMA = Path(__file__).parents[3] / "docs" / "schemas" / "audit-report-v1.json"
SETS = "/apis/apps/v1/namespaces/shop/replicasets"


def test_owners_are_followed_to_a_custom_resource(tmp_path: Path) -> None:
    """ReplicaSet, Deployment, and what an operator made the Deployment from."""
    objects = {
        f"{SETS}/web-1": owner("ReplicaSet", "web-1", "app", **owned("Deployment", "web")),
        "/apis/apps/v1/namespaces/shop/deployments/web": owner(
            "Deployment", "web", "app", **owned("Till", "front", "shop.example/v1")
        ),
        "/apis/shop.example/v1/namespaces/shop/tills/front": {"metadata": {"uid": "Till-front"}},
    }
    pods = [pod(f"web-1-{n}", metadata=owned("ReplicaSet", "web-1")) for n in range(3)]
    report = as_json(audited(tmp_path, cluster_of(pods, objects), rules=["writable-root-filesystem"]))
    assert {(c["kind"], c["name"], c["file"]) for c in report["containers"]} == {
        ("Till", "front", "cluster:shop/Till/front")
    }
    (finding,) = report["findings"]
    assert finding["message"] == "container 'app' can write to its root filesystem (all 3 pods)"
    assert len(report["containers"]) == 3
    assert [finding["document"], *finding["also"]] == [c["document"] for c in report["containers"]]


@pytest.mark.parametrize("merged", [False, True])
def test_no_pod_of_an_object_passes_where_one_fails(tmp_path: Path, merged: bool) -> None:
    """What is said once for all pods counts for each of them, also after a merge of reports."""
    objects = {f"{SETS}/web-1": owner("ReplicaSet", "web-1", "app")}
    pods = [pod(f"web-1-{n}", flag=n == 2, metadata=owned("ReplicaSet", "web-1")) for n in range(3)]
    report = audited(tmp_path, cluster_of(pods, objects), rules=["writable-root-filesystem"])
    if merged:
        report = merge_reports([io.StringIO(json.dumps(as_json(report)))])
    cases = ElementTree.fromstring(rendered("junit", report)).iter("testcase")
    assert [case.find("failure") is not None for case in cases] == [True, True, False]
    (policy,) = json.loads(rendered("policyreport", report))["items"]
    assert policy["summary"] == {"pass": 1, "fail": 1, "warn": 0, "error": 0, "skip": 0}
    jsonschema.validate(as_json(report), json.loads(SCHEMA.read_text()))


def test_an_owner_that_may_not_be_read_ends_the_way_and_says_so(tmp_path: Path) -> None:
    objects = {f"{SETS}/web-1": refused(403, "forbidden")}
    report = as_json(audited(tmp_path, cluster_of([pod("a", metadata=owned("ReplicaSet", "web-1"))], objects)))
    assert report["containers"][0]["kind"] == "ReplicaSet"
    assert report["containers"][0]["container"]["injected"] is False
    assert "the right to get replicasets.apps in namespace shop" in report["skipped"][0]["reason"]


@pytest.mark.parametrize("uid", ["ReplicaSet-web-1", "another"])
def test_an_owner_of_the_same_name_is_not_the_owner(tmp_path: Path, uid: str) -> None:
    made = owner("ReplicaSet", "web-1", "app", **owned("Deployment", "web"))
    made["metadata"]["uid"] = uid
    report = as_json(
        audited(tmp_path, cluster_of([pod("a", metadata=owned("ReplicaSet", "web-1"))], {f"{SETS}/web-1": made}))
    )
    assert report["containers"][0]["kind"] == ("Deployment" if uid == "ReplicaSet-web-1" else "ReplicaSet")


def test_what_the_template_lacks_and_what_admission_changed(tmp_path: Path) -> None:
    mesh = {"name": "proxy", "image": "y"}
    pods = [
        pod("a", flag=True, metadata=owned("ReplicaSet", "web-1"), containers=[mesh]),
        pod("b", flag=True, metadata=owned("ReplicaSet", "web-1")),
    ]
    report = as_json(audited(tmp_path, cluster_of(pods, {f"{SETS}/web-1": owner("ReplicaSet", "web-1", "app")})))
    told = {c["container"]["name"]: c["container"] for c in report["containers"]}
    assert told["proxy"]["injected"] is True
    assert told["app"]["injected"] is False
    assert "readOnlyRootFilesystem is false in its template: admission changed it" in told["app"]["reason"]
    messages = [f["message"] for f in report["findings"] if f["rule"] == "writable-root-filesystem"]
    assert messages == ["injected container 'proxy' can write to its root filesystem (1 of 2 pods: a)"]


def test_static_and_ended_pods_say_what_they_are(tmp_path: Path) -> None:
    mirror = {"annotations": {"kubernetes.io/config.mirror": "x"}, **owned("Node", "far", "v1")}
    ended = pod("done", metadata=owned("Job", "once", "batch/v1"))
    ended["status"]["containerStatuses"][0]["state"] = {"terminated": {"exitCode": 0}}
    report = as_json(audited(tmp_path, cluster_of([pod("etcd-far", metadata=mirror), ended], {})))
    reasons = {c["name"]: c["container"]["reason"] for c in report["containers"]}
    assert reasons == {
        "etcd-far": "a static pod: its manifest lies on node far; it runs on node far: judged by its flag",
        "once": "it does not run: judged by its flag",
    }


@pytest.mark.parametrize(("used", "inodes", "told"), [(24576, 7, False), (3 << 20, 9, True), (None, None, False)])
def test_the_kubelet_says_what_lies_in_a_layer(tmp_path: Path, used: int, inodes: int, told: bool) -> None:
    """The blocks of directories that every container has do not count."""
    rootfs = {"usedBytes": used, "inodesUsed": inodes}
    summary = {"pods": [{"podRef": {"uid": "uid-a"}, "containers": [{"name": "app", "rootfs": rootfs}]}]}
    objects = {"/api/v1/nodes/far/proxy/stats/summary": summary}
    report = as_json(audited(tmp_path, cluster_of([pod("a")], objects), rules=["data-in-container-layer"]))
    assert bool(report["findings"]) is told


def test_objects_are_named_as_kubectl_does(tmp_path: Path) -> None:
    objects = {f"{SETS}/web-1": owner("ReplicaSet", "web-1", "app")}
    groups = {"groups": [{"preferredVersion": {"groupVersion": "apps/v1"}}]}
    pods = [pod("a", metadata=owned("ReplicaSet", "web-1")), pod("b"), pod("c")]
    script = cluster_of(pods, {**objects, "/apis": groups, "/api/v1": {"resources": []}})
    report = as_json(audited(tmp_path, script, names=["replicaset/web-1", "b"]))
    assert {c["name"] for c in report["containers"]} == {"web-1", "b"}
    assert report["skipped"][0]["reason"] == "1 more pods belong to objects that were not named"


def test_a_missing_right_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(NotPermitted) as met:
        audited(tmp_path, lambda *_: refused(403, "forbidden"))
    assert "the right to list pods in every namespace" in met.value.hint
    assert "--namespace" in met.value.hint


_PEAK = """
import gc, resource, sys
gc.disable()  # as the command does
from lithify.pipeline.audit.cluster import audit_cluster
report = audit_cluster(kubeconfig=sys.argv[1])
for result in report.results():
    pass
print(report.summary.containers, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_cluster(tmp_path: Path) -> None:
    """Eight times the pods, in as many more namespaces, take a few megabytes more at most."""

    def peak(count: int) -> int:
        padding = "x" * 6000  # as large as real ones
        pods = [pod(f"p{n}", f"ns-{n // 100:04}", metadata={"annotations": {"padding": padding}}) for n in range(count)]
        with serving(cluster_of(pods, {})) as server:
            config = write_config(tmp_path / "config", server.address)
            command = [sys.executable, "-c", _PEAK, str(config)]
            result = subprocess.run(command, capture_output=True, check=True, timeout=120)
        containers, kilobytes = map(int, result.stdout.split())
        assert containers == count
        return kilobytes

    assert peak(4000) < peak(500) + 12_000


def test_no_pod_is_kept_once_it_is_judged(tmp_path: Path) -> None:
    """A namespace may have ten thousand: verdicts and findings are kept until its end, not what they were read from."""
    kept: list[int] = []
    answer = cluster_of([pod(f"web-{number}") for number in range(600)], {})

    def script(method: str, path: str, query: dict[str, str], body: Any) -> Reply:
        if query.get("continue"):
            gc.collect()
            kept.append(sum(isinstance(one, LiveDocument) for one in gc.get_objects()))
        return answer(method, path, query, body)

    report = audited(tmp_path, script)
    assert report.summary.containers == 600
    assert kept
    assert max(kept) <= 2

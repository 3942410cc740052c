"""`engines.kubernetes.client` against a real API server: what is made, changed, watched, entered and refused."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.cluster import Cluster as Harness
from tests.cluster.cluster import wait_for

from lithify.engines.kubernetes.client import NAMESPACE, POD, Cluster
from lithify.errors import Conflict, EngineRefused, NothingToExamine


@pytest.fixture(scope="module")
def client(cluster: Harness) -> Iterator[Cluster]:
    with Cluster.connect(kubeconfig=str(cluster.kubeconfig)) as client:
        yield client


@pytest.fixture(scope="module")
def namespace(client: Cluster) -> Iterator[str]:
    name = "lithify-test-client"
    made = client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        wait_for(lambda: client.get(client.find("serviceaccount"), "default", name), 30)
        yield name
    finally:
        assert client.delete(NAMESPACE, name, uid=made["metadata"]["uid"])


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, image: str, command: str, **metadata: Any) -> dict[str, Any]:
    container = {"name": "app", "image": image, "imagePullPolicy": "Never", "command": ["sh", "-c", command]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def test_kinds_are_found_as_kubectl_finds_them(client: Cluster) -> None:
    assert client.version().startswith("v1.")
    for name in ("deploy", "Deployment", "deployments", "deployments.apps"):
        assert client.find(name).kind == "Deployment"
    assert str(client.find("cj")) == "cronjobs.batch"
    with pytest.raises(NothingToExamine):
        client.find("nosuchkind")
    with pytest.raises(NothingToExamine):
        client.resource("argoproj.io/v1alpha1", "Rollout")


def test_objects_are_made_applied_changed_and_removed(client: Cluster, namespace: str) -> None:
    maps = client.resource("v1", "ConfigMap")
    assert client.create(config_map("one", a="1"), namespace, dry_run=True)["data"] == {"a": "1"}
    assert client.get(maps, "one", namespace) is None
    client.create(config_map("one", a="1"), namespace)
    with pytest.raises(Conflict, match="already exists"):
        client.create(config_map("one", a="1"), namespace)
    assert client.patch(maps, "one", {"data": {"b": "2"}}, namespace)["data"] == {"a": "1", "b": "2"}
    changed = client.patch(maps, "one", [{"op": "remove", "path": "/data/a"}], namespace)
    assert changed["data"] == {"b": "2"}
    client.apply(config_map("one", c="3"), namespace, manager="somebody")
    with pytest.raises(Conflict, match="somebody"):
        client.apply(config_map("one", c="4"), namespace)
    assert client.apply(config_map("one", c="4"), namespace, force=True)["data"] == {"b": "2", "c": "4"}
    stale = {**changed, "data": {"x": "y"}}
    with pytest.raises(Conflict, match="modified"):
        client.replace(stale, namespace)
    with pytest.raises(Conflict):
        client.delete(maps, "one", namespace, uid="00000000-0000-0000-0000-000000000000")
    assert client.delete(maps, "one", namespace)
    assert not client.delete(maps, "one", namespace)


def test_what_the_server_refuses_is_told_in_its_words(client: Cluster, namespace: str) -> None:
    odd = pod("odd", "x", "true")
    odd["spec"]["containers"][0]["securityContext"] = {"readOnlyFilesystem": True}
    for refused in (client.create, client.apply):
        with pytest.raises(EngineRefused, match="readOnlyFilesystem"):
            refused(odd, namespace)
    with pytest.raises(EngineRefused, match="Invalid value"):
        client.create(config_map("Not_A_Name"), namespace)


def test_pages_hold_every_object_once(client: Cluster, namespace: str) -> None:
    maps = client.resource("v1", "ConfigMap")
    for number in range(7):
        metadata = {"name": f"page-{number}", "labels": {"p": "1"}}
        client.create({**config_map(""), "metadata": metadata}, namespace)
    pages = list(client.pages(maps, namespace, label_selector="p=1", page=3))
    assert [len(page) for page in pages] == [3, 3, 1]
    assert {one["metadata"]["name"] for page in pages for one in page} == {f"page-{number}" for number in range(7)}


def test_a_pod_is_watched_read_and_entered(
    client: Cluster, namespace: str, app_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create(pod("talks", app_image, "echo ready; exec sleep infinity"), namespace)
    selector = "metadata.name=talks"
    events = client.watch(POD, namespace, timeout=60, field_selector=selector)
    phases = (found["status"].get("phase") for _, found in events)
    assert "Running" in phases
    wait_for(lambda: client.logs("talks", namespace, "app") == b"ready\n")
    assert client.logs("talks", namespace, limit=3) == b"dy\n"

    done = client.execute("talks", namespace, ["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.code, sorted(done.output.split())) == (7, [b"err", b"out"])
    done = client.execute("talks", namespace, ["sh", "-c", "echo out; echo err >&2; exit 7"], apart=True)
    assert (done.code, done.output, done.errors) == (7, b"out\n", b"err\n")
    assert client.execute("talks", namespace, ["true"]).code == 0
    assert client.execute("talks", namespace, ["no-such-program"]).code == 127
    assert client.execute("talks", namespace, ["sleep", "60"], timeout=1.0).code == 124
    monkeypatch.setattr("lithify.engines.kubernetes.streams._QUIET", 0.2)
    assert client.execute("talks", namespace, ["sh", "-c", "sleep 2; echo late"]).output == b"late\n"
    many = client.execute("talks", namespace, ["head", "-c", "3000000", "/dev/zero"])
    assert (many.code, len(many.output)) == (0, 3_000_000)
    with pytest.raises(NothingToExamine):
        client.execute("nobody", namespace, ["true"])
    with pytest.raises(EngineRefused):
        client.logs("talks", namespace, "app", previous=True)
    assert client.delete(POD, "talks", namespace, grace=0)
    wait_for(lambda: client.get(POD, "talks", namespace) is None)


def test_rights_are_asked_for(client: Cluster, namespace: str) -> None:
    assert client.allows("create", POD, namespace, subresource="exec")

"""The Kubernetes client against a fake API server on loopback; tests/cluster holds it against a real one."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.fake_apiserver import FakeApiServer, Reply, Script, refused, serving, write_config

from lithify.engines.kubernetes.apiserver import missing_right
from lithify.engines.kubernetes.client import POD, Cluster
from lithify.errors import (
    Conflict,
    EngineRefused,
    EngineUnreachable,
    LithifyError,
    NothingToExamine,
    NotPermitted,
    UsageError,
)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Callable[[Script], tuple[Cluster, FakeApiServer]]]:
    with ExitStack() as stack:

        def start(script: Script) -> tuple[Cluster, FakeApiServer]:
            server = stack.enter_context(serving(script))
            cluster = Cluster.connect(kubeconfig=str(write_config(tmp_path / "config", server.address)))
            return stack.enter_context(cluster), server

        yield start


def pods(first: int, count: int, token: str = "") -> Reply:
    items = [{"metadata": {"name": f"p{n}", "uid": f"u{n}"}} for n in range(first, first + count)]
    return 200, {"kind": "PodList", "metadata": {"continue": token}, "items": items}


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (401, NotPermitted, "does not know us"),
        (403, NotPermitted, "forbids"),
        (409, Conflict, "conflict"),
        (400, EngineRefused, "no such field"),
        (422, EngineRefused, "no such field"),
        (418, EngineRefused, "418"),
    ],
)
def test_errors_are_told_apart_by_refused(fake: Any, code: int, kind: type[LithifyError], words: str) -> None:
    cluster, server = fake(lambda *_: refused(code, "no such field \x1b[31m"))
    with pytest.raises(kind) as met:
        cluster.get(POD, "web")
    assert type(met.value) is kind
    assert words in str(met.value)
    assert "\x1b" not in str(met.value)
    assert len(server.asked) == 1
    assert met.value.hint


def test_a_missing_right_is_named(fake: Any) -> None:
    cluster, _ = fake(lambda *_: refused(403, "pods is forbidden"))
    with pytest.raises(NotPermitted) as met:
        list(cluster.objects(POD))
    assert met.value.hint == "missing: the right to list pods in every namespace"


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/api/v1/namespaces/shop/pods/web", "the right to get pods in namespace shop"),
        ("POST", "/api/v1/namespaces/shop/pods/web/exec", "the right to create pods/exec in namespace shop"),
        ("PATCH", "/apis/apps/v1/namespaces/a/deployments/b", "the right to patch deployments.apps in namespace a"),
        ("DELETE", "/api/v1/namespaces/shop", "the right to delete namespaces in every namespace"),
        ("GET", "/version", "the right to get the path /version"),
    ],
)
def test_rights_are_in_the_words_of_rbac(method: str, path: str, words: str) -> None:
    assert missing_right(method, path) == words


def test_what_is_not_there_is_none(fake: Any) -> None:
    cluster, _ = fake(lambda *_: refused(404, "not found"))
    assert cluster.get(POD, "web") is None
    assert cluster.delete(POD, "web") is False
    with pytest.raises(NothingToExamine):
        cluster.patch(POD, "web", {})


def test_a_busy_server_is_asked_again_and_a_change_is_not_repeated(fake: Any) -> None:
    answers: Iterator[Reply] = iter(
        [refused(503, "starting"), (429, {}, {"Retry-After": "0"}), (200, {"metadata": {"name": "web"}})]
    )
    cluster, server = fake(lambda *_: next(answers))
    assert cluster.get(POD, "web") == {"metadata": {"name": "web"}}
    assert len(server.asked) == 3
    cluster, server = fake(lambda *_: refused(503, "starting"))
    with pytest.raises(EngineUnreachable):
        cluster.delete(POD, "web")
    assert len(server.asked) == 1


def test_pages_go_on_by_the_token_of_an_expired_list(fake: Any) -> None:
    def script(_method: str, _path: str, query: dict[str, str], _body: Any) -> Reply:
        match query.get("continue"):
            case None:
                return pods(0, 3, "old")
            case "old":
                return refused(410, "expired", reason="Expired", metadata={"continue": "new"})
            case _:
                return pods(3, 2)

    cluster, _ = fake(script)
    assert [one["metadata"]["name"] for one in cluster.objects(POD)] == ["p0", "p1", "p2", "p3", "p4"]


def test_a_list_that_begins_anew_gives_each_object_once(fake: Any) -> None:
    answers = iter([pods(0, 3, "old"), refused(410, "expired"), pods(0, 4, "more"), pods(4, 1)])
    cluster, _ = fake(lambda *_: next(answers))
    found = list(cluster.objects(POD))
    assert [one["metadata"]["name"] for one in found] == ["p0", "p1", "p2", "p3", "p4"]
    assert {one["kind"] for one in found} == {"Pod"}


def test_a_list_that_never_ends_is_given_up(fake: Any) -> None:
    cluster, _ = fake(lambda _m, _p, query, _b: refused(410, "gone") if query.get("continue") else pods(0, 1, "x"))
    with pytest.raises(EngineUnreachable, match="changed faster"):
        list(cluster.objects(POD))


def test_writing_asks_for_strict_fields_and_dry_run(fake: Any) -> None:
    def script(method: str, path: str, query: dict[str, str], body: Any) -> Reply:
        if path == "/apis/apps/v1":
            return 200, {"resources": [{"name": "deployments", "kind": "Deployment", "namespaced": True}]}
        return 200, body, {"Warning": '299 - "unknown field"'}

    cluster, server = fake(script)
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    assert cluster.apply(manifest, dry_run=True) == manifest
    method, path, query = server.asked[-1]
    assert (method, path) == ("PATCH", "/apis/apps/v1/namespaces/shop/deployments/web")
    assert query == {"fieldManager": "lithify", "fieldValidation": "Strict", "dryRun": "All", "force": "false"}
    assert list(cluster.server.warnings) == ['299 - "unknown field"']
    with pytest.raises(NothingToExamine, match="no kind Rollout"):
        cluster.create({"apiVersion": "apps/v1", "kind": "Rollout"})


def test_a_watch_begins_anew_when_its_start_is_forgotten(fake: Any) -> None:
    def script(_method: str, _path: str, query: dict[str, str], _body: Any) -> Reply:
        if query.get("resourceVersion") == "5":
            return 200, b'{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}\n'
        return 200, b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"7"}}}\n'

    cluster, _ = fake(script)
    kind, found = next(cluster.watch(POD, timeout=10, since="5"))
    assert (kind, found["metadata"]["name"]) == ("ADDED", "a")


def test_logs_keep_the_end(fake: Any) -> None:
    cluster, server = fake(lambda *_: (200, b"x" * 100_000 + b"end"))
    assert cluster.logs("web", "shop", "app", limit=10) == b"x" * 7 + b"end"
    assert server.asked[-1][1:] == ("/api/v1/namespaces/shop/pods/web/log", {"container": "app"})


def test_an_error_page_is_no_object(fake: Any) -> None:
    cluster, _ = fake(lambda *_: (200, b"<html>proxy</html>"))
    with pytest.raises(EngineRefused, match="no JSON object"):
        cluster.version()


def test_nobody_listening_is_unreachable(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        path = tmp_path / "config"
        write_config(path, f"http://127.0.0.1:{free.getsockname()[1]}")
        with Cluster.connect(kubeconfig=str(path)) as cluster, pytest.raises(EngineUnreachable, match="no answer"):
            cluster.version()


def test_configuration_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="can't be used"):
        Cluster.connect(kubeconfig=str(tmp_path / "missing"))
    (tmp_path / "broken").write_text("{")
    with pytest.raises(UsageError, match="can't be used"):
        Cluster.connect(kubeconfig=str(tmp_path / "broken"))
    (tmp_path / "list").write_text("- a")
    with pytest.raises(UsageError, match="can't be used"):
        Cluster.connect(kubeconfig=str(tmp_path / "list"))
    write_config(tmp_path / "good", "http://127.0.0.1:1")
    with pytest.raises(UsageError, match="no context 'other'") as met:
        Cluster.connect(kubeconfig=str(tmp_path / "good"), context="other")
    assert "fake" in met.value.hint
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(EngineUnreachable, match="nothing says which cluster"):
        Cluster.connect()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "good"))
    assert Cluster.connect().namespace == "shop"

"""Scratch namespaces against a fake API server; tests/cluster makes them on a real one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.fake_apiserver import FakeApiServer, Reply, Script, refused, serving, write_config

from lithify.engines.kubernetes import lent
from lithify.engines.kubernetes.client import Cluster
from lithify.engines.kubernetes.readers import Readers
from lithify.engines.kubernetes.scratch import OF, UNTIL, Premises
from lithify.errors import EngineRefused, NotPermitted


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Callable[[Script], tuple[Premises, FakeApiServer]]]:
    with ExitStack() as stack:

        def start(script: Script) -> tuple[Premises, FakeApiServer]:
            server = stack.enter_context(serving(script))
            config = str(write_config(tmp_path / "config", server.address))
            return stack.enter_context(Premises(lambda: Cluster.connect(kubeconfig=config))), server

        yield start


def all_but(*missing: tuple[str, str]) -> Script:
    """Return a server on which everything but these verbs on these resources is allowed."""

    def answer(_method: str, _path: str, _query: dict[str, str], body: Any) -> Reply:
        asked = body["spec"]["resourceAttributes"]
        return 201, {"status": {"allowed": (asked["verb"], asked["resource"]) not in missing}}

    return answer


def test_rights_to_see_a_namespace_come_and_go_are_asked_for_first(fake: Any) -> None:
    premises, _ = fake(all_but(("get", "namespaces"), ("get", "serviceaccounts")))
    with pytest.raises(NotPermitted) as met:
        premises.check_rights([])
    assert met.value.hint.startswith("missing: the right to get namespaces, get serviceaccounts,")
    with pytest.raises(NotPermitted) as met:
        Readers(premises, "image", "1").open(["node"], 60.0)
    assert met.value.hint.startswith("missing: the right to get namespaces, get serviceaccounts,")


def test_quotas_that_may_be_read_and_not_made_are_noted(fake: Any) -> None:
    def answer(method: str, path: str, _query: dict[str, str], _body: Any) -> Reply:
        if method == "POST":
            return refused(403, "no")
        if path == "/api/v1":
            return 200, {"resources": [{"name": "resourcequotas", "kind": "ResourceQuota", "namespaced": True}]}
        quota = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "2"}}}
        return 200, {"metadata": {}, "items": [quota] if path.endswith("/resourcequotas") else []}

    premises, _ = fake(answer)
    notes: list[str] = []
    premises.copy_quotas("lithify-1-original", [], notes)
    assert len(notes) == 1
    assert notes[0].startswith("quota small of namespace shop was not copied: ")


def test_a_volume_names_no_directory_but_of_a_scratch_namespace(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(method: str, path: str, _query: dict[str, str], _body: Any) -> Reply:
        if method == "DELETE":
            return 200, {}
        if not path.endswith("/persistentvolumes"):
            return (200, {"metadata": {}, "items": []}) if path.endswith("/namespaces") else refused(404, "gone")
        named = ("lithify-12ab-original", "someone.elses", "../etc")
        volumes = [{"metadata": {"name": f"v{n}", "labels": {OF: name, UNTIL: "1"}}} for n, name in enumerate(named)]
        return 200, {"metadata": {}, "items": volumes}

    disks = tmp_path / "disks"
    monkeypatch.setattr(lent, "DISKS", disks)
    monkeypatch.setattr(lent, "host_view", str)
    for folder in ("disks/lithify-12ab-original", "disks/someone.elses", "etc"):
        (tmp_path / folder).mkdir(parents=True)
    premises, _ = fake(answer)
    premises.sweep()
    assert sorted(one.name for one in disks.iterdir()) == ["someone.elses"]
    assert (tmp_path / "etc").is_dir()


def test_what_was_lent_to_a_namespace_that_was_left_goes_with_it(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The namespace is there when it is swept: its storage can go only after it."""
    name, there, volumes = "lithify-12ab-original", [True], ["v0"]

    def answer(method: str, path: str, _query: dict[str, str], _body: Any) -> Reply:
        marks = {OF: name, UNTIL: "1"}
        if method == "DELETE":
            (there if path.endswith("/namespaces/" + name) else volumes).pop()
            return 200, {}
        if path.endswith("/persistentvolumes"):
            return 200, {"metadata": {}, "items": [{"metadata": {"name": one, "labels": marks}} for one in volumes]}
        if path.endswith(("/namespaces", "/namespaces/" + name)):
            found = {"metadata": {"name": name, "labels": marks}}
            if path.endswith("/namespaces"):
                return 200, {"metadata": {}, "items": [found] if there else []}
            return (200, found) if there else refused(404, "gone")
        return 200, {"metadata": {}, "items": []}

    monkeypatch.setattr(lent, "DISKS", tmp_path)
    monkeypatch.setattr(lent, "host_view", str)
    (tmp_path / name).mkdir()
    premises, _ = fake(answer)
    assert premises.sweep() == [f"namespace {name}"]
    assert (there, volumes, (tmp_path / name).is_dir()) == ([], ["v0"], True)
    premises.close()
    assert (volumes, (tmp_path / name).exists()) == ([], False)


def test_storage_is_not_lent_where_somebody_has_laid_a_link(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lent, "DISKS", tmp_path)
    monkeypatch.setattr(lent, "host_view", str)
    monkeypatch.setattr(Premises, "node", lambda _: "node")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "lithify-1-original").symlink_to(elsewhere)
    premises, server = fake(lambda *_: refused(403, "not to be seen"))
    with pytest.raises(EngineRefused, match="is there already, and is not ours"):
        premises.lend("lithify-1-original", {"metadata": {"name": "data"}}, [])
    assert not list(elsewhere.iterdir())
    assert server.asked == []

"""Replicas of a workload as the API server has them, and how those that run are learnt from."""

import json
import time
from pathlib import PurePosixPath
from threading import Event
from typing import Any, cast

import pytest

from lithify.errors import EngineRefused
from lithify.model.image import ImageFacts
from lithify.model.writes import Change, Observation, RunKey, Write, WriteSet
from lithify.pipeline.elsewhere import NodeHost
from lithify.pipeline.groups import replicas
from lithify.pipeline.groups.replicas import Replica, Watch, learn_replicas

WRITTEN = WriteSet(
    key=RunKey(image="x"),
    container="app",
    image=ImageFacts(reference="x"),
    writes=(Write(path=PurePosixPath("/var/cache/app"), change=Change.CREATED),),
    observation=Observation(seconds=1.0),
)


def replica(**status: Any) -> Replica:
    pod = {"metadata": {"name": "web-1", "uid": "u"}, "spec": {}, "status": {"containerStatuses": [status]}}
    return Replica(member="app", container="app", pod=json.loads(json.dumps(pod)))


def test_a_replica_is_what_the_api_server_says_of_its_container() -> None:
    running = replica(name="app", state={"running": {}}, image="web:1", imageID="docker.io/web@sha256:12")
    assert (running.runs, running.image, str(running)) == (True, "sha256:12", "web-1/app")
    assert replica(name="app", state={"running": {}}, image="web:1", imageID="").image == "web:1"
    assert not replica(name="other", state={"running": {}}).runs
    assert not replica(name="app", state={"waiting": {"reason": "CrashLoopBackOff"}}).runs


def test_what_is_watched_here_ends_with_the_first_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def watch_here(*_: object, cancelled: Event, **__: object) -> WriteSet:
        begun = time.monotonic()
        assert cancelled.wait(30)
        assert time.monotonic() - begun < 20
        return WRITTEN

    def refuse(*_: object, **__: object) -> None:
        raise EngineRefused("node2 does not answer", hint="is it there?")

    class NoReaders:
        def __init__(self, *_: object) -> None: ...
        def __enter__(self) -> "NoReaders":
            return self

        def __exit__(self, *_: object) -> None: ...
        def open(self, *_: object, **__: object) -> None: ...

    monkeypatch.setattr(replicas, "Readers", NoReaders)
    monkeypatch.setattr(replicas, "PodContainer", lambda *_: None)
    monkeypatch.setattr(replicas, "learn_process", watch_here)
    monkeypatch.setattr(NodeHost, "call", refuse)
    monkeypatch.setattr(replicas, "_pid", lambda one: 4711 if one.node == "node1" else 0)
    running = [replica(name="app", state={"running": {}}) for _ in range(2)]
    for number, one in enumerate(running, 1):
        one.pod["spec"]["nodeName"] = f"node{number}"
    premises = cast(Any, type("Premises", (), {"cluster": type("Cluster", (), {"name": "x"})}))
    with pytest.raises(EngineRefused, match="node2 does not answer"):
        learn_replicas(premises, running, Watch(seconds=3600.0, node_image="x"))

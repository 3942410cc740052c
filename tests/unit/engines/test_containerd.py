"""containerd asked by its own `ctr`, where that may be."""

import shutil
from pathlib import Path

import pytest

from lithify.engines.node.containerd import snapshot_layers


def test_a_socket_that_may_not_be_seen_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "which", lambda _: "/bin/false")
    monkeypatch.setattr(Path, "stat", refuse)  # as Python 3.11's is_socket meets it below a directory of root's
    assert snapshot_layers(["/nonexistent/containerd.sock"], "default", "overlayfs", "x", frozenset()) is None

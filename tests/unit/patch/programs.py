"""Programs that Debian hasn't, as the tests' own script builds them; where they are not, a test says so."""

import os
import shutil
from pathlib import Path

import pytest


def program(*names: str) -> str:
    """Return the path of the first of `names` that is here; skip where none is."""
    for name in names:
        for found in present(name):
            return found
    pytest.skip(f"{' or '.join(names)} is not here: .ci/cluster-programs builds it")


def present(name: str) -> list[str]:
    """Return the path of a program; nothing where it is not here."""
    cache = Path(os.environ.get("LITHIFY_TEST_CACHE") or Path.home() / ".cache" / "lithify-tests") / "cluster"
    folders = [*os.get_exec_path(), *(str(path) for path in (cache / "bin", *sorted(cache.glob("*/bin"))))]
    found = shutil.which(name, path=os.pathsep.join(folders))
    return [found] if found else []


def on_path(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let lithify find programs; skip where one is not here."""
    folders = [os.path.dirname(program(name)) for name in names]
    monkeypatch.setenv("PATH", os.pathsep.join([*folders, os.environ["PATH"]]))

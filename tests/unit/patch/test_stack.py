"""Swarm stacks: what Swarm drops is not used, and its own reader takes the file."""

import json
import shutil
import subprocess
from pathlib import Path, PurePosixPath

import pytest
import yaml
from hypothesis import given
from tests.unit.patch import plans
from tests.unit.patch.plans import MEMORY, SCRATCH, VOLUME, place, planned, redirect
from tests.unit.patch.schemas import compose_errors

from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.mount import Mount, Seed
from lithify.model.patch import Patched
from lithify.patch import stack

STACK = b"""\
version: "3.8"   # swarm
services:
  web:
    image: example.org/web:1
    tmpfs: /scratch   # never there
    environment: [A=1]
    deploy: {replicas: 2}
  other:
    image: x
"""


def directory(mode: int = 0o755, uid: int = 0, entries: int = 0) -> ImageEntry:
    return ImageEntry(type=EntryType.DIRECTORY, mode=mode, uid=uid, gid=uid, entries=entries)


IMAGE = ImageFacts(
    reference="web:1",
    uid=101,
    gid=101,
    entries={
        PurePosixPath("/tmp"): directory(0o1777),
        PurePosixPath("/run"): directory(),
        PurePosixPath("/var/cache/web"): directory(uid=101, entries=3),
    },
)


def patch(data: bytes, *mounts: Mount, image: ImageFacts | None = IMAGE) -> Patched:
    one = planned(*mounts, route=("services", "web"), redirects=(redirect("HOME", "/tmp"),), image=image)
    patched = stack.patch(data, [one])
    assert not compose_errors(patched.text) - compose_errors(data)
    return patched


def test_a_tmpfs_is_a_volume_in_long_syntax_and_nothing_else_changes() -> None:
    patched = patch(STACK, place("/tmp", mode=0o1777, size=1 << 20), place("/run", size=4096))
    assert not patched.refused
    assert patched.text.decode() == STACK.decode().replace(
        "[A=1]\n    deploy: {replicas: 2}\n",
        "[A=1, HOME=/tmp]\n    deploy: {replicas: 2}\n    read_only: true\n    volumes:\n"
        "    - type: tmpfs\n      target: /run\n      tmpfs:\n        size: 4096\n"
        "    - type: tmpfs\n      target: /tmp\n      tmpfs:\n        size: 1048576\n",
    )
    assert any("dropped by Swarm" in note for note in patched.notes)
    assert patch(patched.text, place("/tmp", mode=0o1777), place("/run")).text == patched.text


@pytest.mark.parametrize(
    ("mount", "expected", "note"),
    [
        (place("/var/cache/web", MEMORY, uid=101, gid=101), "/var/cache/web", "no owner but root"),
        (place("/tmp", MEMORY, mode=0o1777, executable=True), "/tmp", "can't be executable"),
        (place("/new", MEMORY, uid=101, gid=101), {"type": "tmpfs", "target": "/new"}, "writable for everybody"),
        (place("/var/cache/web", MEMORY, uid=101, gid=101, seed=Seed.CONTENT), "/var/cache/web", "fill a tmpfs"),
        (place("/data", VOLUME, name="data"), "data:/data", "noexec"),
    ],
)
def test_what_a_tmpfs_of_swarm_cannot_be_is_something_else(mount: Mount, expected: object, note: str) -> None:
    patched = patch(STACK, mount)
    assert yaml.safe_load(patched.text)["services"]["web"]["volumes"] == [expected]
    assert any(note in text for text in patched.notes), patched.notes


def test_a_tmpfs_that_swarm_drops_does_not_count_as_there() -> None:
    patched = patch(STACK, place("/scratch", mode=0o1777))
    assert yaml.safe_load(patched.text)["services"]["web"]["volumes"] == [{"type": "tmpfs", "target": "/scratch"}]


def test_a_file_too_old_for_sizes_is_refused() -> None:
    data = STACK.replace(b"3.8", b"3.4")
    patched = patch(data, place("/tmp"))
    assert patched.text == data
    assert "3.4" in patched.refused[0].reason


@given(mounts=plans.mounts)
def test_twice_changes_nothing_and_no_tmpfs_is_added_to_the_list_that_is_dropped(mounts: list[Mount]) -> None:
    once = patch(STACK, *mounts, image=None)
    assert patch(once.text, *mounts, image=None).text == once.text
    if not once.refused:
        assert yaml.safe_load(once.text)["services"]["web"]["tmpfs"] == "/scratch"
        assert yaml.safe_load(once.text)["services"]["other"] == {"image": "x"}


def test_dockers_own_reader_of_stacks_takes_it(tmp_path: Path) -> None:
    if not shutil.which("docker"):
        pytest.skip("docker is not installed")
    patched = patch(
        STACK, place("/tmp", mode=0o1777, size=1 << 20), place("/var/log", SCRATCH), place("/data", VOLUME, name="data")
    )
    path = tmp_path / "stack.yml"
    path.write_bytes(patched.text)
    result = subprocess.run(
        ["docker", "stack", "config", "--compose-file", str(path)], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    service = yaml.safe_load(result.stdout)["services"]["web"]
    assert service["read_only"] is True
    assert json.dumps(service["volumes"], sort_keys=True) == json.dumps(
        [
            {"type": "volume", "source": "data", "target": "/data"},
            {"type": "tmpfs", "target": "/tmp", "tmpfs": {"size": 1 << 20}},
            {"type": "volume", "target": "/var/log"},
        ],
        sort_keys=True,
    )

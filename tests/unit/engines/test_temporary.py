"""Temporary folders go, at the latest with the next lithify; those of others and of the living stay."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lithify.engines import temporary
from lithify.engines.temporary import temporary_folder

_KILLED = """
import os, signal
from lithify.engines.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "chart").mkdir()
    (folder / "chart" / "link").symlink_to("../../kept")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_gone_at_the_end(place: Path) -> None:
    with temporary_folder() as folder:
        folder.joinpath("file").write_text("x")
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not list(place.iterdir())


def test_what_a_killed_process_left_goes_with_the_next(place: Path) -> None:
    place.joinpath("kept").mkdir()
    place.joinpath("kept", "file").write_text("somebody's")
    environment = {**os.environ, "TMPDIR": str(place)}
    done = subprocess.run([sys.executable, "-c", _KILLED], env=environment, timeout=60)
    assert done.returncode == -signal.SIGKILL
    (left,) = set(place.iterdir()) - {place / "kept"}
    with temporary_folder():
        assert left.exists()  # it may be about to be locked
    os.utime(left, (0, 0))
    with temporary_folder():
        assert not left.exists()
    assert place.joinpath("kept", "file").read_text() == "somebody's"


def test_those_on_disk_go_with_any_other(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the next is made for."""
    disk = place / "disk"
    disk.mkdir()
    monkeypatch.setattr(temporary, "_DISK", str(disk))
    with temporary_folder(on_disk=True) as folder, temporary_folder():
        assert folder.parent == disk
    left = disk / "lithify-tmp-abcdefgh"
    left.mkdir()
    os.utime(left, (0, 0))
    with temporary_folder() as folder:
        assert folder.parent == place
        assert not list(disk.iterdir())


def test_what_is_not_left_behind_stays(place: Path) -> None:
    """Folders of a lithify that lives, of others, and what is none."""
    for name in ("lithify-tmp-mine", "lithify-bench-abcdefgh", "lithify-node-abcdefgh"):
        place.joinpath(name).mkdir()
    place.joinpath("lithify-tmp-abcdefgh").write_text("a file")
    place.joinpath("lithify-tmp-abcdefgi").symlink_to(place / "lithify-tmp-mine", target_is_directory=True)
    with temporary_folder() as living:
        before = sorted(place.iterdir())
        for path in before:
            os.utime(path, (0, 0), follow_symlinks=False)
        with temporary_folder() as second:
            assert sorted(place.iterdir()) == sorted([*before, second])
    assert living in before

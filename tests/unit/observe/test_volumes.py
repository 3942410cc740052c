"""A volume held against what the image has at its place."""

import os
import shutil
from pathlib import Path, PurePosixPath

import pytest

from lithify.errors import NothingToExamine
from lithify.model.image import EntryType
from lithify.model.writes import Change, Source, Write
from lithify.observe.volumes import read_volume

P = PurePosixPath


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image with content at /data."""
    data = tmp_path / "image/data"
    (data / "sub").mkdir(parents=True)
    for name in ("same", "changed", "rewritten", "gone", "mode", "sub/inner"):
        (data / name).write_text("old\n")
        os.utime(data / name, (10**9, 10**9))
    (data / "link").symlink_to("same")
    return tmp_path / "image"


@pytest.fixture
def volume(tmp_path: Path, image: Path) -> Path:
    """The volume that an engine filled from it."""
    return Path(shutil.copytree(image / "data", tmp_path / "volume", symlinks=True))


def _read(volume: Path, *lowers: Path) -> dict[str, Write]:
    return {str(write.path): write for write in read_volume(P("/data"), volume, lowers)}


def test_what_was_copied_in_is_no_write(image: Path, volume: Path) -> None:
    """Nor is it where only the engine's copy is younger."""
    (volume / "same").touch()
    assert _read(volume, image) == {}


def test_every_change(image: Path, volume: Path) -> None:
    """Created, changed, deleted, replaced, metadata; new trees are folded."""
    (volume / "changed").write_text("new!")
    (volume / "rewritten").write_text("olD\n")
    (volume / "gone").unlink()
    (volume / "mode").chmod(0o600)
    (volume / "link").unlink()
    (volume / "link").symlink_to("changed")
    (volume / "fresh").write_bytes(b"SQLite format 3\0")
    (volume / "tree/deeper").mkdir(parents=True)
    (volume / "tree/deeper/x.db").write_text("x")
    shutil.rmtree(volume / "sub")
    writes = _read(volume, image)
    assert {path: (w.change, w.type) for path, w in writes.items()} == {
        "/data/changed": (Change.CHANGED, EntryType.FILE),
        "/data/fresh": (Change.CREATED, EntryType.FILE),
        "/data/gone": (Change.DELETED, EntryType.FILE),
        "/data/link": (Change.REPLACED, EntryType.SYMLINK),
        "/data/mode": (Change.METADATA, EntryType.FILE),
        "/data/rewritten": (Change.CHANGED, EntryType.FILE),
        "/data/sub": (Change.DELETED, EntryType.DIRECTORY),
        "/data/tree": (Change.CREATED, EntryType.DIRECTORY),
    }
    assert (writes["/data/tree"].entries, writes["/data/tree"].names) == (3, ("deeper/x.db",))
    assert writes["/data/fresh"].content == "sqlite"
    assert all(write.evidence == (Source.VOLUME,) for write in writes.values())


def test_a_volume_that_was_not_filled(image: Path, tmp_path: Path) -> None:
    """Some engines leave it empty: then nothing was deleted."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/new").write_text("x")
    assert {path: w.change for path, w in _read(tmp_path / "empty", image).items()} == {"/data/new": Change.CREATED}


def test_a_volume_where_the_image_has_nothing(volume: Path) -> None:
    """Everything in it was made by the program."""
    assert all(write.change is Change.CREATED for write in _read(volume).values())


def test_links_in_a_volume_lead_nowhere(image: Path, volume: Path) -> None:
    """A hostile link is an entry like any other."""
    shutil.rmtree(volume / "sub")
    (volume / "sub").symlink_to("/etc")
    writes = _read(volume, image)
    assert {path: (w.change, w.type) for path, w in writes.items()} == {
        "/data/sub": (Change.REPLACED, EntryType.SYMLINK)
    }


def test_a_volume_that_is_gone(tmp_path: Path) -> None:
    """It is named by its path."""
    with pytest.raises(NothingToExamine, match="none"):
        read_volume(P("/data"), tmp_path / "none")

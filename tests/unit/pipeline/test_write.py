"""A file is replaced whole or not at all, never over somebody else's work, and given back to the byte."""

import os
import stat
from pathlib import Path

import pytest

from lithify.errors import FileChanged, InvalidInput, NothingToRevert, OutputFailed
from lithify.pipeline.files.write import KEPT, read_original, replace_file, revert_file

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "deploy.yaml"
    path.write_bytes(b"a: 1\n")
    path.chmod(0o640)
    return path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def names(path: Path) -> set[str]:
    return {found.name for found in path.iterdir()} - {"state"}


def test_a_file_is_replaced_and_given_back(file: Path, state: Path) -> None:
    kept = replace_file(read_original(file), b"a: 2\n", state)
    assert file.read_bytes() == b"a: 2\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert kept is not None
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert names(file.parent) == {"deploy.yaml"}
    assert revert_file(file, state) == b"a: 1\n"
    assert file.read_bytes() == b"a: 1\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    with pytest.raises(NothingToRevert):
        revert_file(file, state)


@ROOT_ONLY
def test_owner_and_attributes_stay(file: Path, state: Path) -> None:
    os.chown(file, 1234, 2345)
    os.setxattr(file, "user.note", b"mine")
    replace_file(read_original(file), b"b", state)
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 2345)
    assert os.getxattr(file, "user.note") == b"mine"


def test_several_patches_are_taken_back_one_by_one(file: Path, state: Path) -> None:
    for text in (b"2", b"3", b"4"):
        replace_file(read_original(file), text, state)
    assert [revert_file(file, state) for _ in range(3)] == [b"3", b"2", b"a: 1\n"]


def test_the_same_text_writes_nothing(file: Path, state: Path) -> None:
    before = file.stat()
    assert replace_file(read_original(file), b"a: 1\n", state) is None
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert not state.exists()


def test_what_somebody_else_wrote_stays(file: Path, state: Path) -> None:
    original = read_original(file)
    file.write_bytes(b"theirs\n")
    with pytest.raises(FileChanged):
        replace_file(original, b"ours\n", state)
    assert file.read_bytes() == b"theirs\n"
    assert names(file.parent) == {"deploy.yaml"}


def test_a_file_put_in_its_place_stays(file: Path, state: Path) -> None:
    original = read_original(file)
    other = file.with_name("other")
    other.write_bytes(b"a: 1\n")
    os.replace(other, file)
    with pytest.raises(FileChanged):
        replace_file(original, b"ours\n", state)
    file.unlink()
    with pytest.raises(FileChanged, match="is gone"):
        replace_file(original, b"ours\n", state)
    assert names(file.parent) == set()


def test_a_link_is_named_and_left(file: Path) -> None:
    link = file.with_name("link.yaml")
    link.symlink_to(file)
    with pytest.raises(InvalidInput, match="is a link to") as caught:
        read_original(link)
    assert str(file) in caught.value.hint


def test_a_link_put_in_its_place_is_left(file: Path, state: Path) -> None:
    original = read_original(file)
    target = file.with_name("target")
    os.replace(file, target)
    file.symlink_to(target)
    with pytest.raises(FileChanged):
        replace_file(original, b"ours\n", state)
    assert file.is_symlink()
    assert target.read_bytes() == b"a: 1\n"


def test_a_file_with_two_names_is_left(file: Path, state: Path) -> None:
    os.link(file, file.with_name("second"))
    with pytest.raises(OutputFailed, match="2 names"):
        replace_file(read_original(file), b"x", state)
    assert file.read_bytes() == b"a: 1\n"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="not a regular file"):
        read_original(tmp_path / "pipe")


def test_a_change_after_the_patch_is_not_thrown_away(file: Path, state: Path) -> None:
    kept = replace_file(read_original(file), b"patched", state)
    file.write_bytes(b"patched and more")
    with pytest.raises(NothingToRevert) as caught:
        revert_file(file, state)
    assert str(kept) in caught.value.hint
    assert file.read_bytes() == b"patched and more"


def test_without_a_place_for_the_old_bytes_nothing_is_written(file: Path, state: Path) -> None:
    state.write_text("a file where a directory should be")
    with pytest.raises(OutputFailed, match="could not be taken back"):
        replace_file(read_original(file), b"x", state)
    assert file.read_bytes() == b"a: 1\n"


@ROOT_ONLY
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, state: Path) -> None:
    import subprocess

    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    try:
        path = disk / "deploy.yaml"
        path.write_bytes(b"a: 1\n")
        with pytest.raises(OutputFailed, match="No space"):
            replace_file(read_original(path), b"x" * 200_000, state)
        assert path.read_bytes() == b"a: 1\n"
        assert names(disk) == {"deploy.yaml"}
    finally:
        subprocess.run(["umount", disk], check=True)


def test_few_versions_are_kept(file: Path, state: Path) -> None:
    for number in range(KEPT + 5):
        replace_file(read_original(file), b"%d" % number, state)
    (folder,) = (state / "patched").iterdir()
    assert len(list(folder.iterdir())) == KEPT
    assert revert_file(file, state) == b"%d" % (KEPT + 3)

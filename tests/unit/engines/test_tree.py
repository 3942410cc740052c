"""Copying and removing trees on the host's disk."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lithify.engines.tree import copy_tree, remove_tree
from lithify.errors import EngineRefused


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def copied(source: Path, target: Path, *, directories_only: bool = False) -> None:
    target.mkdir()
    with opened(source) as a, opened(target) as b:
        copy_tree(a, b, directories_only=directories_only)


def look(root: Path) -> dict[str, tuple[int, int, int, int, bytes]]:
    """Return what there is to know of each entry below `root`."""
    found = {}
    for base, directories, files in os.walk(os.fsencode(root)):
        for name in directories + files:
            path = os.path.join(base, name)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            content = b""
            if kind == stat.S_IFLNK:
                content = os.readlink(path)
            elif kind == stat.S_IFREG:
                content = Path(os.fsdecode(path)).read_bytes()
            found[os.fsdecode(os.path.relpath(path, os.fsencode(root)))] = (
                status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                content,
            )
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_a_copy_is_the_same_in_all_that_can_be_kept(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a" / "b").mkdir(parents=True)
    (source / "a" / "file").write_bytes(b"x" * 100_000)
    os.link(source / "a" / "file", source / "a" / "b" / "twin")
    (source / "suid").write_text("s")
    os.chown(source / "suid", 12, 34)
    (source / "suid").chmod(0o6755)
    os.setxattr(source / "suid", "user.note", b"kept")
    (source / "link").symlink_to("/etc/passwd")
    os.mkfifo(source / "pipe", 0o640)
    os.mknod(source / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mkdir(os.fsencode(source) + b"/\xff\n")
    (source / "a").chmod(0o1777)
    for path in (source / "a", source / "link", source):
        os.utime(path, ns=(1, 2_000_000_001), follow_symlinks=False)
    target = tmp_path / "target"
    copied(source, target)
    assert look(target) == look(source)
    assert target.stat().st_mtime_ns == 2_000_000_001
    assert os.getxattr(target / "suid", "user.note") == b"kept"
    assert (target / "a" / "file").stat().st_ino == (target / "a" / "b" / "twin").stat().st_ino
    assert (target / "a" / "file").stat().st_ino != (source / "a" / "file").stat().st_ino


def test_a_skeleton_has_the_directories_only(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a" / "b").mkdir(parents=True)
    (source / "a" / "b").chmod(0o2750)
    (source / "a" / "file").write_text("x")
    (source / "link").symlink_to("a")
    copied(source, tmp_path / "target", directories_only=True)
    assert look(tmp_path / "target").keys() == {"a", "a/b"}
    assert stat.S_IMODE((tmp_path / "target" / "a" / "b").stat().st_mode) == 0o2750


def test_a_tree_too_deep_to_copy_is_refused_and_can_be_removed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    here = os.open(source, os.O_RDONLY)
    for _ in range(3000):  # deeper than a path may be long
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    with pytest.raises(EngineRefused, match="directories deep"):
        copied(source, tmp_path / "target")
    remove_tree(source)
    remove_tree(tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_removal_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    tree = tmp_path / "tree"
    (tree / "full" / "fuller").mkdir(parents=True)
    (tree / "full" / "fuller" / "x").write_text("x")
    (tree / "full" / "out").symlink_to(outside)
    (tree / "out").symlink_to(outside)
    remove_tree(tree)
    assert not tree.exists()
    assert (outside / "precious").exists()
    remove_tree(tree)
    link = tmp_path / "link"
    link.symlink_to(outside)
    remove_tree(link)
    assert (outside / "precious").exists()
    assert not link.is_symlink()
    remove_tree(tmp_path / "never" / "was")

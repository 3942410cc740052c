"""Unpacking layers from strangers."""

import contextlib
import io
import os
import stat
import tarfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lithify.engines.images.layers import Unpacker
from lithify.engines.tree import remove_tree
from lithify.errors import InvalidInput

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="unpacking gives files away, which takes root")

CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: object
) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.mtime, member.mode = kind, len(data), 1_000_000, 0o644
    if kind == tarfile.DIRTYPE:
        member.mode = 0o755
    for key, value in fields.items():
        setattr(member, key, value)
    return member, data


def folder(name: str, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, tarfile.DIRTYPE, **fields)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, kind, linkname=target)


def packed(members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def unpack(target: Path, *layers: Sequence[tuple[tarfile.TarInfo, bytes]], **bounds: int) -> None:
    target.mkdir(exist_ok=True)
    with closing(Unpacker(target, **bounds)) as unpacker:
        for number, members in enumerate(layers):
            unpacker.apply(io.BytesIO(packed(members)), f"layer {number}")


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_everything_a_layer_can_say_is_kept(tmp_path: Path) -> None:
    root = tmp_path / "root"
    unpack(
        root,
        [
            folder("./", mode=0o755, mtime=5),
            folder("d/", mode=0o1777, uid=1, gid=2, mtime=7),
            entry("d/f", data=b"x" * 3_000_000, mode=0o4755, uid=3, gid=4, mtime=9),
            link("d/hard", "d/f", tarfile.LNKTYPE),
            link("soft", "/etc/../nowhere"),
            entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
            entry("fifo", tarfile.FIFOTYPE, mode=0o600),
            entry("cap", data=b"c", pax_headers={
                "SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape"),
                "SCHILY.xattr.user.note": "n",
                "SCHILY.xattr.trusted.overlay.redirect": "/etc",
                "SCHILY.xattr.user.overlay.opaque": "y",
            }),
            entry("bytes-\udcff\n", data=b"b"),
        ],
    )  # fmt: skip
    file = root / "d" / "f"
    status = file.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime) == (0o4755, 3, 4, 9)
    assert status.st_ino == (root / "d" / "hard").stat().st_ino
    assert file.read_bytes() == b"x" * 3_000_000
    directory = (root / "d").stat()
    assert (stat.S_IMODE(directory.st_mode), directory.st_uid, directory.st_mtime) == (0o1777, 1, 7)
    assert root.stat().st_mtime == 5
    assert os.readlink(root / "soft") == "/etc/../nowhere"
    assert (root / "null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO((root / "fifo").stat().st_mode)
    assert os.getxattr(root / "cap", "security.capability") == CAPABILITY
    assert set(os.listxattr(root / "cap")) == {"security.capability", "user.note"}
    assert (root / "bytes-\udcff\n").exists()


def test_upper_layers_change_lower_ones(tmp_path: Path) -> None:
    root = tmp_path / "root"
    unpack(
        root,
        [
            folder("keep", mtime=3), entry("keep/a"), entry("keep/b"), folder("gone"), entry("gone/deep/x"),
            folder("emptied"), entry("emptied/old"), folder("emptied/sub"), entry("emptied/sub/old"),
            entry("was-file", data=b"1"), folder("was-dir"), entry("was-dir/x"), link("was-link", "keep"),
        ],
        [
            entry("keep/.wh.a"), entry(".wh.gone"), entry("emptied/new"), entry("emptied/sub/new"),
            entry("emptied/.wh..wh..opq"), folder("was-file"), entry("was-dir", data=b"2"), folder("was-link"),
            entry("was-link/x"), entry(".wh.never-there"),
        ],
    )  # fmt: skip
    assert names(root) == {
        "keep", "keep/b", "emptied", "emptied/new", "emptied/sub", "emptied/sub/new", "was-file", "was-dir",
        "was-link", "was-link/x",
    }  # fmt: skip
    assert (root / "keep").stat().st_mtime == 3, "what has no entry of its own keeps its time"
    assert (root / "was-dir").read_bytes() == b"2"


def test_a_whiteout_spares_what_its_own_layer_brings(tmp_path: Path) -> None:
    for order in (1, -1):
        root = tmp_path / f"root{order}"
        upper = [entry("d/.wh.old"), entry("d/old", data=b"new"), entry("e/.wh..wh..opq"), entry("e/y")]
        unpack(root, [folder("d"), entry("d/old"), folder("e"), entry("e/x")], upper[::order])
        assert (root / "d" / "old").exists()
        assert names(root) == {"d", "d/old", "e", "e/y"}


def test_links_of_a_lower_layer_are_followed_inside(tmp_path: Path) -> None:
    """`bin -> usr/bin` below and `bin/tool` above meet, as they do in an engine."""
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    unpack(
        root,
        [folder("usr/bin"), link("bin", "usr/bin"), link("abs", str(outside)), link("up", "../../../../../tmp"),
         link("kernel", "/proc/self/root")],
        [entry("bin/tool"), entry("abs/x"), entry("up/y"), entry("kernel/z"), entry("kernel/.wh.etc")],
    )  # fmt: skip
    assert (root / "usr" / "bin" / "tool").is_file()
    assert list(outside.iterdir()) == []
    assert not Path("/tmp/y").exists()
    assert (root / "tmp" / "y").is_file()
    assert (root / "proc" / "self" / "root" / "z").is_file()


HOSTILE: list[Callable[[Path], list[tuple[tarfile.TarInfo, bytes]]]] = [
    lambda _: [entry("../escape")],
    lambda _: [entry("a/../../escape")],
    lambda _: [link("h", "../secret", tarfile.LNKTYPE)],
    lambda outside: [link("l", str(outside)), link("h", "l/secret", tarfile.LNKTYPE)],
    lambda _: [link("h", "not-there", tarfile.LNKTYPE)],
    lambda _: [entry("f"), entry("f/below")],
    lambda _: [link("loop", "loop"), entry("loop/x")],
    lambda _: [folder("d"), link("d/h", "d", tarfile.LNKTYPE)],
    lambda _: [entry(".wh...")],
    lambda _: [entry("f", uid=2**40)],
    lambda _: [entry("x" * 300)],
]


@pytest.mark.parametrize("make", HOSTILE)
def test_what_climbs_out_or_makes_no_sense_is_refused(
    tmp_path: Path, make: Callable[[Path], list[tuple[tarfile.TarInfo, bytes]]]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(InvalidInput):
        unpack(tmp_path / "root", make(outside))
    assert sorted(os.listdir(tmp_path)) == ["outside", "root", "secret"]
    assert (outside / "secret").stat().st_nlink == (tmp_path / "secret").stat().st_nlink == 1


def test_absolute_names_are_names_inside(tmp_path: Path) -> None:
    unpack(tmp_path / "root", [entry("/etc/x"), link("/etc/y", "/etc/x", tarfile.LNKTYPE), entry("//etc//z/.")])
    assert names(tmp_path / "root") == {"etc", "etc/x", "etc/y", "etc/z"}


def test_bounds_hold(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="more than any image"):
        unpack(tmp_path / "many", [entry(str(number)) for number in range(11)], entries=10)
    with pytest.raises(InvalidInput, match="more than any image"):
        unpack(tmp_path / "large", [entry("a", data=b"x" * 60), entry("b", data=b"x" * 60)], size=100)


@given(cut=st.integers(min_value=1, max_value=8000), noise=st.binary(max_size=600))
@settings(max_examples=60, deadline=None)
def test_a_broken_archive_is_one_clear_error(tmp_path_factory: pytest.TempPathFactory, cut: int, noise: bytes) -> None:
    root = tmp_path_factory.mktemp("broken")
    whole = packed([folder("d"), entry("d/f", data=b"x" * 3000), link("l", "d"), entry("l/g", data=b"y" * 2000)])
    before = len(os.listdir("/proc/self/fd"))
    with closing(Unpacker(root)) as unpacker, contextlib.suppress(InvalidInput):
        unpacker.apply(io.BytesIO(whole[:cut] + noise), "layer")
    assert len(os.listdir("/proc/self/fd")) == before
    remove_tree(root)

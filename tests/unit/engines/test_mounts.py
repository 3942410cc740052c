"""Reading /proc/PID/mountinfo, and finding the layers under a root."""

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lithify.engines.mounts import (
    mount_holding,
    overlay_layers,
    parse_mountinfo,
    process_root,
    read_mounts,
    root_mount,
    root_overlay,
    unescape,
    visible_mounts,
)

LINE = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n"


def overlay(upper: str, lower: str) -> bytes:
    """Return the mountinfo line of a root overlay, escaped by the kernel."""
    options = b"rw,lowerdir=" + escape(lower) + b",upperdir=" + escape(upper) + b",workdir=/w"
    return b"1 0 0:39 / / rw - overlay overlay " + options + b"\n"


def escape(text: str) -> bytes:
    """Escape as seq_escape() does for mount options."""
    return b"".join(b"\\%03o" % b if chr(b) in ",= \t\n\\" else bytes((b,)) for b in os.fsencode(text))


def test_a_line_of_the_manual_page() -> None:
    (mount,) = parse_mountinfo(LINE)
    assert (mount.id, mount.parent, mount.device) == (36, 35, "98:0")
    assert (str(mount.root), str(mount.path)) == ("/mnt1", "/mnt2")
    assert mount.propagation == ("master:1", "shared:2")
    assert (mount.filesystem, mount.source) == ("ext3", "/dev/root")
    assert mount.option("errors") == "continue"
    assert mount.option("data") is None
    assert not mount.read_only
    assert mount.executable


def test_what_is_no_mount_line_is_left_out() -> None:
    assert parse_mountinfo(b"garbage\n\n1 2 3\n" + LINE + b"36 35 98:0 / / rw") == parse_mountinfo(LINE)


@given(st.binary(max_size=300))
def test_no_input_breaks_the_parser(data: bytes) -> None:
    parse_mountinfo(data)
    parse_mountinfo(LINE + data)


@given(st.binary(min_size=1, max_size=40).filter(lambda b: b"\0" not in b))
def test_escapes_are_undone(name: bytes) -> None:
    assert os.fsencode(unescape(escape(os.fsdecode(name)))) == name


def test_the_last_root_mount_and_the_deepest_holder_count() -> None:
    mounts = parse_mountinfo(
        b"1 0 0:1 / / rw - rootfs rootfs rw\n2 1 0:2 / / ro - ext4 /dev/a ro\n3 2 0:3 / /run rw - tmpfs t rw\n"
    )
    root = root_mount(mounts)
    assert root is not None
    assert root.id == 2
    assert root.read_only
    holder = mount_holding(mounts, PurePosixPath("/run/lock/x"))
    assert holder is not None
    assert holder.id == 3
    assert root_mount(()) is None
    assert mount_holding((), PurePosixPath("/")) is None


@pytest.mark.parametrize("name", ["plain", "with:colon", "with,comma", "with space", "back\\slash", "eq=ual", "nl\nx"])
def test_layers_of_any_name_are_found(tmp_path: Path, name: str) -> None:
    upper, lower, other = tmp_path / f"up{name}", tmp_path / name, tmp_path / "other"
    for directory in (upper, lower, other):
        directory.mkdir()

    def quoted(path: Path) -> str:
        return str(path).replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")

    (mount,) = parse_mountinfo(overlay(quoted(upper), f"{quoted(lower)}:{other}"))
    layers = overlay_layers(mount)
    assert layers is not None
    assert layers.upper == upper
    assert layers.lowers == (lower, other)
    assert not layers.user_xattr


def test_new_mount_interface_and_user_marks(tmp_path: Path) -> None:
    names = ["a:b", "c", "u", "d"]
    a, c, u, d = (tmp_path / name for name in names)
    for directory in (a, c, u, d):
        directory.mkdir()
    options = f"rw,lowerdir+={a},lowerdir+={c},datadir+={d},upperdir={u},workdir=/w,userxattr"
    (mount,) = parse_mountinfo(f"1 0 0:3 / / rw - overlay overlay {options}\n".encode())
    layers = overlay_layers(mount)
    assert layers is not None
    assert layers.lowers == (a, c)
    assert layers.user_xattr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount namespace")
def test_layers_that_only_the_first_process_sees_are_found_under_its_root(tmp_path: Path) -> None:
    """As from a pod that shares its node's processes; links on the way are the other root's, not ours."""
    for name in ("real/u", "real/a"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "real" / "l").symlink_to("../real/a")
    (tmp_path / "moved").symlink_to(tmp_path / "real")  # as a data directory that lies on another disk
    line = overlay(f"{tmp_path}/moved/u", f"{tmp_path}/moved/l").decode()
    script = f"""
from pathlib import Path
from lithify.engines.mounts import overlay_layers, parse_mountinfo, split_view
layers = overlay_layers(parse_mountinfo({line.encode()!r})[0])
for path in (layers.upper, *layers.lowers):
    print(*split_view(path))
"""
    hidden = f'mount -t tmpfs none {tmp_path}/real; {sys.executable} -c "$1"'
    first = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", 'unshare --mount sh -ec "$0" sh "$1"; true']
    done = subprocess.run([*first, hidden, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [f"/proc/1/root {tmp_path}/real/{name}" for name in ("u", "a")]


def test_data_only_layers_are_left_out(tmp_path: Path) -> None:
    for name in ("a", "u", "d"):
        (tmp_path / name).mkdir()
    (mount,) = parse_mountinfo(overlay(f"{tmp_path}/u", f"{tmp_path}/a::{tmp_path}/d"))
    layers = overlay_layers(mount)
    assert layers is not None
    assert layers.lowers == (tmp_path / "a",)


def test_short_relative_links_start_from_the_engines_home(tmp_path: Path) -> None:
    (tmp_path / "ID" / "diff").mkdir(parents=True)
    (tmp_path / "BASE" / "diff").mkdir(parents=True)
    (tmp_path / "l").mkdir()
    (tmp_path / "l" / "SHORT").symlink_to("../BASE/diff")
    (mount,) = parse_mountinfo(overlay("ID/diff", "l/SHORT"))
    assert overlay_layers(mount) is None
    layers = overlay_layers(mount, homes=(tmp_path,))
    assert layers is not None
    assert layers.upper == tmp_path / "ID" / "diff"
    assert layers.lowers == (tmp_path / "BASE" / "diff",)


def test_an_overlay_without_an_upper_layer_has_none(tmp_path: Path) -> None:
    line = f"1 0 0:3 / / ro - overlay overlay ro,lowerdir={tmp_path}:{tmp_path}\n".encode()
    assert overlay_layers(parse_mountinfo(line)[0]) is None


def test_our_own_mounts() -> None:
    mounts = read_mounts()
    assert any(mount.path == PurePosixPath("/proc") for mount in mounts)
    assert read_mounts(os.getpid()) == mounts


def test_a_process_that_is_gone_has_no_mounts() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert read_mounts(child) == ()
    os.waitpid(child, 0)
    assert read_mounts(child) == ()
    assert root_overlay(child) is None


def table(*lines: str) -> str:
    """Return which of the mounts `ID PARENT PATH` a path leads to, as their ids in order."""
    data = "".join(f"{i} {p} 0:1 / {path} rw - tmpfs t rw\n" for i, p, path in (line.split() for line in lines))
    return " ".join(str(i) for i in sorted(mount.id for mount in visible_mounts(parse_mountinfo(data.encode()))))


@pytest.mark.parametrize(
    ("lines", "seen"),
    [
        ((), ""),
        (("1 0 /", "2 1 /a", "3 2 /a/b"), "1 2 3"),
        (("1 0 /", "2 1 /a", "3 2 /a"), "1 3"),  # mounted over the first
        (("1 0 /", "2 1 /a/b", "3 1 /a"), "1 3"),  # the second came later and covers the first
        (("1 0 /", "2 1 /a/b", "4 2 /a/b/c", "3 1 /a"), "1 3"),
        (("1 0 /", "2 1 /a", "3 2 /a", "4 3 /a/b", "5 2 /a/x"), "1 3 4"),
        (("1 0 /", "2 1 /", "3 1 /a", "4 2 /b"), "1 3"),  # processes go on from the root they have
        (("1 2 /", "2 1 /"), "1 2"),  # read while it changed: no end without one
    ],
)
def test_only_mounts_that_a_path_leads_to_are_visible(lines: tuple[str, ...], seen: str) -> None:
    """Those that another lies over are not."""
    assert table(*lines) in (seen, "2")


def test_the_root_of_a_process_is_what_it_started_with() -> None:
    """A mount over `/` is not entered by those that have their root below it (seen with `mount --bind / /`)."""
    data = b"278 103 0:63 / / rw - overlay o rw\n102 278 0:63 / / ro - overlay o rw\n"
    root = process_root(parse_mountinfo(data))
    assert root is not None
    assert (root.id, root.read_only) == (278, False)
    assert process_root(()) is None

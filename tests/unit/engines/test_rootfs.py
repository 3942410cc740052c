"""Looking into a root filesystem that somebody hostile made."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from lithify.engines.images.rootfs import RootFilesystem, User
from lithify.errors import InvalidInput, NothingToExamine


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    root = tmp_path / "root"
    for name in ("etc", "run/app", "usr/bin", "var"):
        (root / name).mkdir(parents=True)
    (root / "etc" / "passwd").write_text(
        "root:x:0:0::/root:/bin/sh\nbroken\napp:x:101:102:The app:/srv/app:/bin/false\nodd:x:-1:5::/:\n"
    )
    (root / "etc" / "group").write_text("root:x:0:\nssl:x:110:other,app\nlog:x:111:app\nlate:x:112:application\n")
    (root / "bin").symlink_to("usr/bin")
    (root / "var" / "run").symlink_to("/run")
    (root / "up").symlink_to("../../../../outside")
    (root / "absolute").symlink_to(tmp_path / "outside")
    (root / "proc-root").symlink_to("/proc/1/root")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("/srv/new/place")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture
def root(directory: Path) -> Iterator[RootFilesystem]:
    with RootFilesystem(directory) as opened:
        yield opened


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("/", "/"),
        ("/etc/passwd", "/etc/passwd"),
        ("/bin/sh", "/usr/bin/sh"),
        ("/var/run/app/x.pid", "/run/app/x.pid"),
        ("/var/run/../etc", "/etc"),
        ("/../../etc", "/etc"),
        ("/up/secret", "/outside/secret"),
        ("/dangling", "/srv/new/place"),
        ("/dangling/deeper", "/srv/new/place/deeper"),
        ("/none/../etc", "/etc"),
        ("/none/a/../b", "/none/b"),
        ("/proc-root/etc", "/proc/1/root/etc"),
    ],
)
def test_links_stay_inside(root: RootFilesystem, path: str, resolved: str) -> None:
    assert root.resolve(PurePosixPath(path)) == PurePosixPath(resolved)


def test_nothing_outside_is_read(root: RootFilesystem, directory: Path) -> None:
    for path in ("/up/secret", "/absolute/secret", f"{directory.parent}/outside/secret", "/pipe", "/etc", "/loop"):
        assert root.read(PurePosixPath(path)) is None
    assert root.status(PurePosixPath("/up/secret")) is None
    assert root.status(PurePosixPath("/loop")) is None
    assert root.status(PurePosixPath("/etc/passwd/deeper")) is None


def test_a_loop_is_what_the_kernel_says(root: RootFilesystem) -> None:
    with pytest.raises(OSError, match="symbolic links") as caught:
        root.resolve(PurePosixPath("/loop/x"))
    assert caught.value.errno == errno.ELOOP


def test_no_descriptor_is_left(root: RootFilesystem) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in ("/bin/sh", "/loop", "/etc/passwd/x", "/var/run/app", "/up/secret"):
        root.read(PurePosixPath(path))
        root.status(PurePosixPath(path))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(uid=0, gid=0, home="/root")),
        ("app", User(uid=101, gid=102, groups=(110, 111), home="/srv/app")),
        ("101", User(uid=101, gid=102, groups=(110, 111), home="/srv/app")),
        ("app:ssl", User(uid=101, gid=110, home="/srv/app")),
        ("app:7", User(uid=101, gid=7, home="/srv/app")),
        (":ssl", User(uid=0, gid=110, home="/root")),
        ("4242", User(uid=4242, gid=0)),
        ("4242:4343", User(uid=4242, gid=4343)),
    ],
)
def test_users_are_those_of_the_image(root: RootFilesystem, text: str, user: User) -> None:
    assert root.user(text) == user


@pytest.mark.parametrize("text", ["nobody-here", "app:nogroup", "odd", "4294967295", "-1", "\N{SUPERSCRIPT TWO}"])
def test_strangers_are_refused(root: RootFilesystem, text: str) -> None:
    with pytest.raises(InvalidInput):
        root.user(text)


def test_no_directory_is_nothing_to_examine(tmp_path: Path) -> None:
    with pytest.raises(NothingToExamine):
        RootFilesystem(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(NothingToExamine):
        RootFilesystem(tmp_path / "file")

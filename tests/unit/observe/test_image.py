"""Facts of an image, read from layers on disk."""

import os
import stat
from pathlib import Path, PurePosixPath

import pytest
from tests.unit.observe.conftest import needs_root

from lithify.errors import NothingToExamine
from lithify.model.image import EntryType, ImageFacts
from lithify.model.writes import Process
from lithify.observe import image
from lithify.observe.image import MANY, directories_of, find_code_roots, has_shell, read_image_entries, resolve

P = PurePosixPath


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root filesystem directory to fill."""
    made = tmp_path / "root"
    made.mkdir()
    return made


def _file(path: Path, data: bytes = b"x", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_totals_of_a_directory(root: Path) -> None:
    """Entries, directories, bytes and programs below; owner, mode with its sticky bit; the way to it."""
    _file(root / "opt/app/bin/run", b"#!/bin/sh\n", 0o755)
    _file(root / "opt/app/data/marked", b"not a program", 0o755)
    _file(root / "opt/app/data/lib.so", b"\x7fELF...", 0o755)
    (root / "opt/app/tmp").mkdir()
    (root / "opt/app/tmp").chmod(0o1777)
    entries = read_image_entries([root], [P("/opt/app"), P("/opt/app/tmp"), P("/opt/app/none/deeper")])
    assert set(map(str, entries)) == {"/", "/opt", "/opt/app", "/opt/app/tmp"}
    app = entries[P("/opt/app")]
    assert (app.type, app.entries, app.directories, app.files) == (EntryType.DIRECTORY, 6, 3, 3)
    assert (app.size, app.executables) == (10 + 13 + 7, 2)
    assert entries[P("/opt/app/tmp")].mode == 0o1777
    assert entries[P("/opt")].entries == 7


def test_files_and_links(root: Path) -> None:
    """A file has its size, a link its target; nothing is followed."""
    _file(root / "etc/conf", b"12345", 0o600)
    (root / "etc/alias").symlink_to("/etc/conf")
    entries = read_image_entries([root], [P("/etc/conf"), P("/etc/alias"), P("/etc/alias/deeper")])
    assert (entries[P("/etc/conf")].size, entries[P("/etc/conf")].mode) == (5, 0o600)
    assert (entries[P("/etc/alias")].type, entries[P("/etc/alias")].target) == (EntryType.SYMLINK, "/etc/conf")
    assert P("/etc/alias/deeper") not in entries


def test_counting_stops_in_the_system(root: Path) -> None:
    """`/usr` and its like are never a place: it is enough to know that they are large."""
    for index in range(MANY // 100 + 2):
        directory = root / f"usr/share/{index}"
        directory.mkdir(parents=True)
        for inner in range(100):
            (directory / str(inner)).touch()
    entries = read_image_entries([root], [P("/usr/share/3/5"), P("/usr/share/7")])
    assert entries[P("/usr/share/7")].entries == 100
    assert MANY <= entries[P("/usr/share")].entries < MANY + 300


@needs_root
def test_layers_hide_each_other(tmp_path: Path) -> None:
    """Whiteouts, opaque directories and files over directories."""
    top, middle, bottom = (tmp_path / name for name in ("top", "middle", "bottom"))
    for layer in (top, middle, bottom):
        layer.mkdir()
    _file(bottom / "srv/kept", b"1")
    _file(bottom / "srv/over", b"22")
    _file(bottom / "srv/gone")
    _file(bottom / "cut/old")
    _file(bottom / "kind/inner")
    _file(middle / "srv/over", b"4444")
    os.mknod(middle / "srv/gone", stat.S_IFCHR, 0)
    (middle / "cut").mkdir()
    os.setxattr(middle / "cut", "trusted.overlay.opaque", b"y")
    _file(middle / "kind", b"file")
    _file(top / "cut/new", b"333")
    entries = read_image_entries([top, middle, bottom], [P("/srv/gone"), P("/srv/over"), P("/cut/old"), P("/kind")])
    assert {str(path): entry.entries for path, entry in entries.items()} == {
        "/": 6,
        "/cut": 1,
        "/kind": 0,
        "/srv": 2,
        "/srv/over": 0,
    }
    assert (entries[P("/srv")].size, entries[P("/srv/over")].size) == (5, 4)
    assert entries[P("/kind")].type is EntryType.FILE


@needs_root
def test_redirected_directories(tmp_path: Path) -> None:
    """A layer in which a directory was renamed points to where its content lies below."""
    top, bottom = tmp_path / "top", tmp_path / "bottom"
    _file(bottom / "old/inner/file", b"abc")
    _file(bottom / "sibling/file", b"de")
    (top / "new").mkdir(parents=True)
    os.setxattr(top / "new", "trusted.overlay.redirect", b"/old/inner")
    (top / "brother").mkdir()
    os.setxattr(top / "brother", "trusted.overlay.redirect", b"sibling")
    (top / "climber").mkdir()
    os.setxattr(top / "climber", "trusted.overlay.redirect", b"/../../../etc")
    entries = read_image_entries([top, bottom], [P("/new/file"), P("/brother/file"), P("/climber/passwd")])
    assert (entries[P("/new/file")].size, entries[P("/brother/file")].size) == (3, 2)
    assert entries[P("/climber")].entries == 0


def test_links_are_resolved_inside_the_image(root: Path) -> None:
    """Absolute ones too, and none climbs out."""
    (root / "var").mkdir()
    (root / "run").mkdir()
    (root / "var/run").symlink_to("/run")
    (root / "var/up").symlink_to("../../../../run/../etc")
    (root / "loop").symlink_to("/loop2")
    (root / "loop2").symlink_to("loop")
    assert resolve([root], P("/var/run/app.pid")) == P("/run/app.pid")
    assert resolve([root], P("/var/up/passwd")) == P("/etc/passwd")
    assert resolve([root], P("/none/deeper")) == P("/none/deeper")
    assert resolve([root], P("/loop/x")).name == "x"
    assert resolve([], P("/var/run")) == P("/var/run")


def test_shells(root: Path) -> None:
    """Through links as distributions have them; a directory or a plain file is no shell."""
    assert not has_shell([root])
    (root / "bin").symlink_to("usr/bin")
    assert not has_shell([root])
    _file(root / "usr/bin/dash", b"\x7fELF")
    (root / "usr/bin/sh").symlink_to("dash")
    assert not has_shell([root])
    (root / "usr/bin/dash").chmod(0o755)
    assert has_shell([root])
    assert not has_shell([])


@pytest.mark.parametrize(
    ("words", "directory", "roots"),
    [
        (("python3", "/app/main.py"), "/", ["/app"]),
        (("gunicorn", "app:app"), "/app", ["/app"]),
        (("node", "bin/www"), "/srv/site", ["/srv/site"]),
        (("/opt/thing/bin/server", "--config", "/etc/thing/conf.ini"), "/", ["/opt/thing/bin"]),
        (("java", "-cp", "/usr/share/cat/boot.jar:/usr/share/cat/juli.jar", "Main"), "/", ["/usr/share/cat"]),
        (("server-link",), "/", ["/opt/thing/bin"]),
        (("nginx", "-g", "daemon off;"), "/", []),
        (("redis-server", "/etc/redis/redis.conf"), "/data", []),
        (("/entrypoint.sh", "redis-server"), "/data", []),
        (("package",), "/home/user", ["/home/user"]),
    ],
)
def test_code_roots(root: Path, words: tuple[str, ...], directory: str, roots: list[str]) -> None:
    """Scripts, archives and binaries named in a command, and a working directory with code; never the system's."""
    _file(root / "usr/bin/python3", b"\x7fELF", 0o755)
    _file(root / "usr/sbin/nginx", b"\x7fELF", 0o755)
    _file(root / "usr/bin/redis-server", b"\x7fELF", 0o755)
    _file(root / "app/main.py")
    _file(root / "srv/site/package.json", b"{}")
    _file(root / "srv/site/bin/www", b"#!/usr/bin/env node\n", 0o755)
    _file(root / "opt/thing/bin/server", b"\x7fELF", 0o755)
    (root / "usr/bin/server-link").symlink_to("/opt/thing/bin/server")
    _file(root / "etc/thing/conf.ini")
    _file(root / "etc/redis/redis.conf")
    _file(root / "usr/share/cat/boot.jar")
    _file(root / "entrypoint.sh", b"#!/bin/sh\n", 0o755)
    _file(root / "data/dump.rdb", b"REDIS")
    _file(root / "home/user/package/__init__.py")
    configured = ImageFacts(reference="x", entrypoint=words, working_directory=P(directory))
    assert [str(path) for path in find_code_roots([root], configured)] == roots
    running = Process(program="/usr/bin/none", arguments=words, working_directory=P(directory))
    by_process = find_code_roots([root], ImageFacts(reference="x"), [running])
    if "/" in words[0] or len(words) > 1:
        assert [str(path) for path in by_process] == roots


@pytest.mark.parametrize(
    ("script", "volumes", "roots"),
    [
        ("dist/main.js", (), ["/srv/app/dist"]),
        ("/srv/app/dist/main.js", (), ["/srv/app/dist"]),
        ("dist/main.js", ("/srv/app",), []),  # the image itself says that this is data
        ("dist/data.db", (), []),
        ("/tmp/job.py", (), []),  # a job of somebody's, below no directory of the program's own
        ("/srv/other/main.js", (), []),
    ],
)
def test_a_script_that_runs_and_that_the_image_lacks_was_made(
    root: Path, script: str, volumes: tuple[str, ...], roots: list[str]
) -> None:
    """A bundle compiled at each start is the program itself, wherever its sources lie."""
    _file(root / "srv/app/src/main.ts")
    facts = ImageFacts(reference="x", working_directory=P("/srv/app"), volumes=tuple(map(P, volumes)))
    running = Process(program="/usr/bin/node", arguments=("node", script), working_directory=P("/srv/app"))
    assert [str(path) for path in find_code_roots([root], facts, [running])] == roots


@needs_root
def test_directories_of_users(root: Path, tmp_path: Path) -> None:
    """Where a user may write and perhaps did not yet: the outermost, of any layer, as it is on top."""
    lower = tmp_path / "lower"
    for layer, name, uid in (
        (root, "srv/uploads/a/b", 33),
        (lower, "var/lib/app", 33),
        (lower, "var/lib/other", 34),
        (lower, "srv/was", 33),
        (root, "srv/was", 0),
        (root, "usr/bin/x", 33),
        (root, "opt", 33),
        (root, "opt/mine", 33),
    ):
        (layer / name).mkdir(parents=True, exist_ok=True)
        for made in (layer / name, *(layer / name).parents):
            if made.is_relative_to(layer / "srv/uploads") or made == layer / name:
                os.chown(made, uid, uid)
    found = [str(path) for path in directories_of([root, lower], {33})]
    assert found == ["/opt/mine", "/srv/uploads", "/var/lib/app"]
    assert directories_of([root, lower], ()) == ()


@needs_root
def test_of_many_directories_of_a_user_the_same_are_taken_each_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever order the filesystem has them in."""
    monkeypatch.setattr(image, "_MOST_OWNED", 3)
    for number in reversed(range(40)):
        (root / f"srv/{number:02}").mkdir(parents=True)
        os.chown(root / f"srv/{number:02}", 33, 33)
    assert [path.name for path in directories_of([root], {33})] == ["00", "01", "02"]


def test_no_layers_are_no_facts() -> None:
    """Where the engine shows no layers there is nothing to say, which is no error; a layer that is gone is one."""
    assert read_image_entries([], [P("/srv")]) == {}
    assert find_code_roots([], ImageFacts(reference="x")) == ()
    with pytest.raises(NothingToExamine, match="layer"):
        read_image_entries([Path("/nonexistent-layer")], [P("/srv")])

"""What the upper layer of a real overlay tells, change by change."""

import os
import shutil
import socket
import stat
import threading
from pathlib import Path, PurePosixPath

import pytest
from tests.unit.observe.conftest import Overlay, needs_root

from lithify.engines.base import UpperLayer
from lithify.errors import NothingToExamine
from lithify.model.image import EntryType
from lithify.model.writes import Change, WriterStyle
from lithify.observe.overlay import read_upper_layer

pytestmark = needs_root


def test_nothing_written_is_nothing_told(overlay: Overlay) -> None:
    """A container that only reads has an empty write set."""
    overlay.old("etc/passwd")
    assert (overlay.root / "etc/passwd").read_text() == "old\n"
    assert overlay.read() == {}


def test_a_new_file_is_created(overlay: Overlay) -> None:
    """Only the new file is named; its directory is of the image."""
    overlay.old("var/lib/app/")
    (overlay.root / "var/lib/app/data").write_text("words")
    os.chown(overlay.root / "var/lib/app/data", 7, 8)
    writes = overlay.read()
    assert list(writes) == ["/var/lib/app/data"]
    write = writes["/var/lib/app/data"]
    assert (write.change, write.type, write.size, write.uid, write.gid) == (Change.CREATED, EntryType.FILE, 5, 7, 8)
    assert write.content == "text"


def test_an_appended_file_is_changed_in_place(overlay: Overlay) -> None:
    """The copy of the image's file bears the mark of where it came from."""
    overlay.old("etc/app.conf")
    with (overlay.root / "etc/app.conf").open("a") as file:
        file.write("new\n")
    writes = overlay.read()
    assert list(writes) == ["/etc/app.conf"]
    assert (writes["/etc/app.conf"].change, writes["/etc/app.conf"].style) == (Change.CHANGED, WriterStyle.IN_PLACE)


def test_a_file_renamed_over_an_image_file_is_replaced(overlay: Overlay) -> None:
    """What `sed -i` does is told from what an editor in place does: the second works on a single-file mount."""
    overlay.old("etc/app.conf")
    temporary = overlay.root / "etc/sedAbC"
    temporary.write_text("old\n")
    temporary.rename(overlay.root / "etc/app.conf")
    writes = overlay.read()
    assert list(writes) == ["/etc/app.conf"]
    assert (writes["/etc/app.conf"].change, writes["/etc/app.conf"].style) == (Change.REPLACED, WriterStyle.RENAME)


def test_an_image_file_renamed_over_another_is_replaced(overlay: Overlay) -> None:
    """The mark of origin is there, but it is another file's."""
    overlay.old("etc/app.conf")
    overlay.old("etc/app.conf.new", "other")
    (overlay.root / "etc/app.conf.new").rename(overlay.root / "etc/app.conf")
    writes = overlay.read()
    assert writes["/etc/app.conf"].change is Change.REPLACED
    assert writes["/etc/app.conf.new"].change is Change.DELETED


@pytest.mark.parametrize(
    ("text", "mode", "expected"), [("old\n", 0o644, True), ("new\n", 0o644, False), ("old\n", 0o600, False)]
)
def test_a_file_rewritten_as_it_was_is_known(overlay: Overlay, text: str, mode: int, expected: bool) -> None:
    """A start that writes what the image has is not helped by another image."""
    overlay.old("etc/replaced.conf", "old\n", mode=0o644)
    overlay.old("etc/changed.conf", "old\n", mode=0o644)
    (overlay.root / "etc/sedAbC").write_text(text)
    (overlay.root / "etc/sedAbC").chmod(mode)
    (overlay.root / "etc/sedAbC").rename(overlay.root / "etc/replaced.conf")
    (overlay.root / "etc/changed.conf").write_text(text)
    (overlay.root / "etc/changed.conf").chmod(mode)
    found = {path: (write.change, write.as_before) for path, write in overlay.read().items()}
    assert found == {
        "/etc/replaced.conf": (Change.REPLACED, expected),
        "/etc/changed.conf": (Change.CHANGED, expected),
    }


def test_a_removed_and_made_again_file_is_replaced(overlay: Overlay) -> None:
    """Made over a whiteout."""
    overlay.old("etc/app.conf")
    (overlay.root / "etc/app.conf").unlink()
    (overlay.root / "etc/app.conf").write_text("anew")
    assert overlay.read()["/etc/app.conf"].change is Change.REPLACED


def test_opened_and_metadata_are_told_apart(overlay: Overlay) -> None:
    """A log opened for append is not the same as a file that only got another owner."""
    overlay.old("var/log/app.log")
    overlay.old("var/log/other.log", mode=0o644)
    overlay.old("var/log/attribute.log")
    with (overlay.root / "var/log/app.log").open("a"):
        pass
    (overlay.root / "var/log/other.log").chmod(0o600)
    os.setxattr(overlay.root / "var/log/attribute.log", "user.note", b"x")
    writes = {path: write.change for path, write in overlay.read().items()}
    assert writes == {
        "/var/log/app.log": Change.OPENED,
        "/var/log/other.log": Change.METADATA,
        "/var/log/attribute.log": Change.METADATA,
    }


def test_a_file_with_several_links_is_still_judged(overlay: Overlay) -> None:
    """Overlayfs sets no mark of origin on those."""
    first = overlay.old("opt/a", "content")
    os.link(first, overlay.lower / "opt/b")
    overlay.age(overlay.lower / "opt/b")
    with (overlay.root / "opt/a").open("a") as file:
        file.write("more")
    write = overlay.read()["/opt/a"]
    assert (write.change, write.style) == (Change.CHANGED, WriterStyle.UNKNOWN)


def test_deleted_files_directories_and_links(overlay: Overlay) -> None:
    """Each deletion is named with the type of what was there."""
    overlay.old("opt/file")
    overlay.old("opt/directory/inner")
    (overlay.lower / "opt/link").symlink_to("file")
    overlay.age(overlay.lower / "opt/file")
    (overlay.root / "opt/file").unlink()
    (overlay.root / "opt/link").unlink()
    shutil.rmtree(overlay.root / "opt/directory")
    writes = overlay.read()
    assert {path: (w.change, w.type) for path, w in writes.items()} == {
        "/opt/file": (Change.DELETED, EntryType.FILE),
        "/opt/link": (Change.DELETED, EntryType.SYMLINK),
        "/opt/directory": (Change.DELETED, EntryType.DIRECTORY),
    }


def test_a_directory_made_anew_is_replaced(overlay: Overlay) -> None:
    """The opaque mark stands for a directory that was deleted and made again."""
    overlay.old("var/cache/app/inner")
    shutil.rmtree(overlay.root / "var/cache/app")
    (overlay.root / "var/cache/app").mkdir()
    (overlay.root / "var/cache/app/fresh").write_text("x")
    writes = overlay.read()
    assert list(writes) == ["/var/cache/app"]
    write = writes["/var/cache/app"]
    assert (write.change, write.type, write.entries) == (Change.REPLACED, EntryType.DIRECTORY, 2)


def test_a_type_change_is_a_replacement(overlay: Overlay) -> None:
    """A directory that gave way to a link, and a file that gave way to a directory."""
    overlay.old("var/run/inner")
    overlay.old("var/file")
    shutil.rmtree(overlay.root / "var/run")
    (overlay.root / "var/run").symlink_to("/run")
    (overlay.root / "var/file").unlink()
    (overlay.root / "var/file").mkdir()
    writes = overlay.read()
    assert (writes["/var/run"].change, writes["/var/run"].type) == (Change.REPLACED, EntryType.SYMLINK)
    assert (writes["/var/file"].change, writes["/var/file"].type) == (Change.REPLACED, EntryType.DIRECTORY)


def test_what_came_and_went_shows_in_its_directory(overlay: Overlay) -> None:
    """Nothing is left but another modification time."""
    overlay.old("tmp/")
    overlay.old("var/deep/er/")
    (overlay.root / "tmp/x").write_text("x")
    (overlay.root / "tmp/x").unlink()
    (overlay.root / "var/deep/er/f").write_text("x")
    writes = overlay.read()
    assert {path: write.change for path, write in writes.items()} == {
        "/tmp": Change.CAME_AND_WENT,
        "/var/deep/er/f": Change.CREATED,
    }
    assert writes["/tmp"].directory == PurePosixPath("/tmp")


def test_an_unnamed_file_shows_as_a_directory_copied_up_for_itself(overlay: Overlay) -> None:
    """O_TMPFILE changes no name and no time, and fails on a read-only root."""
    overlay.old("tmp/", mode=0o1777)
    os.close(os.open(overlay.root / "tmp", os.O_TMPFILE | os.O_RDWR, 0o600))
    assert {path: write.change for path, write in overlay.read().items()} == {"/tmp": Change.CAME_AND_WENT}


def test_a_directory_with_another_mode_is_metadata(overlay: Overlay) -> None:
    """Also where something below it was written."""
    overlay.old("srv/a/", mode=0o755)
    overlay.old("srv/b/inner/", mode=0o755)
    (overlay.root / "srv/a").chmod(0o700)
    (overlay.root / "srv/b").chmod(0o700)
    (overlay.root / "srv/b/inner/f").write_text("x")
    assert {path: write.change for path, write in overlay.read().items()} == {
        "/srv/a": Change.METADATA,
        "/srv/b": Change.METADATA,
        "/srv/b/inner/f": Change.CREATED,
    }


def test_root_itself_is_touched_only_when_something_went_there(overlay: Overlay) -> None:
    """The upper directory of the root is made by the engine: its times mean nothing by themselves."""
    overlay.old("etc/passwd")
    with (overlay.root / "etc/passwd").open("a") as file:
        file.write("x")
    assert list(overlay.read()) == ["/etc/passwd"]
    os.utime(overlay.upper)  # a later tick of the clock than the directory's birth
    (overlay.root / "gone").write_text("x")
    os.sync()
    (overlay.root / "gone").unlink()
    os.utime(overlay.upper, ns=(2 * 10**18, 2 * 10**18))
    assert overlay.read()["/"].change is Change.CAME_AND_WENT


def test_new_directories_fold_into_the_topmost(overlay: Overlay) -> None:
    """One write stands for a new tree, with its totals, telling names and most telling content."""
    overlay.old("var/lib/")
    base = overlay.root / "var/lib/app"
    (base / "sub/deeper").mkdir(parents=True)
    for index in range(40):
        (base / f"sub/file{index}").write_text("x" * 10)
    (base / "sub/deeper/app.db").write_bytes(b"SQLite format 3\0\x10\0\2\2" + b"\0" * 80)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(base / "app.sock"))
    writes = overlay.read()
    assert list(writes) == ["/var/lib/app"]
    write = writes["/var/lib/app"]
    assert (write.change, write.type) == (Change.CREATED, EntryType.DIRECTORY)
    assert write.entries == 1 + 2 + 40 + 2
    assert write.size == 40 * 10 + 100
    assert write.content == "sqlite-wal"
    assert {"sub/deeper/app.db", "app.sock"} <= set(write.names)


def test_engine_noise_is_left_out(overlay: Overlay) -> None:
    """With the parents that exist in the layer only because of it; what the program makes beside it stays."""
    noise = ("/.dockerenv", "/etc/hosts", "/run/secrets/token", "/mnt/a/b", "/opt/app/mount")
    overlay.noise = frozenset(map(PurePosixPath, noise))
    overlay.old("etc/passwd")
    overlay.old("run/")
    for path in noise:
        (overlay.root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (overlay.root / path[1:]).write_text("")
    assert overlay.read() == {}
    (overlay.root / "opt/app/program").write_text("x")
    assert list(overlay.read()) == ["/opt/app/program"]


def test_what_goes_beside_noise_later_is_seen(overlay: Overlay) -> None:
    """The engine's own entry explains the directory's time only as far as it is as old."""
    overlay.noise = frozenset({PurePosixPath("/etc/hosts")})
    overlay.old("etc/passwd")
    (overlay.root / "etc/hosts").write_text("")
    assert overlay.read() == {}
    threading.Event().wait(0.06)
    (overlay.root / "etc/passwd.lock").write_text("")
    (overlay.root / "etc/passwd.lock").unlink()
    assert {path: write.change for path, write in overlay.read().items()} == {"/etc": Change.CAME_AND_WENT}


def test_lower_layers_cover_each_other(overlay: Overlay) -> None:
    """A file is held against the top-most layer that has it; whiteouts and opaque directories hide what is below."""
    overlay.layers = 3
    top, middle, bottom = overlay.lowers
    for layer, text in ((bottom, "bottom"), (top, "top, longer")):
        (layer / "etc").mkdir()
        (layer / "etc/conf").write_text(text)
        overlay.age(layer / "etc/conf")
    (bottom / "etc/hidden").write_text("x")
    os.mknod(middle / "hole", stat.S_IFCHR, 0)
    (bottom / "hole").write_text("x")
    (bottom / "cut").mkdir()
    (bottom / "cut/under").write_text("x")
    (middle / "cut").mkdir()
    os.setxattr(middle / "cut", "trusted.overlay.opaque", b"y")
    for layer in (bottom, middle):
        overlay.age(layer / "cut")
    with (overlay.root / "etc/conf").open("a"):
        pass
    (overlay.root / "hole").write_text("new")
    (overlay.root / "cut/under").write_text("new")
    with (overlay.root / "etc/hidden").open("a") as file:
        file.write("more")
    assert {path: write.change for path, write in overlay.read().items()} == {
        "/etc/conf": Change.OPENED,
        "/etc/hidden": Change.CHANGED,
        "/hole": Change.CREATED,
        "/cut/under": Change.CREATED,
    }


def test_renamed_directories_keep_their_twin(overlay: Overlay) -> None:
    """A redirect says where the content of a renamed directory lies; what is under it is no new tree."""
    overlay.options = ",redirect_dir=on"
    overlay.old("opt/one/inner/kept")
    overlay.old("opt/one/inner/changed")
    (overlay.root / "opt/one").rename(overlay.root / "opt/two")
    with (overlay.root / "opt/two/inner/changed").open("a") as file:
        file.write("x")
    writes = overlay.read()
    assert {path: write.change for path, write in writes.items()} == {
        "/opt/one": Change.DELETED,
        "/opt/two": Change.CREATED,
        "/opt/two/inner/changed": Change.CHANGED,
    }
    assert writes["/opt/two"].style is WriterStyle.RENAME


def test_metacopy_is_metadata(overlay: Overlay) -> None:
    """With metacopy=on a changed mode leaves a file without data."""
    overlay.options = ",metacopy=on"
    overlay.old("opt/program", "x" * 10_000, mode=0o755)
    (overlay.root / "opt/program").chmod(0o700)
    assert {path: write.change for path, write in overlay.read().items()} == {"/opt/program": Change.METADATA}


def test_user_marks(overlay: Overlay) -> None:
    """A mount made in a user namespace keeps its marks in user.overlay.*."""
    overlay.options = ",userxattr"
    overlay.old("var/cache/app/inner")
    overlay.old("etc/conf")
    shutil.rmtree(overlay.root / "var/cache/app")
    (overlay.root / "var/cache/app").mkdir()
    with (overlay.root / "etc/conf").open("a") as file:
        file.write("x")
    writes = overlay.read()
    assert writes["/var/cache/app"].change is Change.REPLACED
    assert (writes["/etc/conf"].change, writes["/etc/conf"].style) == (Change.CHANGED, WriterStyle.IN_PLACE)


def test_hostile_links_are_never_followed(overlay: Overlay) -> None:
    """Links in the layer, absolute, climbing or into /proc, are entries like any other."""
    overlay.old("opt/app/conf")
    outside = overlay.base / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    for name, target in (("a", str(outside)), ("b", "../../../../../outside"), ("c", "/proc/self/root")):
        (overlay.root / "opt/app" / name).symlink_to(target)
    (overlay.root / "new").mkdir()
    (overlay.root / "new/link").symlink_to(outside)
    writes = overlay.read()
    assert {path: w.type for path, w in writes.items()} == {
        "/opt/app/a": EntryType.SYMLINK,
        "/opt/app/b": EntryType.SYMLINK,
        "/opt/app/c": EntryType.SYMLINK,
        "/new": EntryType.DIRECTORY,
    }
    assert (writes["/new"].entries, writes["/new"].names) == (2, ("link",))


def test_a_lower_link_is_not_followed(overlay: Overlay) -> None:
    """A directory that stands where the image has a link to one replaces the link."""
    overlay.old("real/file")
    (overlay.lower / "alias").symlink_to("/etc")
    (overlay.root / "alias").unlink()
    (overlay.root / "alias").mkdir()
    (overlay.root / "alias/passwd").write_text("x")
    writes = overlay.read()
    assert (writes["/alias"].change, writes["/alias"].entries) == (Change.REPLACED, 2)


def test_names_that_are_no_text(overlay: Overlay) -> None:
    """Newlines, escapes and bytes that are no UTF-8 stay what they are."""
    overlay.old("srv/")
    names = [b"new\nline", b"esc\x1b[31m", b"bad\xff\xfe"]
    for name in names:
        (overlay.root / "srv" / os.fsdecode(name)).write_text("x")
    assert {os.fsencode(path) for path in overlay.read()} == {b"/srv/" + name for name in names}


def test_many_entries_of_one_directory_are_folded(overlay: Overlay) -> None:
    """The first are named one by one, the rest is one write of their directory."""
    overlay.old("var/spool/app/")
    for index in range(1000):
        (overlay.root / f"var/spool/app/{index}").write_text("xyz")
    writes = overlay.read()
    folded = writes.pop("/var/spool/app")
    assert (folded.change, folded.type) == (Change.CAME_AND_WENT, EntryType.DIRECTORY)
    assert len(writes) + folded.entries == 1000
    assert sum(write.size for write in writes.values()) + folded.size == 3000
    assert folded.directory == PurePosixPath("/var/spool/app")


def test_the_budget_bounds_what_is_named(overlay: Overlay) -> None:
    """Ten thousand written directories give no more than the budget, a note, and every entry counted."""
    for index in range(300):
        (overlay.lower / f"data/{index}").mkdir(parents=True)
    root = overlay.root
    for index in range(300):
        (root / f"data/{index}/f").write_text("x")
        (root / f"data/{index}/new").mkdir()
    writes, notes = read_upper_layer(overlay.layer, budget=100)
    assert len(writes) < 100 + 301
    assert sum(write.entries for write in writes) == 600
    assert any("more than 100 writes" in note for note in notes)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_and_agree(overlay: Overlay, processes: int) -> None:
    """However many read, the answer is the same."""
    for top in range(20):
        (overlay.lower / f"image/{top}").mkdir(parents=True)
    root = overlay.root
    for top in range(20):
        for sub in range(20):
            (root / f"image/{top}/{sub}").mkdir()
            (root / f"image/{top}/{sub}/file").write_text("x" * sub)
            (root / f"new/{top}/{sub}").mkdir(parents=True)
            (root / f"new/{top}/{sub}/app.db").write_text("x" * top)
    alone = read_upper_layer(overlay.layer, processes=1)
    shared = read_upper_layer(overlay.layer, processes=processes)
    assert [(w.path, w.change, w.entries, w.size) for w in shared[0]] == [
        (w.path, w.change, w.entries, w.size) for w in alone[0]
    ]
    assert len(shared[0]) == 401
    assert shared[0][-1].entries == 1 + 20 + 400 + 400


def test_no_fork_beside_threads(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with threads can't fork safely: it reads alone."""
    for index in range(400):
        (overlay.root / f"new/{index}").mkdir(parents=True)
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked beside a thread"))
    wait = threading.Event()
    thread = threading.Thread(target=wait.wait)
    thread.start()
    try:
        assert overlay.read(processes=2)["/new"].entries == 401
    finally:
        wait.set()
        thread.join()


def test_a_layer_that_changes_while_it_is_read(overlay: Overlay) -> None:
    """Entries that come and go meanwhile are no error, whatever takes their place."""
    overlay.old("srv/data/")
    root = overlay.root
    (root / "srv/data/first").mkdir()  # the directories above are copied up one after the other
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            for index in range(50):
                place = root / f"srv/data/{index}"
                (place / "deep").mkdir(parents=True)
                (place / "deep/file").write_text("x")
            for index in range(50):
                shutil.rmtree(root / f"srv/data/{index}")
                (root / f"srv/data/{index}").symlink_to("/etc")
                (root / f"srv/data/{index}").unlink()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(60):
            writes = overlay.read()
            assert all(path == "/srv/data" or path.startswith("/srv/data/") for path in writes)
            assert all("passwd" not in path and not any("passwd" in n for n in w.names) for path, w in writes.items())
    finally:
        stop.set()
        thread.join()


def test_very_deep_trees_are_bounded(overlay: Overlay) -> None:
    """A tree too deep to read is counted as far as it was read, and the note says so."""
    (overlay.root / "deep").mkdir()
    here = os.getcwd()
    try:
        os.chdir(overlay.root / "deep")
        for _ in range(600):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    writes, notes = read_upper_layer(overlay.layer)
    assert [str(write.path) for write in writes] == ["/deep"]
    assert any("deep" in note and "not read" in note for note in notes)
    overlay.unmount()
    # what pytest removes it with would recurse too deep
    assert os.system(f"rm -rf '{overlay.upper}'") == 0


def test_a_missing_layer_is_named(tmp_path: Path) -> None:
    """A container that is gone is no surprise."""
    with pytest.raises(NothingToExamine, match="layer"):
        read_upper_layer(UpperLayer(upper=tmp_path / "none", lowers=(tmp_path,)))

"""What the kernel tells of names that come and go in a real overlay."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest
from tests.unit.observe.conftest import Overlay, needs_root, run_inside

from lithify.model.image import EntryType
from lithify.model.writes import Change, Source, Write, WriterStyle
from lithify.observe import live
from lithify.observe.events import KINDS
from lithify.observe.live import LiveNames
from lithify.observe.merge import merge_writes
from lithify.observe.overlay import read_upper_layer
from lithify.observe.processes import read_program

pytestmark = needs_root

PROGRAM = read_program(os.getpid())
"""What children are called too: looked up before they are, for in their own root there is no such file."""


@pytest.fixture(autouse=True)
def _watchable(tmp_path: Path) -> None:
    reason = live.available(tmp_path)
    if reason:
        pytest.skip(f"names can't be watched here: {reason}")


@pytest.fixture(params=KINDS, ids=["linux-5.17", "linux-5.9"])
def kinds(request: pytest.FixtureRequest) -> tuple[int]:
    """Which of the kernel's ways to report is used."""
    mask: int = request.param
    return (mask,)


def _by_path(names: LiveNames) -> dict[str, Write]:
    return {str(write.path): write for write in names.writes()[0]}


@contextmanager
def _noticing(names: LiveNames, overlay: Overlay) -> Iterator[Callable[[], None]]:
    """Give what a child calls to wait until all that it did is taken in: on a busy machine that may take long."""
    (done, tell_done), (noticed, tell_noticed) = os.pipe(), os.pipe()

    def notice() -> None:
        while os.read(done, 1):
            names.count(overlay.upper)
            os.write(tell_noticed, b".")

    def wait() -> None:
        os.write(tell_done, b".")
        os.read(noticed, 1)

    thread = threading.Thread(target=notice)
    thread.start()
    try:
        yield wait
    finally:
        os.close(tell_done)
        thread.join()
        for descriptor in (done, noticed, tell_noticed):
            os.close(descriptor)


def _create_and_remove() -> None:
    Path("/tmp/x").write_text("x")
    Path("/tmp/x").unlink()


def test_what_came_and_went_is_named(overlay: Overlay, kinds: tuple[int]) -> None:
    """With the program and the user that did it."""
    overlay.old("tmp/")

    def act() -> None:
        os.setgid(8)
        os.setuid(7)
        _create_and_remove()

    (overlay.root / "tmp").chmod(0o1777)
    with LiveNames([overlay.base], kinds=kinds) as names:
        names.watch(overlay.upper)
        run_inside(overlay.root, act)
    writes = _by_path(names)
    assert list(writes) == ["/tmp"]
    write = writes["/tmp"]
    assert (write.change, write.names, write.evidence) == (Change.CAME_AND_WENT, ("x",), (Source.LIVE,))
    (writer,) = write.writers
    if writer.uid is None:  # gone before it was looked at, and with it who its users are in the container
        assert writer.program in (PROGRAM, "unknown")
    else:
        assert (writer.program, writer.uid, writer.gid) == (PROGRAM, 7, 8)


def test_what_stays_is_created_with_its_writer(overlay: Overlay) -> None:
    """A process that lives long enough is known by program and user."""
    overlay.old("srv/", mode=0o777)

    def act() -> None:
        os.setgid(8)
        os.setuid(7)
        Path("/srv/file").write_text("x")
        Path("/srv/directory").mkdir()
        wait()

    with LiveNames([overlay.base]) as names, _noticing(names, overlay) as wait:
        names.watch(overlay.upper)
        run_inside(overlay.root, act)
    writes = _by_path(names)
    assert {path: (w.change, w.type) for path, w in writes.items()} == {
        "/srv/file": (Change.CREATED, EntryType.UNKNOWN),
        "/srv/directory": (Change.CREATED, EntryType.DIRECTORY),
    }
    (writer,) = writes["/srv/file"].writers
    assert (writer.program, writer.uid, writer.gid) == (PROGRAM, 7, 8)
    assert writes["/srv/file"].style is WriterStyle.IN_PLACE


def test_a_rename_over_an_image_file_is_a_style(overlay: Overlay, kinds: tuple[int]) -> None:
    """What `sed -i` does can't be done to a single-file mount."""
    overlay.old("etc/conf")

    def act() -> None:
        Path("/etc/sedXYZ").write_text("new")
        Path("/etc/sedXYZ").rename("/etc/conf")

    with LiveNames([overlay.base], kinds=kinds) as names:
        names.watch(overlay.upper)
        run_inside(overlay.root, act)
    writes = _by_path(names)
    assert writes["/etc/conf"].style is WriterStyle.RENAME
    assert writes["/etc"].names == ("sedXYZ",)
    merged = {str(w.path): w for w in merge_writes(names.writes()[0], read_upper_layer(overlay.layer)[0])}
    assert (merged["/etc/conf"].change, merged["/etc/conf"].style) == (Change.REPLACED, WriterStyle.RENAME)


def test_a_copy_up_is_no_creation(overlay: Overlay, kinds: tuple[int]) -> None:
    """Overlayfs makes the copies itself: the layer's word goes over the kernel's names."""
    overlay.old("etc/changed")
    overlay.old("etc/mode", mode=0o644)
    overlay.old("etc/deleted")
    overlay.old("etc/directory/inner")

    def act() -> None:
        with open("/etc/changed", "a") as file:
            file.write("more")
        Path("/etc/mode").chmod(0o600)
        Path("/etc/deleted").unlink()
        shutil.rmtree("/etc/directory")

    with LiveNames([overlay.base], kinds=kinds) as names:
        names.watch(overlay.upper)
        run_inside(overlay.root, act)
    merged = {str(w.path): w.change for w in merge_writes(names.writes()[0], read_upper_layer(overlay.layer)[0])}
    assert {path: change for path, change in merged.items() if not path.startswith("/etc/directory/")} == {
        "/etc/changed": Change.CHANGED,
        "/etc/mode": Change.METADATA,
        "/etc/deleted": Change.DELETED,
        "/etc/directory": Change.DELETED,
    }


def test_a_tree_that_is_gone_is_still_named(overlay: Overlay) -> None:
    """Directories are known by where they were made once their handles open no more."""
    overlay.old("tmp/")

    def act() -> None:
        for name in ("a", "a/b", "a/b/c"):
            Path("/tmp", name).mkdir()
        wait()  # so long must a directory last to be known once it is gone
        Path("/tmp/a/b/c/file").write_text("x")
        shutil.rmtree("/tmp/a")

    with LiveNames([overlay.base]) as names, _noticing(names, overlay) as wait:
        names.watch(overlay.upper)
        run_inside(overlay.root, act)
    went = {str(w.path): w.names for w in names.writes()[0] if w.change is Change.CAME_AND_WENT}
    assert went == {"/tmp": ("a",), "/tmp/a": ("b",), "/tmp/a/b": ("c",), "/tmp/a/b/c": ("file",)}


def test_what_happens_before_the_layer_is_named_counts(overlay: Overlay) -> None:
    """An engine makes the layer only when the container is made: its storage is watched before."""
    overlay.old("tmp/")
    root = overlay.root
    with LiveNames([overlay.base]) as names:
        run_inside(root, _create_and_remove)
        assert names.writes()[0] == ()
        names.watch(overlay.upper)
    assert [str(write.path) for write in names.writes()[0]] == ["/tmp"]


def test_the_host_is_left_out(overlay: Overlay) -> None:
    """What lithify, an engine or anybody else does in the storage is none of the container's."""
    overlay.old("tmp/")
    with LiveNames([overlay.base]) as names:
        names.watch(overlay.upper)
        (overlay.root / "tmp/ours").write_text("x")
        (overlay.base / "elsewhere").write_text("x")
        assert os.system(f"touch '{overlay.root}/tmp/theirs'; sleep 0.2") == 0
        assert names.count(overlay.upper) <= 1  # touch may be gone before it is looked at
        run_inside(overlay.root, _create_and_remove)
    assert "ours" not in names.writes()[0][0].names


def test_another_container_is_left_out(overlay: Overlay, tmp_path: Path) -> None:
    """The mark sees the whole filesystem: only watched layers are told of."""
    (tmp_path / "other").mkdir()
    other = Overlay(base=tmp_path / "other")
    other.old("tmp/")
    overlay.old("tmp/")
    try:
        with LiveNames([tmp_path]) as names:
            names.watch(overlay.upper)
            run_inside(other.root, _create_and_remove)
        assert names.writes()[0] == ()
    finally:
        other.unmount()


def test_events_are_counted(overlay: Overlay) -> None:
    """A proof asks whether anything arrived while it probed; the answer is never late."""
    overlay.old("tmp/")
    with LiveNames([overlay.base]) as names:
        names.watch(overlay.upper)
        assert names.count(overlay.upper) == 0
        run_inside(overlay.root, _create_and_remove)
        first = names.count(overlay.upper)
        assert first >= 1
        run_inside(overlay.root, lambda: Path("/tmp").stat())
        assert names.count(overlay.upper) == first
        run_inside(overlay.root, lambda: Path("/tmp/y").write_text("y"))
        assert names.count(overlay.upper) > first


def test_engine_noise_is_left_out(overlay: Overlay) -> None:
    """What an engine makes in every container is not told of."""
    overlay.noise = frozenset({PurePosixPath("/.dockerenv")})
    overlay.old("tmp/")
    with LiveNames([overlay.base]) as names:
        names.watch(overlay.upper)
        run_inside(overlay.root, lambda: Path("/.dockerenv").write_text(""))
    assert names.writes(overlay.layer)[0] == ()


def test_memory_is_bounded(overlay: Overlay) -> None:
    """Twenty thousand names that come and go leave a sample; as many that stay, the first of them."""
    overlay.old("tmp/")

    def act() -> None:
        for index in range(20_000):
            path = f"/tmp/{index}"
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            os.unlink(path)
        for index in range(5_000):
            os.close(os.open(f"/tmp/stays{index}", os.O_CREAT | os.O_WRONLY))

    with LiveNames([overlay.base]) as names:
        names.watch(overlay.upper)
        run_inside(overlay.root, act)
        assert names.count(overlay.upper) >= 5_000
    writes = names.writes()[0]
    assert len(writes) <= 1001
    assert 1 <= len(next(w for w in writes if w.change is Change.CAME_AND_WENT).names) <= 24


def test_moved_directories(overlay: Overlay) -> None:
    """After a rename the same directory is told of by its new path."""
    overlay.old("srv/")

    def act() -> None:
        Path("/srv/one").mkdir()
        Path("/srv/one/a").write_text("x")
        wait()
        Path("/srv/one").rename("/srv/two")
        Path("/srv/two/b").write_text("x")

    with LiveNames([overlay.base]) as names, _noticing(names, overlay) as wait:
        names.watch(overlay.upper)
        run_inside(overlay.root, act)
    paths = _by_path(names)
    assert {"/srv/one/a", "/srv/two", "/srv/two/b", "/srv"} == set(paths)
    assert paths["/srv/two"].type is EntryType.DIRECTORY


def test_a_volume_is_watched_where_it_is_mounted(overlay: Overlay) -> None:
    """An anonymous volume lies elsewhere on the host."""
    overlay.old("data/")
    volume = overlay.base / "volume"
    volume.mkdir()
    with LiveNames([overlay.base]) as names:
        names.watch(volume, PurePosixPath("/data"))
        run_inside(volume, lambda: Path("/f").write_text("x"))
    assert [(str(w.path), w.change) for w in names.writes()[0]] == [("/data/f", Change.CREATED)]


def test_why_not(tmp_path: Path) -> None:
    """A reason, in words, where the kernel refuses; None where it does not."""
    assert live.available(tmp_path) is None
    assert "no such directory" in str(live.available(tmp_path / "none"))


def test_without_rights(tmp_path: Path) -> None:
    """An ordinary user is told what is missing."""
    tmp_path.chmod(0o755)

    def act() -> None:
        os.setuid(65534)
        assert "root" in str(live.available(Path("/")))

    run_inside(Path("/"), act)


def test_nothing_stays_open(overlay: Overlay) -> None:
    """Descriptors and the thread are gone afterwards."""
    before = os.listdir("/proc/self/fd")
    with LiveNames([overlay.base]) as names:
        names.watch(overlay.upper) if overlay.root else None
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert names.count(overlay.upper) == 0

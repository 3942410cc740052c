"""Whatever is done to an overlay, its upper layer names each difference, and no difference that is none."""

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.observe.conftest import Overlay, needs_root

from lithify.model.image import EntryType
from lithify.model.writes import Change, Write
from lithify.observe.overlay import read_upper_layer

pytestmark = needs_root

_NAMES = st.sampled_from(["a", "b", "c"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)
_ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["write", "append", "open", "remove", "mkdir", "link", "mode", "rename", "unnamed", "utime"]),
        _PATHS,
        _PATHS,
    ),
    max_size=12,
)
_IMAGES = st.dictionaries(_PATHS, st.sampled_from(["file", "directory", "link"]), max_size=6)


def _build(overlay: Overlay, image: dict[str, str]) -> None:
    for path, kind in sorted(image.items()):
        target = overlay.lower / path
        with suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            if kind == "file":
                target.write_text(path)
            elif kind == "directory":
                target.mkdir(exist_ok=True)
            else:
                target.symlink_to("nowhere")
    for here, directories, files in os.walk(overlay.lower, topdown=False):
        for name in [*directories, *files, "."]:
            os.utime(os.path.join(here, name), (10**9, 10**9), follow_symlinks=False)


def _act(root: Path, action: str, path: str, other: str) -> None:
    target = root / path
    with suppress(OSError):
        match action:
            case "write":
                target.write_text("new content")
            case "append" if target.is_file() and not target.is_symlink():
                with target.open("a") as file:
                    file.write("more")
            case "open" if target.is_file() and not target.is_symlink():
                target.open("a").close()
            case "remove" if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            case "remove":
                target.unlink()
            case "mkdir":
                target.mkdir()
            case "link":
                target.symlink_to("elsewhere")
            case "mode" if not target.is_symlink():
                target.chmod(0o711)
            case "rename":
                target.rename(root / other)
            case "unnamed":
                os.close(os.open(target, os.O_TMPFILE | os.O_RDWR))
            case "utime" if not target.is_symlink():
                os.utime(target, (2 * 10**9, 2 * 10**9))


def _snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return type, mode and content of everything below `root`."""
    found = {}
    for here, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(here, name)
            mode = os.lstat(path).st_mode
            content = b""
            if stat.S_ISREG(mode):
                content = Path(path).read_bytes()
            elif stat.S_ISLNK(mode):
                content = os.fsencode(os.readlink(path))
            found["/" + os.path.relpath(path, root)] = (mode, content)
    return found


def _covers(write: Write, path: str) -> bool:
    """Tell whether a write speaks of a path: what is below a directory that was made, replaced or removed as well."""
    made = write.change is Change.CREATED and write.type is EntryType.DIRECTORY
    whole = made or write.change in (Change.REPLACED, Change.DELETED)
    where = PurePosixPath(path)
    return where == write.path or (whole and where.is_relative_to(write.path))


@pytest.mark.parametrize("options", ["", ",redirect_dir=on,metacopy=on"])
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_IMAGES, _ACTIONS)
def test_every_difference_and_no_other(
    options: str, image: dict[str, str], actions: list[tuple[str, str, str]]
) -> None:
    """Each path that differs from the image is covered by a write, and each write is of a path that it fits."""
    with tempfile.TemporaryDirectory() as base:
        overlay = Overlay(base=Path(base), options=options)
        _build(overlay, image)
        before = _snapshot(overlay.lower)
        try:
            for action in actions:
                _act(overlay.root, *action)
            after = _snapshot(overlay.root)
            writes, notes = read_upper_layer(overlay.layer)
        finally:
            overlay.unmount()
    assert notes == ()
    for path in before.keys() | after.keys():
        if before.get(path) != after.get(path):
            assert any(_covers(write, path) for write in writes), (path, writes)
    for write in writes:
        path = str(write.path)
        if any(str(above) not in before for above in write.path.parents[:-1]):
            continue  # below a directory that was renamed, entries are held against those where it came from
        was, is_now = before.get(path), after.get(path)
        match write.change:
            case Change.CREATED:
                assert was is None
                assert is_now is not None
            case Change.DELETED:
                assert was is not None
                assert is_now is None
            case Change.REPLACED | Change.CHANGED | Change.OPENED | Change.METADATA:
                assert was is not None
                assert is_now is not None
            case Change.CAME_AND_WENT:
                assert path == "/" or (was is not None and stat.S_ISDIR(was[0]))
    if not actions:
        assert writes == ()

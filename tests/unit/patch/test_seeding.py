"""The script of the init container, in real shells, as root and as nobody."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from lithify.model.image import EntryType
from lithify.model.mount import Mount, Seed, StorageKind
from lithify.patch.seeding import Filled, fresh_start, script

SHELLS = [shell for shell in (("dash",), ("busybox", "sh"), ("bash",)) if shutil.which(shell[0])]
ROOT_OR_NOBODY = [0, 65534] if os.geteuid() == 0 else [os.geteuid()]


def place(path: str, volume: str, **how: object) -> Filled:
    settings = {"mode": 0o755, "uid": 0, "gid": 0, "seed": Seed.CONTENT, **how}
    mount = Mount(path=PurePosixPath(path), storage=StorageKind.SCRATCH, **settings)  # type: ignore[arg-type]
    return Filled(mount=mount, volume=volume)


@pytest.fixture
def image() -> Iterator[Path]:
    """A part of an image: directories of odd modes, a link that leads nowhere, names that shells trip over."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:  # pytest's own are closed to others
        os.chmod(name, 0o755)
        yield _image(Path(name))


def _image(tmp_path: Path) -> Path:
    root = tmp_path / "image"
    cache = root / "var/cache"
    (cache / "a b/.hidden/-n").mkdir(parents=True)
    (cache / "closed").mkdir()
    (cache / "closed/file").write_text("secret")
    (cache / "a b/$(x)").write_text("text")
    (cache / "a b/run").write_text("#!/bin/sh\n")
    (cache / "..odd").write_text("odd")
    (cache / "link").symlink_to("/nowhere/at all")
    (cache / "secret").write_text("secret")
    os.chmod(cache / "a b/run", 0o4755)
    os.chmod(cache / "a b", 0o2775)
    os.chmod(cache / "secret", 0o600)
    os.chmod(cache / "closed", 0o700)
    (tmp_path / "volumes/cache").mkdir(parents=True)
    os.chmod(tmp_path / "volumes/cache", 0o777)
    return root


def run(shell: tuple[str, ...], text: str, uid: int) -> None:
    as_user = {"user": uid, "group": uid, "extra_groups": []} if os.geteuid() == 0 else {}
    subprocess.run([*shell, "-ceu", text], check=True, timeout=30, cwd="/", **as_user)  # type: ignore[call-overload]


def seeded(shell: tuple[str, ...], image: Path, uid: int, filled: Filled) -> Path:
    volumes = image.parent / "volumes"
    run(shell, script([filled], source=PurePosixPath(image), at=PurePosixPath(volumes)).replace("$$(", "$("), uid)
    return volumes / filled.volume / "content"


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
@pytest.mark.parametrize("uid", ROOT_OR_NOBODY)
def test_content_comes_back_with_owner_and_mode(image: Path, shell: tuple[str, ...], uid: int) -> None:
    content = seeded(shell, image, uid, place("/var/cache", "cache", mode=0o750, uid=uid, gid=uid))
    assert content.stat().st_mode & 0o7777 == 0o750
    assert content.stat().st_uid == uid
    assert (content / "a b/$(x)").read_text() == "text"
    assert (content / "..odd").read_text() == "odd"
    assert (content / "a b/.hidden/-n").is_dir()
    assert os.readlink(content / "link") == "/nowhere/at all"
    assert (content / "a b").stat().st_mode & 0o777 == 0o775
    assert (content / "a b/run").stat().st_mode & 0o777 == 0o755
    assert (content / "secret").exists() == (uid == 0)  # what its user can't read, the program could not either
    assert (content / "closed").is_dir()


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
@pytest.mark.parametrize("uid", ROOT_OR_NOBODY)
def test_a_skeleton_has_directories_and_no_files(image: Path, shell: tuple[str, ...], uid: int) -> None:
    content = seeded(shell, image, uid, place("/var/cache", "cache", seed=Seed.SKELETON))
    found = {str(path.relative_to(content)) for path in content.rglob("*")}
    assert found == {"a b", "a b/.hidden", "a b/.hidden/-n", "closed"}
    assert (content / "closed").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
def test_what_is_there_stays_and_what_is_half_done_is_done_anew(image: Path, shell: tuple[str, ...]) -> None:
    volume = image.parent / "volumes/cache"
    (volume / "new/left over").mkdir(parents=True)
    filled = place("/var/cache", "cache", uid=os.geteuid(), gid=os.getegid())
    content = seeded(shell, image, os.geteuid(), filled)
    assert not (content / "left over").exists()
    assert not (volume / "new").exists()
    (content / "..odd").write_text("changed by the program")
    (content / "link").unlink()
    assert seeded(shell, image, os.geteuid(), filled) == content
    assert (content / "..odd").read_text() == "changed by the program"
    assert not (content / "link").is_symlink()


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
def test_a_single_file(image: Path, shell: tuple[str, ...]) -> None:
    filled = place("/var/cache/a b/$(x)", "cache", type=EntryType.FILE, mode=0o640, uid=os.geteuid(), gid=os.getegid())
    content = seeded(shell, image, os.geteuid(), filled)
    assert content.read_text() == "text"
    assert content.stat().st_mode & 0o777 == 0o640
    content.unlink()
    filled = place("/var/none", "cache", type=EntryType.FILE, seed=Seed.NONE, uid=os.geteuid(), gid=os.getegid())
    assert seeded(shell, image, os.geteuid(), filled).read_text() == ""


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
def test_a_copy_that_fails_fails(image: Path, shell: tuple[str, ...]) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        seeded(shell, image, os.geteuid(), place("/no/such", "cache", type=EntryType.FILE))
    assert not (image.parent / "volumes/cache/content").exists()


def test_a_fresh_start_empties_places_and_keeps_arguments(tmp_path: Path) -> None:
    for name in ("a b/x.pid", "a b/.hidden/y", "other"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    command = fresh_start(["printf", "%s|"], [PurePosixPath(tmp_path / "a b")])
    done = subprocess.run([*command, "one two", "$3"], check=True, capture_output=True, text=True, timeout=10)
    assert done.stdout == "one two|$3|"
    assert [path.name for path in tmp_path.iterdir()] != []
    assert list((tmp_path / "a b").iterdir()) == []
    assert (tmp_path / "other").exists()

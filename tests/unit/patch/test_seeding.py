"""The script of the init container, in real shells, as root and as nobody."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.mount import Mount, Seed, StorageKind
from lithify.patch.seeding import Doer, Filled, command, doer, fresh_start

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


def entry(path: Path) -> ImageEntry:
    """Return what an image's layers would say of a path."""
    status = path.lstat()
    below = list(path.rglob("*")) if path.is_dir() else []
    directories = [each for each in below if each.is_dir() and not each.is_symlink()]
    return ImageEntry(
        type=EntryType.DIRECTORY if path.is_dir() else EntryType.FILE,
        mode=status.st_mode & 0o7777,
        uid=status.st_uid,
        gid=status.st_gid,
        entries=len(below),
        directories=len(directories),
    )


def facts(root: Path, top: str) -> ImageFacts:
    """Return what is known of an image whose directories below `top` are all known."""
    found = [root / top, *(each for each in (root / top).rglob("*") if each.is_dir() and not each.is_symlink())]
    return ImageFacts(
        reference="x", entries={PurePosixPath("/") / each.relative_to(root): entry(each) for each in found}
    )


def whoever(uid: int) -> list[Doer]:
    """Return what a manifest may know of a user who is it in fact."""
    return [Doer(user=uid, mighty=uid == 0), Doer()]


def run(shell: tuple[str, ...], words: list[str], uid: int) -> None:
    as_user = {"user": uid, "group": uid, "extra_groups": []} if os.geteuid() == 0 else {}
    if words[0] == "sh":
        words = [*shell, *words[1:]]
    elif shell[0] == "busybox":
        words = ["busybox", *words]
    subprocess.run(words, check=True, timeout=30, cwd="/", **as_user)  # type: ignore[call-overload]


def seeded(shell: tuple[str, ...], image: Path, uid: int, filled: Filled, who: Doer | None = None) -> Path:
    """Fill a place from the image, which stands in the place of the root directory; return what was made."""
    volumes = image.parent / "volumes"
    run(shell, command([filled], who or Doer(), source=PurePosixPath(image), at=PurePosixPath(volumes)), uid)
    return volumes / filled.volume / "content"


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
@pytest.mark.parametrize("uid", ROOT_OR_NOBODY)
@pytest.mark.parametrize("known", [0, 1])
def test_content_comes_back_with_owner_and_mode(image: Path, shell: tuple[str, ...], uid: int, known: int) -> None:
    filled = place("/var/cache", "cache", mode=0o750, uid=uid, gid=uid)
    content = seeded(shell, image, uid, filled, whoever(uid)[known])
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
    assert {path.name for path in content.parent.iterdir()} == {"content"}


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
@pytest.mark.parametrize("uid", ROOT_OR_NOBODY)
def test_a_closed_directory_is_copied_with_all_its_names(image: Path, shell: tuple[str, ...], uid: int) -> None:
    cache = image / "var/cache"
    (cache / ".full").write_text("to the brim")
    os.chmod(cache, 0o555)
    content = seeded(shell, image, uid, place("/var/cache", "cache", mode=0o555, uid=uid, gid=uid))
    assert (content / ".full").read_text() == "to the brim"
    assert content.stat().st_mode & 0o7777 == 0o555
    assert {path.name for path in content.parent.iterdir()} == {"content"}


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
@pytest.mark.parametrize("uid", ROOT_OR_NOBODY)
@pytest.mark.parametrize("named", [True, False])
def test_a_skeleton_has_directories_and_no_files(image: Path, shell: tuple[str, ...], uid: int, named: bool) -> None:
    """The same comes out where the directories are known, and named, and where they are looked for."""
    os.chmod(image / "var/cache/a b/.hidden/-n", 0o1777)
    if uid == 0 == os.geteuid():
        os.chown(image / "var/cache/closed", 7, 8)
    if named:
        os.chmod(image / "var/cache/a b", 0o775)  # setgid would be handed on to what is made in it
    known = facts(image, "var/cache") if named else None
    who = Doer(user=uid, mighty=uid == 0, image=known)
    filled = place("/var/cache", "cache", seed=Seed.SKELETON, mode=0o1770)
    words = command([filled], who, source=PurePosixPath("/"))
    assert ("dirs" in words[2]) != named
    content = seeded(shell, image, uid, filled, who)
    found = {str(path.relative_to(content)) for path in content.rglob("*")}
    assert found == {"a b", "a b/.hidden", "a b/.hidden/-n", "closed"}
    assert content.stat().st_mode & 0o7777 == 0o1770
    assert (content / "closed").stat().st_mode & 0o777 == 0o700
    assert (content / "a b").stat().st_mode & 0o777 == 0o775
    assert (content / "a b/.hidden/-n").stat().st_mode & 0o7777 == 0o1777
    if uid == 0:
        assert (content / "closed").stat().st_gid == (image / "var/cache/closed").stat().st_gid


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
@pytest.mark.parametrize("uid", ROOT_OR_NOBODY)
def test_an_interrupted_copy_is_done_anew(image: Path, shell: tuple[str, ...], uid: int) -> None:
    """Killed once a directory is closed to writing, which only root could take away as it is."""
    cache, volume = image / "var/cache", image.parent / "volumes/cache"
    for number in range(40):
        (cache / f"d{number}").mkdir()
        for name in range(100):
            (cache / f"d{number}" / str(name)).write_text("x")
        os.chmod(cache / f"d{number}", 0o555)
    filled = place("/var/cache", "cache", uid=uid, gid=uid, mode=0o555)
    words = command(
        [filled], Doer(user=uid, mighty=uid == 0), source=PurePosixPath(image), at=PurePosixPath(volume.parent)
    )
    as_user = {"user": uid, "group": uid, "extra_groups": []} if os.geteuid() == 0 else {}
    for _ in range(20):
        with subprocess.Popen([*shell, *words[1:]], cwd="/", start_new_session=True, **as_user) as copying:  # type: ignore[call-overload]
            while copying.poll() is None and not any(_closed(path) for path in volume.glob("new/d*")):
                pass
            os.killpg(copying.pid, signal.SIGKILL)
        if not (volume / "content").exists():
            break
        shutil.rmtree(volume / "content")
    assert any(_closed(path) for path in volume.glob("new/d*"))
    content = seeded(shell, image, uid, filled, Doer(user=uid, mighty=uid == 0))
    assert len(list(content.glob("d*/*"))) == 4000
    assert {path.name for path in volume.iterdir()} == {"content"}


def _closed(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mode & 0o777 == 0o555
    return False


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
@pytest.mark.parametrize("how", [{}, {"seed": Seed.SKELETON}, {"seed": Seed.NONE, "gid": 1}])
def test_what_is_there_stays_and_what_is_half_done_is_done_anew(
    image: Path, shell: tuple[str, ...], how: dict[str, object]
) -> None:
    volume = image.parent / "volumes/cache"
    (volume / "new/left over").mkdir(parents=True)
    os.chmod(volume / "new/left over", 0o500)
    filled = place("/var/cache", "cache", **{"uid": os.geteuid(), "gid": os.getegid(), **how})
    content = seeded(shell, image, os.geteuid(), filled)
    assert not (content / "left over").exists()
    assert not (volume / "new").exists()
    (content / "..odd").write_text("changed by the program")
    (content / "link").unlink(missing_ok=True)
    os.chmod(content, 0o711)
    assert seeded(shell, image, os.geteuid(), filled) == content
    assert (content / "..odd").read_text() == "changed by the program"
    assert not (content / "link").is_symlink()
    assert content.stat().st_mode & 0o777 == 0o711


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
@pytest.mark.parametrize("uid", ROOT_OR_NOBODY)
def test_an_empty_directory_takes_no_shell(image: Path, shell: tuple[str, ...], uid: int) -> None:
    filled = place("/var/none", "cache", seed=Seed.NONE, mode=0o1700)
    assert command([filled], Doer(), source=PurePosixPath("/")) == [
        "mkdir", "-p", "-m", "1700", "/lithify/cache/content",
    ]  # fmt: skip
    for mode in (0o1700, 0o711):
        content = seeded(shell, image, uid, filled)
        os.chmod(content, mode)
    assert seeded(shell, image, uid, filled).stat().st_mode & 0o7777 == 0o711


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
@pytest.mark.parametrize("seed", [Seed.CONTENT, Seed.SKELETON])
def test_a_directory_that_the_image_no_longer_has_is_empty(image: Path, shell: tuple[str, ...], seed: Seed) -> None:
    """A newer image may have dropped it, and would start without it."""
    content = seeded(shell, image, os.geteuid(), place("/no/such", "cache", seed=seed))
    assert list(content.iterdir()) == []


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
def test_a_single_file(image: Path, shell: tuple[str, ...]) -> None:
    filled = place("/var/cache/a b/$(x)", "cache", type=EntryType.FILE, mode=0o640, uid=os.geteuid(), gid=os.getegid())
    (image.parent / "volumes/cache/new").write_text("half")
    os.chmod(image.parent / "volumes/cache/new", 0o400)
    content = seeded(shell, image, os.geteuid(), filled)
    assert content.read_text() == "text"
    assert content.stat().st_mode & 0o777 == 0o640
    content.unlink()
    filled = place("/var/none", "cache", type=EntryType.FILE, seed=Seed.NONE, uid=os.geteuid(), gid=os.getegid())
    assert seeded(shell, image, os.geteuid(), filled).read_text() == ""


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
@pytest.mark.parametrize("uid", ROOT_OR_NOBODY)
def test_places_are_filled_one_after_the_other(image: Path, shell: tuple[str, ...], uid: int) -> None:
    volumes = image.parent / "volumes"
    for name in ("empty", "made"):
        (volumes / name).mkdir()
        os.chmod(volumes / name, 0o777)
    filled = [
        place("/var/cache", "cache"),
        place("/var/none", "empty", seed=Seed.NONE, mode=0o700),
        place("/var/cache", "made", seed=Seed.SKELETON),
    ]
    run(shell, command(filled, Doer(), source=PurePosixPath(image), at=PurePosixPath(volumes)), uid)
    assert (volumes / "empty/content").stat().st_mode & 0o7777 == 0o700
    assert (volumes / "cache/content/..odd").exists()
    assert (volumes / "made/content/a b/.hidden").is_dir()


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
@pytest.mark.parametrize("uid", ROOT_OR_NOBODY)
@pytest.mark.parametrize("known", [0, 1])
def test_a_copy_that_fails_fails(image: Path, shell: tuple[str, ...], uid: int, known: int) -> None:
    """A volume that is too small is not taken for a file that can't be read."""
    with pytest.raises(subprocess.CalledProcessError):
        seeded(shell, image, os.geteuid(), place("/no/such", "cache", type=EntryType.FILE))
    assert not (image.parent / "volumes/cache/content").exists()
    if os.geteuid() != 0:
        pytest.skip("a small volume takes root")
    volume = image.parent / "volumes/cache"
    (image / "var/cache/big").write_bytes(b"x" * 100_000)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", volume], check=True, timeout=30)
    try:
        with pytest.raises(subprocess.CalledProcessError):
            seeded(shell, image, uid, place("/var/cache", "cache"), whoever(uid)[known])
        assert not (volume / "content").exists()
    finally:
        subprocess.run(["umount", volume], check=True, timeout=30)


WHO: list[tuple[dict[str, object], dict[str, object], ImageFacts | None, bool, int | None, bool | None]] = [
    ({}, {}, None, False, None, None),
    ({}, {}, ImageFacts(reference="x"), False, 0, True),
    ({}, {}, ImageFacts(reference="x"), True, None, None),
    ({}, {}, ImageFacts(reference="x", uid=5), False, 5, False),
    ({}, {"runAsUser": 7}, ImageFacts(reference="x"), False, 7, False),
    ({"runAsUser": 0}, {"runAsUser": 7}, None, False, 0, True),
    ({"runAsNonRoot": True}, {}, None, False, None, False),
    ({"capabilities": {"drop": ["ALL"]}}, {}, ImageFacts(reference="x"), False, 0, None),
    ({"capabilities": {"drop": ["CHOWN"]}}, {}, ImageFacts(reference="x"), False, 0, None),
    ({"capabilities": {"drop": ["NET_RAW"]}}, {}, ImageFacts(reference="x"), False, 0, True),
    (
        {"capabilities": {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER"]}},
        {},
        ImageFacts(reference="x"),
        False,
        0,
        True,
    ),
]


@pytest.mark.parametrize(("own", "pod", "image", "copier", "user", "mighty"), WHO)
def test_as_whom_places_are_filled(
    own: dict[str, object],
    pod: dict[str, object],
    image: ImageFacts | None,
    copier: bool,
    user: int | None,
    mighty: bool | None,
) -> None:
    found = doer({"securityContext": own}, {"securityContext": pod}, image, copier=copier)
    assert (found.user, found.mighty) == (user, mighty)


@pytest.mark.parametrize(("seed", "left"), [(Seed.NONE, []), (Seed.SKELETON, [".hidden", "d"])])
def test_a_fresh_start_empties_places_and_keeps_arguments(tmp_path: Path, seed: Seed, left: list[str]) -> None:
    """Directories that the image has there stay: nobody makes them again."""
    for name in ("a b/x.pid", "a b/.hidden/y", "a b/d/z", "other"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    words = fresh_start(["printf", "%s|"], [place(str(tmp_path / "a b"), "", seed=seed).mount])
    done = subprocess.run([*words, "one two", "$3"], check=True, capture_output=True, text=True, timeout=10)
    assert done.stdout == "one two|$3|"
    assert [path.name for path in tmp_path.iterdir()] != []
    assert sorted(path.name for path in (tmp_path / "a b").iterdir()) == left
    assert list((tmp_path / "a b").glob("*/*")) == []
    assert (tmp_path / "other").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.parametrize("mounting", ["mount -t tmpfs none", "mount --bind store"])
def test_a_fresh_start_keeps_what_is_mounted_below(tmp_path: Path, shell: tuple[str, ...], mounting: str) -> None:
    """A claim of the user's below a place, on a disk of its own or on the same one, however the place is named."""
    for folder in ("store", "run/app/a b", "run/old"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "named").symlink_to("run")
    _, _, text, *words = fresh_start(["ls", "-R", "run"], [place(str(tmp_path / "named"), "", seed=Seed.NONE).mount])
    run = shlex.join([*shell, "-c", text, *words])
    script = f"{mounting} 'run/app/a b'; touch run/x.pid run/old/y.pid 'run/app/a b/db'; exec {run}"
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stdout.split() == ["run:", "app", "run/app:", "a", "b", "run/app/a", "b:", "db"]

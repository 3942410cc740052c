"""Puts a patched file in the place of the user's, and takes it back.

The new file takes the old one's name in one step, with its owner, mode and extended attributes, and only while the old
one is still what was read. What stood there is kept in the state directory, found by the file's path and by the hash of
what was written: so it can be taken back exactly as long as nobody has changed the file since, and never over somebody
else's work.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lithify.errors import FileChanged, InvalidInput, NothingToExamine, NothingToRevert, OutputFailed
from lithify.model.path import printable

MAX_BYTES = 1 << 30
"""Larger files are none that a person keeps."""
KEPT = 20
"""Versions of a file that are kept for taking back; the oldest go first."""
_ATTRIBUTES_LEFT_OUT = (
    "security.ima",
    "security.evm",
)  # the kernel signs content with these: they hold for the old one


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A file as it was read."""

    path: Path
    data: bytes
    status: os.stat_result


def read_original(path: Path) -> Original:
    """Return a file for patching; InvalidInput where it is none, or one that has other names or is only a link."""
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            target = os.path.realpath(path)
            raise InvalidInput(
                f"{printable(path)} is a link to {printable(target)}", hint=f"name the file itself: {printable(target)}"
            )
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInput(f"{printable(path)}: not a regular file", hint="name a file, or - for standard input")
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise NothingToExamine(f"no file {printable(path)}", hint="name a file, or - for standard input") from error
    except OSError as error:
        raise InvalidInput(f"{printable(path)}: {error.strerror}", hint="name a file that you may read") from error
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"{printable(path)}: larger than {MAX_BYTES >> 20} MiB", hint="split it up")
    return Original(path=path, data=data, status=status)


def replace_file(original: Original, text: bytes, state: Path) -> Path | None:
    """Put `text` in the place of `original` and return what it can be taken back from; None where nothing changes.

    FileChanged where the file is no longer what was read; OutputFailed where it can't be replaced as it is (its owner,
    its other names). Either way nothing is changed.
    """
    if text == original.data:
        return None
    prepared = prepare_file(original, text, state)
    prepared.take_place()
    return prepared.kept


def prepare_file(original: Original, text: bytes, state: Path) -> "Prepared":
    """Return `text` as a file that is ready to take the place of `original`; errors as for `replace_file`."""
    _insist_on_replaceable(original)
    kept = _keep(original, text, state)
    try:
        return Prepared(original=original, temporary=_write_beside(original, text), kept=kept)
    except BaseException:
        _unlink(kept)
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A file that waits beside the one that it is to replace."""

    original: Original
    temporary: Path
    kept: Path
    """What stands there now, kept for taking it back."""

    def take_place(self) -> None:
        """Replace the original; FileChanged, OutputFailed where that can't be: then nothing is left of this."""
        try:
            _take_place(self.original, self.temporary)
        except BaseException:
            self.discard()
            raise
        _forget_oldest(self.kept.parent)

    def discard(self) -> None:
        """Leave the original as it is."""
        _unlink(self.temporary)
        _unlink(self.kept)


def revert_file(path: Path, state: Path) -> bytes:
    """Put back what stood in a file before it was patched last, and return it.

    NothingToRevert where no patch of ours is known that led to what stands there now.
    """
    current = read_original(path)
    folder = kept_folder(current.path, state)
    kept = folder / digest(current.data)
    try:
        data = kept.read_bytes()
    except FileNotFoundError:
        raise _nothing(path, folder) from None
    except OSError as error:
        raise OutputFailed(f"{printable(kept)}: {error.strerror}", hint="may you read the state directory?") from error
    _insist_on_replaceable(current)
    _replace(current, data)
    with contextlib.suppress(OSError):
        kept.unlink()
    remove_empty(folder)
    return data


def _nothing(path: Path, folder: Path) -> NothingToRevert:
    versions = sorted(folder.glob("[!.]*"), key=lambda kept: kept.stat().st_mtime) if folder.is_dir() else []
    if versions:
        hint = f"it was changed after it was patched; what stood there before is in {printable(versions[-1])}"
        return NothingToRevert(f"{printable(path)} is not what lithify wrote", hint=hint)
    return NothingToRevert(
        f"no patch of {printable(path)} is known here", hint="was it patched with another --state-dir?"
    )


def _insist_on_replaceable(original: Original) -> None:
    status = original.status
    if status.st_nlink > 1:
        raise OutputFailed(
            f"{printable(original.path)} has {status.st_nlink} names (hard links), and only this one would change",
            hint="print the patched file with --output, and write it where it belongs",
        )
    if os.path.lexists(original.path) and not os.access(original.path, os.W_OK):
        raise OutputFailed(f"{printable(original.path)} is read-only", hint="make it writable if it is to change")


def _keep(original: Original, text: bytes, state: Path) -> Path:
    """Store what is replaced, by what takes its place."""
    folder = kept_folder(original.path, state)
    kept = folder / digest(text)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chmod(folder, 0o700)  # manifests hold secrets
        temporary = folder / f".{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(original.data)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, kept)
    except OSError as error:
        raise OutputFailed(
            f"{printable(folder)}: {error.strerror}: the file could not be taken back later, so it is left as it is",
            hint="name a directory that you may write with --state-dir",
        ) from error
    return kept


def _replace(original: Original, text: bytes) -> None:
    temporary = _write_beside(original, text)
    try:
        _take_place(original, temporary)
    except BaseException:
        _unlink(temporary)
        raise


def _write_beside(original: Original, text: bytes) -> Path:
    """Write what is to take the place of a file, with all that the file has; return where."""
    path, status = original.path, original.status
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp"[-250:])
    with _told_of(path):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
                file.flush()
                _give_attributes(descriptor, path, status)
                os.fsync(descriptor)
        except BaseException:
            _unlink(temporary)
            raise
    return temporary


def _take_place(original: Original, temporary: Path) -> None:
    with _told_of(original.path):
        _insist_on_same(original)
        os.replace(temporary, original.path)
    _make_lasting(original.path.parent)


@contextlib.contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Raise OutputFailed for what the system refuses to do with a file."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OutputFailed(
            f"{printable(path)}: {reason}", hint="is there room, and may you write there? The old file is unchanged"
        ) from error


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _give_attributes(descriptor: int, path: Path, status: os.stat_result) -> None:
    """Give a new file what the old one had: owner, mode, and extended attributes as far as we may."""
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    for name in _attributes(path):
        with contextlib.suppress(OSError):
            os.setxattr(descriptor, name, os.getxattr(path, name, follow_symlinks=False))
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def _attributes(path: Path) -> list[str]:
    try:
        return [name for name in os.listxattr(path, follow_symlinks=False) if name not in _ATTRIBUTES_LEFT_OUT]
    except OSError:
        return []


def _insist_on_same(original: Original) -> None:
    """Raise FileChanged where the path has become another file, or the file other content."""
    then = original.status
    try:
        now = os.lstat(original.path)
    except FileNotFoundError:
        raise FileChanged(f"{printable(original.path)} is gone", hint="nothing was written; start again") from None
    if (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns) != (
        then.st_dev,
        then.st_ino,
        then.st_size,
        then.st_mtime_ns,
        then.st_ctime_ns,
    ):
        raise FileChanged(
            f"{printable(original.path)} was changed by somebody else meanwhile",
            hint="nothing was written; start again with what stands there now",
        )


def _make_lasting(folder: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def kept_folder(path: Path, state: Path) -> Path:
    """Return the directory in which what `path` was is kept."""
    folder, name = os.path.split(os.path.abspath(path))  # which knows what `.` and `..` are called
    real = os.path.join(os.path.realpath(folder), name)
    return state / "patched" / hashlib.sha256(os.fsencode(real)).hexdigest()[:32]


def remove_empty(folder: Path) -> None:
    """Remove the directory of a file of which nothing is kept any more."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def digest(data: bytes) -> str:
    """Return what names a content."""
    return hashlib.sha256(data).hexdigest()


def _forget_oldest(folder: Path) -> None:
    with contextlib.suppress(OSError):
        versions = sorted(folder.glob("[!.]*"), key=lambda kept: kept.stat().st_mtime_ns)
        for kept in versions[:-KEPT]:
            kept.unlink()

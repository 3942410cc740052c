"""Puts the files of a patched folder where they belong, and takes them back: all of them or none.

New files come first and what refers to them last, so that a folder never names a file that is not there. What was
written is noted in the state directory, by the folder's path.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from lithify.errors import FileChanged, NothingToRevert, OutputFailed
from lithify.model.patch import PatchedFile
from lithify.model.path import printable
from lithify.pipeline.write import digest, kept_folder, read_original, replace_file, revert_file

_NOTE = "folder.json"


def write_files(folder: str, files: Sequence[PatchedFile], state: Path) -> bool:
    """Write the files of a patch of `folder`; False where nothing changes.

    FileChanged where one is no longer what was read, OutputFailed where one can't be written: then none is changed.
    """
    wanted = [file for file in files if file.changed]
    if not wanted:
        return False
    for file in wanted:
        _insist_on_same(file)
    done: list[PatchedFile] = []
    try:
        for file in sorted(wanted, key=lambda one: one.before is not None):
            _write(file, state)
            done.append(file)
        _note(folder, wanted, state)
    except BaseException:
        for file in reversed(done):
            _take_back(Path(file.path), new=file.before is None, state=state)
        raise
    return True


def revert_folder(folder: str, state: Path) -> list[str]:
    """Put back what stood in a folder before it was patched last; return the files.

    NothingToRevert where no patch of it is known, or where a file is no longer what was written: then none is changed.
    """
    note = kept_folder(Path(folder), state) / _NOTE
    try:
        entries = json.loads(note.read_bytes())
    except FileNotFoundError:
        hint = "was it patched with another --state-dir?"
        raise NothingToRevert(f"no patch of {printable(folder)} is known here", hint=hint) from None
    except (OSError, ValueError) as error:
        raise OutputFailed(f"can't read {printable(note)}", hint="may you read the state directory?") from error
    for entry in entries:
        path = Path(entry["path"])
        if not path.is_file() or digest(path.read_bytes()) != entry["digest"]:
            raise NothingToRevert(
                f"{printable(path)} is not what lithify wrote", hint="take the folder's patch out by hand"
            )
    for entry in reversed(entries):
        _take_back(Path(entry["path"]), new=entry["new"], state=state)
    note.unlink()
    return [entry["path"] for entry in entries]


def _insist_on_same(file: PatchedFile) -> None:
    path = Path(file.path)
    if file.before is None:
        if os.path.lexists(path):
            raise FileChanged(f"{printable(path)} was made meanwhile", hint="start again with what stands there now")
    elif read_original(path).data != file.before:
        raise FileChanged(f"{printable(path)} was changed meanwhile", hint="start again with what stands there now")


def _write(file: PatchedFile, state: Path) -> None:
    path = Path(file.path)
    if file.before is not None:
        replace_file(read_original(path), file.after, state)
        return
    try:
        path.parent.mkdir(exist_ok=True)
        mode = 0o777 if file.executable else 0o666  # less what the user's umask takes
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(file.after)
                opened.flush()
                os.fsync(descriptor)
        except BaseException:
            path.unlink()
            raise
    except OSError as error:
        raise OutputFailed(
            f"{printable(path)}: {error.strerror}", hint="is there room, and may you write there? Nothing is changed"
        ) from error


def _take_back(path: Path, *, new: bool, state: Path) -> None:
    if not new:
        revert_file(path, state)
        return
    with contextlib.suppress(OSError):
        path.unlink()
        path.parent.rmdir()  # ours where it was made for this file; else it is not empty


def _note(folder: str, files: Sequence[PatchedFile], state: Path) -> None:
    entries = [
        {"path": os.path.abspath(file.path), "digest": digest(file.after), "new": file.before is None}
        for file in sorted(files, key=lambda one: one.before is not None)
    ]
    place = kept_folder(Path(folder), state)
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = place / f".{os.getpid()}"
        temporary.write_text(json.dumps(entries))
        os.replace(temporary, place / _NOTE)
    except OSError as error:
        raise OutputFailed(
            f"{printable(place)}: {error.strerror}: the files could not be taken back later, so none is written",
            hint="name a directory that you may write with --state-dir",
        ) from error

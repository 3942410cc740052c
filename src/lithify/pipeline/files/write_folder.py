"""Puts the files of a patch where they belong, and takes them back: all of them or none.

All are written beside what they replace before the first takes its place. New files come first and what refers to them
last, so that a folder never names a file that is not there. What was written is noted in the state directory, by the
path that the user named, before anything is changed: what a killed run leaves half done is taken back like the rest.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from lithify.errors import FileChanged, NothingToRevert, OutputFailed
from lithify.model.patch import PatchedFile
from lithify.model.path import printable
from lithify.pipeline.files.write import (
    KEPT,
    Original,
    Prepared,
    digest,
    kept_folder,
    prepare_file,
    read_original,
    remove_empty,
    revert_file,
)

_NOTE = ".files.json"


def write_files(named: str, files: Sequence[PatchedFile], state: Path) -> bool:
    """Write the files of a patch of `named`, a folder or the first of them; False where nothing changes.

    FileChanged where one is no longer what was read, OutputFailed where one can't be written: then none is changed.
    """
    wanted = sorted((file for file in files if file.changed), key=lambda one: one.before is not None)
    if not wanted:
        return False
    originals = [_insist_on_same(file) for file in wanted]
    known = _noted(named, state)
    _note(named, [*known, _entries(named, wanted)], state)
    done: list[PatchedFile] = []
    prepared: list[Prepared] = []
    try:
        for file, original in zip(wanted, originals, strict=True):
            if original is not None:
                prepared += [prepare_file(original, file.after, state)]
        for file in wanted:
            if file.before is None:
                _write_new(file)
            else:
                prepared.pop(0).take_place()
            done.append(file)
    except BaseException:
        for waiting in prepared:
            waiting.discard()
        for file in reversed(done):
            _take_back(Path(file.path), new=file.before is None, state=state)
        _note(named, known, state)
        raise
    return True


def revert(named: str, state: Path) -> list[str]:
    """Put back what stood in a file or a folder before it was patched last; return the files.

    NothingToRevert where no patch of it is known, or where a file is no longer what was written: then none is changed.
    """
    known = _noted(named, state)
    while known and not _to_take_back(known[-1]):
        known.pop()
    path = Path(named)
    if not path.is_dir() and not (known and _is_last(_entry_of(named, known[-1]), state)):
        revert_file(path, state)
        return [named]
    if not known:
        hint = "was it patched with another --state-dir?"
        raise NothingToRevert(f"no patch of {printable(named)} is known here", hint=hint)
    entries = _to_take_back(known[-1])
    for entry in entries:
        if not _is_written(entry):
            hint = f"it was changed after it was patched; {_way_out(entry, state)}; then revert the rest"
            raise NothingToRevert(f"{printable(_path_of(entry))} is not what lithify wrote", hint=hint)
    for entry in reversed(entries):
        _take_back(_path_of(entry), new=entry["before"] is None, state=state)
    _note(named, known[:-1], state)
    return [str(_path_of(entry)) for entry in entries]


def _insist_on_same(file: PatchedFile) -> Original | None:
    """Return the file that is to be replaced, None where it is a new one; FileChanged where it is not what was read."""
    path = Path(file.path)
    if file.before is None:
        if os.path.lexists(path):
            raise FileChanged(f"{printable(path)} was made meanwhile", hint="start again with what stands there now")
        return None
    if not os.path.lexists(path):
        raise FileChanged(f"{printable(path)} was removed meanwhile", hint="start again with what stands there now")
    original = read_original(path)
    if original.data != file.before:
        raise FileChanged(f"{printable(path)} was changed meanwhile", hint="start again with what stands there now")
    return original


def _write_new(file: PatchedFile) -> None:
    path = Path(file.path)
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


Entry = dict[str, str | None]
"""A file that was written: its path, and what tells its text before (null where it was none) and after."""


def _entries(named: str, files: Sequence[PatchedFile]) -> list[Entry]:
    """Return what to note; the file that the user named is in it even where it did not change."""
    found: list[Entry] = [
        {
            "path": os.path.abspath(file.path),
            "before": None if file.before is None else digest(file.before),
            "after": digest(file.after),
        }
        for file in files
    ]
    if not os.path.isdir(named) and not any(entry["path"] == os.path.abspath(named) for entry in found):
        own = digest(Path(named).read_bytes())
        found.append({"path": os.path.abspath(named), "before": own, "after": own})
    return found


def _entry_of(named: str, entries: Sequence[Entry]) -> Entry:
    return next(entry for entry in entries if entry["path"] == os.path.abspath(named))


def _path_of(entry: Entry) -> Path:
    return Path(entry["path"] or "")


def _text_of(entry: Entry) -> str | None:
    """Return what tells the text that stands there now; None where there is no file."""
    path = _path_of(entry)
    return digest(path.read_bytes()) if path.is_file() else None


def _to_take_back(entries: Sequence[Entry]) -> list[Entry]:
    """Return what a patch changed and what is not back yet; what it left as it was may have changed since."""
    return [entry for entry in entries if entry["before"] != entry["after"] and _text_of(entry) != entry["before"]]


def _is_last(entry: Entry, state: Path) -> bool:
    """Tell whether nothing of ours came after a patch of several files: the one that was named may be patched alone."""
    alone = kept_folder(_path_of(entry), state) / str(_text_of(entry))
    return _is_written(entry) or (not _to_take_back([entry]) and not alone.exists())


def _is_written(entry: Entry) -> bool:
    return _text_of(entry) == entry["after"]


def _way_out(entry: Entry, state: Path) -> str:
    """Return what to do with a file that somebody changed, so that the others can be taken back."""
    if entry["before"] is None:
        return "the patch made it, so move it away"
    kept = kept_folder(_path_of(entry), state) / str(entry["after"])
    return f"put back what stood there before: {printable(kept)}"


def _noted(named: str, state: Path) -> list[list[Entry]]:
    """Return the patches that are known, the last one last."""
    note = kept_folder(Path(named), state) / _NOTE
    try:
        found: list[list[Entry]] = json.loads(note.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise OutputFailed(f"can't read {printable(note)}", hint="may you read the state directory?") from error
    return found


def _note(named: str, known: Sequence[Sequence[Entry]], state: Path) -> None:
    place = kept_folder(Path(named), state)
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not known:
            (place / _NOTE).unlink(missing_ok=True)
            remove_empty(place)
            return
        temporary = place / f".{os.getpid()}"
        temporary.write_text(json.dumps(known[-KEPT:]))
        os.replace(temporary, place / _NOTE)
    except OSError as error:
        raise OutputFailed(
            f"{printable(place)}: {error.strerror}: the files could not be taken back later, so none is written",
            hint="name a directory that you may write with --state-dir",
        ) from error

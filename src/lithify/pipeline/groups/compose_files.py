"""Patches a Compose project that lies in several files: each plan goes into the file in which it takes effect.

A service stands in the user's file, in one that this includes, and in the override file beside it; what is merged last
counts. A plan goes to the first of these places, lowest first, where it can be said and where all files together then
come to what was planned. A file of somebody else's (a remote one, one whose path a variable decides, one that another
project uses too) is left alone.
"""

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lithify.documents.edit import Editor
from lithify.engines.compose.engine import default_overrides
from lithify.engines.temporary import temporary_folder
from lithify.errors import UsageError
from lithify.model.patch import Patched, PatchedFile, Planned, Refused
from lithify.model.path import printable
from lithify.model.project import DEFAULTS
from lithify.patch import compose
from lithify.sources.base import read_bytes
from lithify.sources.compose import Compose
from lithify.sources.compose_layers import Layer, Layers

_ASIDE = "x-lithify-include"
"""What an include is called that was replaced."""
_NO_PROJECTS = frozenset((".git", "node_modules", "vendor", "__pycache__"))
_LOOKED_AT = 20_000


def patch_project(path: str, data: bytes, planned: Sequence[Planned], manner: compose.Manner | None = None) -> Patched:
    """Return the Compose file `data`, which stands at `path`, and the files that belong to it, with each plan in them.

    As `patch.compose.patch`; where other files change, `files` has every one that does.
    """
    try:
        return _Project(path, data, planned, manner or compose.Manner()).patch()
    except ValueError:  # what stands there is no plain data
        return compose.patch(data, planned, manner)


class _Project:
    """A project that is being patched."""

    def __init__(self, path: str, data: bytes, planned: Sequence[Planned], manner: compose.Manner) -> None:
        self.path = path
        self.planned = {one.container: one for one in planned}
        self.manner = manner
        self.read = {os.path.abspath(path): data}
        """What the files say that are part of it, by absolute path."""
        self.layers = self._layers({})
        self.services = {name: self.layers.effective(name) for name in self.planned}
        self.tables = self.layers.tables()
        self.places = {name: self.layers.of(name) for name in self.planned}
        """Where each may be written, still to be tried."""
        self.users: dict[str, dict[str, str]] = {}
        """Who else uses a file, by the folder that was searched and the file's real path."""
        self.refused: dict[str, Refused] = {}
        """Why the first place of each would not do."""

    def patch(self) -> Patched:
        """Try each plan in one place after the other, until it stands in one where it takes effect."""
        while True:
            files: dict[str, Patched] = {}
            failed = [name for name, places in self.places.items() if places and not self._write(files, name)]
            if not failed:
                failed = self._without_effect(files)
            if not failed:
                return self._result(files)
            for name in failed:
                del self.places[name][0]

    def _write(self, files: dict[str, Patched], name: str) -> bool:
        """Write a plan into the first of its places; False where that is not to be."""
        place, service = self.places[name][0], self.services[name]
        one = replace(self.planned[name], document=place.document, route=place.route)
        reason = self._obstacle(place)
        if reason:
            self._refuse(name, reason)
            return False
        around = compose.Around(
            service=service,
            services=self.layers.services,
            tables=self.tables,
            extended_by=self.layers.extended_by(place),
        )
        key = os.path.abspath(place.path)
        before = files.get(key, Patched(text=self.read[key]))
        after = compose.patch(before.text, [one], self.manner, around={name: around})
        if after.refused:
            self.refused.setdefault(name, self._where(after.refused[0], place))
            return False
        files[key] = replace(after, changes=before.changes + after.changes, notes=before.notes + after.notes)
        return True

    def _without_effect(self, files: Mapping[str, Patched]) -> list[str]:
        """Return which services don't come to their plan, whatever was written: another file says otherwise."""
        layers = self._layers({key: patched.text for key, patched in files.items()})
        failed = []
        for name, places in self.places.items():
            if places and self._is_missing(name, layers.effective(name)):
                self._refuse(name, f"what would stand in {printable(places[0].path)} is taken back by another file")
                failed.append(name)
        return failed

    def _is_missing(self, name: str, service: dict[str, Any]) -> bool:
        try:
            return compose.is_missing(self.planned[name], service, self.manner)
        except UsageError:
            return False

    def _result(self, files: Mapping[str, Patched]) -> Patched:
        main = os.path.abspath(self.path)
        others = {key: patched for key, patched in files.items() if patched.text != self.read[key] and key != main}
        for name, one in self.planned.items():
            if not self.places[name] and name not in self.refused:
                self.refused[name] = self._nowhere(one)
        changed = [*([main] if others and main in files else []), *others]
        return Patched(
            text=files[main].text if main in files else self.read[main],
            changes=tuple(change for patched in files.values() for change in patched.changes),
            refused=tuple(self._remedied(self.refused[name]) for name in self.planned if not self.places[name]),
            notes=tuple(note for patched in files.values() for note in patched.notes) + tuple(map(self._also, others)),
            files=tuple(
                PatchedFile(path=self._shown(key), before=self.read[key], after=files[key].text) for key in changed
            ),
        )

    def _obstacle(self, place: Layer) -> str:
        """Return why a file is not to be changed; nothing where it may be."""
        if os.path.abspath(place.path) == os.path.abspath(self.path):
            return ""
        shown = printable(place.path)
        if self.path == "-":
            return f"it stands in {shown}, and only standard input is patched here"
        if "$" in place.asked:
            return f"it stands in {shown}, a path that a variable decides: {printable(place.asked)}"
        if os.path.islink(place.path):
            return f"it stands in {shown}, which is a link to {printable(os.path.realpath(place.path))}"
        other = self._other_user(place.path) if place.asked else ""
        return f"it stands in {shown}, which {printable(other)} uses as well, and would change with it" if other else ""

    def _other_user(self, included: str) -> str:
        """Return another Compose file that uses an included one, of those that lie near; nothing where none does."""
        root = _root(*(os.path.dirname(os.path.abspath(each)) for each in (self.path, included)))
        if root not in self.users:
            self.users[root] = _users(root, self.layers.paths)
        return self.users[root].get(os.path.realpath(included), "")

    def _nowhere(self, one: Planned) -> Refused:
        """Return why a service that no file here describes is left alone."""
        (refused,) = compose.patch(self.read[os.path.abspath(self.path)], [one], self.manner).refused
        away = [reason for reason in self.layers.not_followed if "is not followed" in reason]
        return replace(refused, reason=f"the service is in no file of this project: {away[0]}") if away else refused

    def _refuse(self, name: str, reason: str) -> None:
        by_hand = compose.by_hand(self.planned[name], self.services[name], self.manner, self.layers.services)
        refused = Refused(container=name, reason=reason, by_hand=by_hand, remedy=compose.OVERRIDE)
        self.refused.setdefault(name, refused)

    def _where(self, refused: Refused, place: Layer) -> Refused:
        """Return a refusal that says in which file the service stands, where it is not the user's."""
        if os.path.abspath(place.path) == os.path.abspath(self.path):
            return refused
        return replace(refused, reason=f"it stands in {printable(place.path)}, and there {refused.reason}")

    def _remedied(self, refused: Refused) -> Refused:
        there = default_overrides(Path(self.path))
        if not there or refused.remedy != compose.OVERRIDE:
            return refused
        return replace(refused, remedy=f"Merge this into {printable(str(there[0]))}, which Compose reads last")

    def _layers(self, texts: Mapping[str, bytes]) -> Layers:
        def read(path: str) -> bytes | str:
            key = os.path.abspath(path)
            known = texts.get(key, self.read.get(key))
            if known is None:
                found = read_bytes(path)
                if isinstance(found, str):
                    return found
                known = self.read[key] = found
            return known

        main = os.path.abspath(self.path)
        return Layers(self.path, texts.get(main, self.read[main]), read)

    def _shown(self, key: str) -> str:
        """Return a path as the user would write it."""
        return os.path.relpath(key) if not os.path.isabs(self.path) else key

    def _also(self, key: str) -> str:
        """Say of a file other than the user's that it is changed, and for whom else."""
        folder, name = os.path.split(key)
        alone = f", and for who starts the project in {printable(folder)} too" if name in DEFAULTS else ""
        return f"the patch changes {printable(self._shown(key))}{alone}"


def _users(root: str, ours: set[str]) -> dict[str, str]:
    """Return which other Compose file of a folder uses each of `ours`, by real path; all in one search."""
    own = {os.path.realpath(each) for each in ours}
    near = list(_near(root))
    links = (each for each in near if os.path.islink(each) and os.path.realpath(each) in own)
    names = {os.path.basename(each).encode() for each in (*own, *links)}
    found: dict[str, str] = {}
    for path in near:
        data = b"" if os.path.realpath(path) in own else read_bytes(path)
        if isinstance(data, bytes) and _may_use(data, names):
            project = Compose(path, stack=False)
            project.read(data)
            for used in project.opened if project.said else ():
                found.setdefault(os.path.realpath(used), os.path.relpath(path))
    return found


def _may_use(data: bytes, names: Iterable[bytes]) -> bool:
    return (b"include" in data or b"extends" in data) and any(name in data for name in names)


def _root(*folders: str) -> str:
    """Return the repository that folders lie in, or else what they have in common."""
    root = os.path.commonpath(folders)
    above = [root, *map(str, Path(root).parents)]
    return next((each for each in above if os.path.exists(os.path.join(each, ".git"))), root)


def _near(root: str) -> Iterator[str]:
    """Yield the YAML files below a folder, nearest first.

    Links to folders are not followed, and it ends after some thousand names.
    """
    waiting = deque([root])
    looked = 0
    while waiting and looked < _LOOKED_AT:
        folder, inner, names = next(os.walk(waiting.popleft()), ("", [], []))
        below = (os.path.join(folder, each) for each in sorted(inner) if each not in _NO_PROJECTS)
        waiting.extend(each for each in below if not os.path.islink(each))
        yield from (os.path.join(folder, each) for each in sorted(names) if re.search(r"\.ya?ml$", each))
        looked += len(names) + len(inner)


@contextmanager
def laid_out(path: Path, patched: Patched) -> Iterator[tuple[bytes, tuple[Path, ...]]]:
    """Give the text and the override files with which Compose reads a project as it is patched, on disk as it was.

    Uneditable where one of the files can't be made to include what was patched.
    """
    texts = {os.path.abspath(file.path): file.after for file in patched.files}
    overrides = default_overrides(path)
    if not texts:
        yield patched.text, overrides
        return
    with temporary_folder() as folder:
        laid = _Laid(folder, texts)
        directory = str(path.absolute().parent)
        others = tuple(Path(laid.place(str(other.absolute()), directory) or other) for other in overrides)
        yield laid.relocated(patched.text, directory), others


@dataclass
class _Laid:
    """Patched files laid out in a folder of ours, each read as if it lay where the user has it."""

    folder: Path
    texts: Mapping[str, bytes]
    placed: dict[str, str] = field(default_factory=dict)

    def place(self, path: str, directory: str) -> str:
        """Return where a file is to be read instead; nothing where neither it nor what it includes is patched."""
        if path in self.placed:
            return self.placed[path]
        self.placed[path] = ""
        target = self.folder / f"{len(self.placed)}.yaml"
        held = self.texts.get(path) or read_bytes(path)
        if isinstance(held, bytes):
            moved = self.relocated(held, directory)
            if moved != held or path in self.texts:
                target.write_bytes(moved)
                self.placed[path] = str(target)
        return self.placed[path]

    def relocated(self, text: bytes, directory: str) -> bytes:
        """Return a text that includes files where they are laid out."""
        for document in Editor(text).documents():
            editor = Editor(text)
            draft = editor.draft(document.index)
            listed = draft.get(("include",))
            items = [self._moved(item, directory) for item in listed] if isinstance(listed, list) else []
            if any(items):
                draft.rename(("include",), _ASIDE)
                editor = Editor(editor.apply())
                new = [new or old for new, old in zip(items, listed, strict=True)]
                editor.draft(document.index).set(("include",), new)
                text = editor.apply()
        return text

    def _moved(self, item: Any, directory: str) -> dict[str, Any] | None:
        """Return an include of files where they are laid out; None where it has none of those."""
        asked = item if isinstance(item, dict) else {"path": item}
        path = asked.get("path")
        names = [str(name) for name in (path if isinstance(path, list) else [path])]
        if any("$" in name or "://" in name for name in names):
            return None
        paths = [os.path.normpath(os.path.join(directory, name)) for name in names]
        own = os.path.normpath(os.path.join(directory, asked.get("project_directory") or os.path.dirname(paths[0])))
        moved = [self.place(each, own) for each in paths]
        if not any(moved):
            return None
        both = [new or old for new, old in zip(moved, paths, strict=True)]
        return {**asked, "path": both, "project_directory": own}

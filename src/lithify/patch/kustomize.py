"""Mount plans written for kustomizations: a patch file for each object, and its line in the kustomization.

A patch is applied before the kustomization's own name prefix, suffix and namespace, so that it names the object as it
is called by then. What comes out is built, in a copy, and has to be exactly what was planned.
"""

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lithify.documents.edit import Editor
from lithify.documents.emit import render_block
from lithify.documents.splice import Uneditable
from lithify.documents.yaml import Document, read_documents, to_python
from lithify.engines.kustomize import build_changed, file_of
from lithify.errors import EngineRefused, EngineUnreachable, InvalidInput
from lithify.model.patch import Change, Patched, PatchedFile, PatchedFiles, Refused
from lithify.model.path import printable
from lithify.patch.difference import normal, patch_of
from lithify.patch.pods import id_of, needs, read_objects

Pair = tuple[dict[str, Any], dict[str, Any]]
"""An object before and after."""


def patch(folder: str, before: bytes, after: Patched) -> PatchedFiles:
    """Return the files that make the kustomization in `folder` build `after`, which is `before`, what it builds, with
    the plans in it. InvalidInput where there is no kustomization, or it can't be read."""
    path = file_of(folder)
    if path is None:
        raise InvalidInput(
            f"{printable(folder)} holds no kustomization", hint="name the folder of a kustomization.yaml"
        )
    planned = {id_of(item): item for item in read_objects(after.text)}
    pairs = [
        (item, planned[id_of(item)])
        for item in read_objects(before)
        if id_of(item) in planned and normal(item) != normal(planned[id_of(item)])
    ]
    if not pairs:
        return PatchedFiles(refused=after.refused, notes=after.notes, manifests=before)
    with open(path, "rb") as file:
        data = file.read(4 << 20)
    own = _read(data)
    problem = ""
    renamed = (own, {}) if own.get("namePrefix") or own.get("nameSuffix") else (own,)
    for names, by_index in itertools.product(renamed, (False, True)):
        try:
            files = _files(folder, path, data, names, pairs, by_index=by_index)
            built, note = _built(folder, files)
        except (Uneditable, EngineRefused) as error:
            problem = str(error)
            continue
        problem = "" if not built else _difference(built, pairs)
        if not problem:
            return PatchedFiles(
                files=tuple(files),
                changes=tuple(_changes(pairs)),
                refused=after.refused,
                notes=(*after.notes, *([note] if note else [])),
                manifests=built,
            )
    by_hand = "---\n".join(_text(old, new) for old, new in pairs)
    containers = dict.fromkeys(
        str(need.place) for old, new in pairs for need in needs([old], [new]) if need.place.container
    )
    refused = tuple(Refused(container=name, reason=problem, by_hand=by_hand) for name in containers)
    return PatchedFiles(refused=(*after.refused, *refused), notes=after.notes)


def _files(
    folder: str, path: str, data: bytes, own: Mapping[str, Any], pairs: Sequence[Pair], *, by_index: bool
) -> list[PatchedFile]:
    """Return the patch files and the kustomization with their lines."""
    editor = Editor(data)
    draft = editor.draft(0)
    made: list[PatchedFile] = []
    for before, after in pairs:
        name = _free(folder, before, [file.path for file in made])
        draft.append(("patches",), {"path": name, "target": _target(before, own)})
        text = _text(before, after, by_index=by_index).encode()
        made.append(PatchedFile(path=os.path.join(folder, name), before=None, after=text))
    return [*made, PatchedFile(path=path, before=data, after=editor.apply())]


def _built(folder: str, files: Sequence[PatchedFile]) -> tuple[bytes, str]:
    """Return what comes out; nothing, and why, where neither kustomize nor kubectl is here."""
    try:
        return build_changed(folder, {file.path: file.after for file in files}), ""
    except EngineRefused:
        raise
    except EngineUnreachable as error:
        return b"", f"the patch was not tried: {error}"


def _difference(built: bytes, pairs: Sequence[Pair]) -> str:
    found = {id_of(item): normal(item) for item in read_objects(built)}
    wrong = [id_of(after) for _, after in pairs if found.get(id_of(after)) != normal(after)]
    names = ", ".join(f"{kind}/{name}" for kind, _, name in wrong)
    return f"Kustomize makes something else of the patch than was planned: {names}" if wrong else ""


def _text(before: Mapping[str, Any], after: Mapping[str, Any], *, by_index: bool = False) -> str:
    return "\n".join([*render_block(patch_of(before, after, by_index=by_index), step=2, listed=2), ""])


def _target(item: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, str]:
    """Return what the object is called when the patch comes to it."""
    kind, namespace, name = id_of(item)
    prefix, suffix = str(own.get("namePrefix") or ""), str(own.get("nameSuffix") or "")
    name = name.removeprefix(prefix)
    name = name.removesuffix(suffix) if suffix else name
    target = {"kind": kind, "name": name.replace(".", "\\.")}
    if namespace and not own.get("namespace"):
        target["namespace"] = namespace
    return target


def _free(folder: str, item: Mapping[str, Any], taken: Sequence[str]) -> str:
    kind, _, name = id_of(item)
    word = re.sub(r"[^a-z0-9.-]+", "-", f"lithify-{kind}-{name}".lower())
    number = 1
    while True:
        file = f"{word}{f'-{number}' if number > 1 else ''}.yaml"
        path = os.path.join(folder, file)
        if path not in taken and not os.path.lexists(path):
            return file
        number += 1


def _changes(pairs: Sequence[Pair]) -> list[Change]:
    found = [
        Change(container=str(need.place), document=0, route=("patches",), text=f"patches {need.field or 'the pod'}")
        for old, new in pairs
        for need in needs([old], [new])
    ]
    return list(dict.fromkeys(found))


def _read(data: bytes) -> dict[str, Any]:
    for document in read_documents(data):
        if isinstance(document, Document):
            value = to_python(document.root)
            return value if isinstance(value, dict) else {}
    raise InvalidInput("the kustomization can't be read")

"""Mount plans written for kustomizations: a patch file for each object, and its line in the kustomization.

A patch is applied before the kustomization's own name prefix, suffix and namespace, so that it names the object as it
is called by then. What comes out is built, in a copy, and has to be exactly what was planned.
"""

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lithify.documents.edit import Editor
from lithify.documents.emit import render_block
from lithify.documents.nodes import to_python
from lithify.documents.splice import Uneditable
from lithify.documents.yaml import Document, read_documents
from lithify.engines.kustomize import build_changed, file_of
from lithify.errors import EngineRefused, EngineUnreachable, InvalidInput
from lithify.model.patch import Change, Patched, PatchedFile, PatchedFiles, Refused
from lithify.model.path import printable
from lithify.patch.difference import normal, patch_of
from lithify.patch.pods import (
    CLAIM,
    added,
    additions,
    id_of,
    needs,
    pods_of,
    read_objects,
    seeds_of,
    with_claims,
)

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
    old, new = read_objects(before), read_objects(after.text)
    planned = {id_of(item): item for item in new}
    pairs = [
        (item, planned[id_of(item)])
        for item in old
        if id_of(item) in planned and normal(item) != normal(planned[id_of(item)])
    ]
    claims = added(old, new)
    if not pairs:
        return PatchedFiles(refused=after.refused, notes=after.notes, manifests=before)
    with open(path, "rb") as file:
        data = file.read(4 << 20)
    own = _read(data)
    problem = ""
    renamed = (own, {}) if own.get("namePrefix") or own.get("nameSuffix") else (own,)
    for names, follow, by_index in itertools.product(renamed, (True, False), (False, True)):
        try:
            files = _files(folder, path, data, names, pairs, claims, by_index=by_index, follow=follow)
            built, note = _built(folder, files)
        except (Uneditable, EngineRefused) as error:
            problem = str(error)
            continue
        problem = "" if not built else _difference(built, pairs, _renamed(claims, own))
        if not problem:
            return PatchedFiles(
                files=tuple(files),
                changes=(*_changes(pairs), *additions(claims, ("resources",))),
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
    folder: str,
    path: str,
    data: bytes,
    own: Mapping[str, Any],
    pairs: Sequence[Pair],
    claims: Sequence[dict[str, Any]],
    *,
    by_index: bool,
    follow: bool,
) -> list[PatchedFile]:
    """Return the patch files, one of the claims that are added, and the kustomization with their lines.

    With `follow` what fills a place runs the image of its container, whatever that will be.
    """
    editor = Editor(data)
    draft = editor.draft(0)
    made: list[PatchedFile] = []
    for before, after in pairs:
        name = _free(folder, "-".join(("lithify", id_of(before)[0], id_of(before)[2])), [file.path for file in made])
        draft.append(("patches",), {"path": name, "target": _target(before, own)})
        text = _text(before, after, by_index=by_index).encode()
        made.append(PatchedFile(path=os.path.join(folder, name), before=None, after=text))
        for replacement in _images(before, after, own) if follow else ():
            draft.append(("replacements",), replacement)
    if claims:
        name = _free(folder, "lithify-claims", [file.path for file in made])
        draft.append(("resources",), name)
        texts = ("\n".join([*render_block(claim, step=2, listed=2), ""]) for claim in claims)
        made.append(PatchedFile(path=os.path.join(folder, name), before=None, after="---\n".join(texts).encode()))
    return [*made, PatchedFile(path=path, before=data, after=editor.apply())]


def _built(folder: str, files: Sequence[PatchedFile]) -> tuple[bytes, str]:
    """Return what comes out; nothing, and why, where neither kustomize nor kubectl is here."""
    try:
        return build_changed(folder, {file.path: file.after for file in files}), ""
    except EngineRefused:
        raise
    except EngineUnreachable as error:
        return b"", f"the patch was not tried: {error}"


def _renamed(claims: Sequence[Mapping[str, Any]], own: Mapping[str, Any]) -> dict[str, str]:
    """Return what the kustomization calls the claims that are added, by how the plan does."""
    prefix, suffix = str(own.get("namePrefix") or ""), str(own.get("nameSuffix") or "")
    return {name: f"{prefix}{name}{suffix}" for name in (str(claim["metadata"]["name"]) for claim in claims)}


def _difference(built: bytes, pairs: Sequence[Pair], claims: Mapping[str, str]) -> str:
    objects = read_objects(built)
    found = {id_of(item): normal(item) for item in objects}
    wrong = [id_of(after) for _, after in pairs if found.get(id_of(after)) != normal(with_claims(after, claims))]
    called = {id_of(item)[2] for item in objects if item.get("kind") == CLAIM}
    wrong += [(CLAIM, "", name) for name in claims.values() if name not in called]
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


def _images(before: Mapping[str, Any], after: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what gives each seed the image of its container, which an overlay or the next version may change."""
    target = _target(before, own)
    target["name"] = target["name"].replace("\\.", ".")
    for (route, old), (_, new) in zip(pods_of(before), pods_of(after), strict=True):
        for seed, (key, owner) in seeds_of(old, new).items():
            held, filled = (
                ".".join((*map(str, route), listed, f"[name={name}]", "image"))
                for listed, name in ((key, owner), ("initContainers", seed))
            )
            yield {
                "source": {**target, "fieldPath": held},
                "targets": [{"select": target, "fieldPaths": [filled]}],
            }


def _free(folder: str, name: str, taken: Sequence[str]) -> str:
    word = re.sub(r"[^a-z0-9.-]+", "-", name.lower())
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

"""Workloads of kustomizations, built by kustomize or kubectl itself."""

import os
from collections.abc import Iterator

from lithify.documents.nodes import MappingNode, Node, ScalarNode, SequenceNode, entries
from lithify.documents.yaml import Document, read_documents
from lithify.errors import EngineRefused, EngineUnreachable
from lithify.sources.base import KUSTOMIZATIONS, Reading, left_out, read_kustomization_file, unreadable
from lithify.sources.helm import places
from lithify.sources.manifest import read_manifest


def read_kustomization(folder: str) -> Reading:
    """Return the workloads that the kustomization in `folder` builds; places are the kustomization
    itself, as what was built has none.

    Without kustomize and kubectl, or where they fail, it is left out with the reason. Nothing is fetched.
    """
    from lithify.engines.kustomize import build

    try:
        built = build(folder)
    except EngineRefused as error:
        return unreadable(folder, str(error))
    except EngineUnreachable:
        return left_out(folder, "a kustomization, and neither kustomize nor kubectl is installed")
    reading = read_manifest(folder, built)
    reading.depends = True
    kustomization = next(
        (path for name in KUSTOMIZATIONS if os.path.exists(path := os.path.join(folder, name))), folder
    )
    for location in places(reading):
        location.redirect(kustomization, lambda _line, _column: (1, 1))
    return reading


_PATCHES = ("patches", "patchesStrategicMerge", "patchesJson6902")
_READ = ("resources", "bases", "components", "crds", "configurations", "generators", "transformers", "validators")


def patch_files(kustomization: bytes) -> Iterator[str]:
    """Yield the files that a kustomization merges into its resources."""
    return _named(kustomization, _PATCHES)


def files_of(folder: str) -> set[str]:
    """Return the files that the kustomization of a folder is built from, those of other folders that it names too.

    All by their real paths: links to folders above could name each in ways without number.
    """
    found: set[str] = set()
    stack = [os.path.realpath(folder)]
    while stack:
        path = stack.pop()
        if path in found:
            continue
        found.add(path)
        if os.path.isdir(path):
            found.update(os.path.join(path, name) for name in KUSTOMIZATIONS)
            names = _named(read_kustomization_file(path), (*_READ, *_PATCHES, "replacements"))
            stack += [os.path.realpath(os.path.join(path, name)) for name in names if name.isprintable()]
    return found


def _named(kustomization: bytes, keys: tuple[str, ...]) -> Iterator[str]:
    """Yield the files and folders that a kustomization names under some keys."""
    for document in read_documents(kustomization):
        if isinstance(document, Document) and type(document.root) is MappingNode:
            found = entries(document.root)
            for key in keys:
                yield from _paths(found.get(key))


def _paths(node: Node) -> Iterator[str]:
    for item in node.value if type(node) is SequenceNode else ():
        path = entries(item).get("path") if type(item) is MappingNode else item
        if type(path) is ScalarNode:
            yield path.value

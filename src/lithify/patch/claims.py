"""What the claims are called that a patch adds to a manifest: one name for each place, however long its parts are."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import count
from typing import Any

from lithify.documents.nodes import to_python
from lithify.documents.yaml import read_documents
from lithify.model.workload import CONTAINER_LISTS
from lithify.patch.pods import CLAIM, id_of, pods_of

_NAME_LIMIT = 63
"""Claims may have longer names, and what makes folders and labels of them often may not."""
JOINT = "--"
"""Between the parts of a name, which don't hold it: claims of all files of a namespace are beside each other, and `a-b`
with `c` must not be called as `a` with `b-c`."""


def joined(kind: str, workload: str, part: str) -> str:
    """Return what the claim for a part of a workload is called, as no claim for another workload is."""
    owner = slug(workload)
    if owner != workload:
        owner = f"{owner}-{_digest(workload)}"
    return JOINT.join(
        (owner, *(() if kind == "Deployment" else (slug(kind),)), part.removeprefix(f"{slug(workload)}-"))
    )


def slug(text: str) -> str:
    """Return text as a part of a name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


class ClaimNames:
    """The names of claims in one file: those that it has, and those that its patch gives."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.given: dict[tuple[str, str], object] = {}

    def name_for(self, place: object, wish: str, namespace: str) -> str:
        """Return what the claim of `place` is called: like `wish`, and like no claim that another place has.

        A claim that stands in the file and that nothing there mounts is taken to be meant for it, also one by the name
        that earlier versions gave, whose parts were joined by one dash.
        """
        earlier = (namespace, _shortened(wish.replace(JOINT, "-")))
        if earlier in self.standing - self.mounted and self.given.setdefault(earlier, place) == place:
            return earlier[1]
        for number in count():
            name = _shortened(wish if not number else f"{wish}-{_digest(f'{wish} {number}')}")
            key = (namespace, name)
            if key not in self.mounted and self.given.setdefault(key, place) == place:
                return name
        raise AssertionError

    @cached_property
    def standing(self) -> set[tuple[str, str]]:
        """Namespace and name of the claims that stand in the file."""
        return {(namespace, name) for kind, namespace, name in map(id_of, self._objects()) if kind == CLAIM}

    @cached_property
    def mounted(self) -> set[tuple[str, str]]:
        """Namespace and name of the claims that a container of the file mounts."""
        return {(id_of(item)[1], name) for item in self._objects() for _, pod in pods_of(item) for name in _claims(pod)}

    def _objects(self) -> Iterator[dict[str, Any]]:
        for document in read_documents(self.data, lambda text: b"ersistentVolumeClaim" in text):
            root = getattr(document, "root", None)
            held = to_python(root) if root is not None else None
            listed = held.get("items") if isinstance(held, dict) else None
            yield from (one for one in (held, *(listed if isinstance(listed, list) else ())) if isinstance(one, dict))


def _claims(pod: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the claims that a pod mounts."""
    containers = [one for key in CONTAINER_LISTS for one in pod.get(key) or () if isinstance(one, dict)]
    mounts = [one for container in containers for one in container.get("volumeMounts") or () if isinstance(one, dict)]
    names = {mount.get("name") for mount in mounts}
    for volume in pod.get("volumes") or ():
        claim = volume.get("persistentVolumeClaim") if isinstance(volume, dict) else None
        if isinstance(claim, dict) and volume.get("name") in names:
            yield str(claim.get("claimName"))


def _shortened(name: str) -> str:
    if len(name) <= _NAME_LIMIT:
        return name
    return f"{name[: _NAME_LIMIT - 9].rstrip('-')}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]

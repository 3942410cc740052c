"""What takes an object from one state to another: as a strategic merge patch, or as a JSON patch.

A strategic merge patch names list items by their merge key and so survives changes elsewhere; the API server and
Kustomize know merge keys only for the kinds that Kubernetes itself has. Everything else gets a JSON patch, by index.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from lithify.model.json_patch import pointer

BUILT_IN = frozenset(("Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "PodTemplate",
                      "ReplicationController"))  # fmt: skip
"""Kinds whose pod specs have merge keys everywhere."""

_KEYS = {
    "containers": "name", "initContainers": "name", "ephemeralContainers": "name", "volumes": "name", "env": "name",
    "volumeMounts": "mountPath", "volumeDevices": "devicePath", "imagePullSecrets": "name",
}  # fmt: skip
_ANY_ORDER = frozenset(("volumes", "volumeMounts"))
"""Lists whose order says nothing to the kubelet."""


class NoStrategicPatch(ValueError):
    """The change can't be said as a strategic merge patch."""


def strategic_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the smallest strategic merge patch that makes `after` of `before`; NoStrategicPatch where there is none.

    It says what object it is for. New init containers come before those that are there, as Kustomize adds them.
    """
    patch = _strategic(before, after)
    named = {key: before[key] for key in ("apiVersion", "kind") if key in before}
    metadata = before.get("metadata") or {}
    named["metadata"] = {key: metadata[key] for key in ("name", "namespace") if key in metadata}
    if set(patch.get("metadata") or {}) & set(named["metadata"]):
        raise NoStrategicPatch("the name of an object can't change")
    return {**named, **patch, "metadata": {**named["metadata"], **(patch.get("metadata") or {})}} if patch else {}


def _strategic(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, new in after.items():
        old = before.get(key)
        if key in before and _equal(old, new):
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            patch[key] = _strategic(old, new)
        elif isinstance(new, list) and isinstance(old, list) and old and key in _KEYS:
            patch[key] = _merged_list(key, old, new)
        else:
            patch[key] = new
    return patch


def _merged_list(key: str, old: Sequence[Any], new: Sequence[Any]) -> list[Any]:
    name = _KEYS[key]
    if not all(isinstance(item, dict) and name in item for item in (*old, *new)):
        raise NoStrategicPatch(f"an item of {key} has no {name}")
    known = {item[name]: item for item in old}
    wanted = {item[name]: item for item in new}
    if len(known) < len(old) or len(wanted) < len(new):
        raise NoStrategicPatch(f"two items of {key} have the same {name}")
    gone = [{name: item, "$patch": "delete"} for item in known if item not in wanted]
    patch = [
        {name: item, **_strategic(known[item], value)} if item in known else value
        for item, value in wanted.items()
        if item not in known or not _equal(known[item], value)
    ]
    return gone + patch


def patch_of(before: Mapping[str, Any], after: Mapping[str, Any], *, by_index: bool = False) -> Any:
    """Return the patch that makes `after` of `before`: a strategic one where its kind has one, unless `by_index`."""
    after = _aligned(before, after)
    if before.get("kind") in BUILT_IN and not by_index:
        with suppress(NoStrategicPatch):
            return strategic_patch(before, after)
    return json_patch(before, after)


def _aligned(before: Any, after: Any, key: str = "") -> Any:
    """Return `after` with the lists whose order says nothing in the order that they have in `before`."""
    if isinstance(before, dict) and isinstance(after, dict):
        return {name: _aligned(before.get(name), value, name) for name, value in after.items()}
    if isinstance(before, list) and isinstance(after, list):
        name = _KEYS.get(key, "name")
        if not all(isinstance(item, dict) and name in item for item in (*before, *after)):
            return after
        known = {item[name]: index for index, item in enumerate(before)}
        ordered = sorted(after, key=lambda item: known.get(item[name], len(known))) if _any_order(key, after) else after
        return [_aligned(before[known[item[name]]], item) if item[name] in known else item for item in ordered]
    return after


def _any_order(key: str, items: Sequence[Any]) -> bool:
    """Tell whether the order of a list says nothing; variables may refer to those before them."""
    return key in _ANY_ORDER or (key == "env" and "$(" not in str(items))


def json_patch(before: Any, after: Any, path: str = "") -> list[dict[str, Any]]:
    """Return the operations of a JSON patch (RFC 6902) that make `after` of `before`."""
    return list(_operations(before, after, path))


def _operations(before: Any, after: Any, path: str) -> Iterator[dict[str, Any]]:
    if _equal(before, after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before:
            if key not in after:
                yield {"op": "remove", "path": path + pointer(key)}
        for key, value in after.items():
            if key not in before:
                yield {"op": "add", "path": path + pointer(key), "value": value}
            else:
                yield from _operations(before[key], value, path + pointer(key))
    elif isinstance(before, list) and isinstance(after, list) and (front := _added_in_front(before, after)) is not None:
        for index, item in enumerate(before):
            changes = list(_operations(item, after[index + front], f"{path}/{index}"))
            name = item.get("name") if isinstance(item, dict) else None
            if changes and isinstance(name, str):
                # with other values there may be another at this index, and what is for this one is not for that
                yield name_test(f"{path}/{index}", name)
            yield from changes
        for item in after[front + len(before) :]:
            yield {"op": "add", "path": f"{path}/-", "value": item}
        for item in reversed(after[:front]):
            yield {"op": "add", "path": f"{path}/0", "value": item}
    else:
        yield {"op": "replace", "path": path, "value": after}


def name_test(path: str, name: str) -> dict[str, Any]:
    """Return the operation of a JSON patch that fails where what is at `path` is called otherwise."""
    return {"op": "test", "path": f"{path}/name", "value": name}


def _added_in_front(before: Sequence[Any], after: Sequence[Any]) -> int | None:
    """Return how many items come before the first one that was there; None where items go."""
    if len(after) < len(before) or not before:
        return None
    name = before[0].get("name") if isinstance(before[0], dict) else None
    for index, item in enumerate(after[: len(after) - len(before) + 1]):
        if _equal(item, before[0]) or (name is not None and isinstance(item, dict) and item.get("name") == name):
            return index
    return 0


def normal(value: Any, key: str = "") -> Any:
    """Return an object in a form in which two that mean the same are equal: lists whose order says nothing are sorted.

    What is empty and what is not there are the same to the API server.
    """
    if isinstance(value, dict):
        made = {name: normal(item, name) for name, item in value.items()}
        return {name: item for name, item in made.items() if item not in (None, {}, [])}
    if isinstance(value, list):
        items = [normal(item) for item in value]
        if _any_order(key, value) and all(isinstance(item, dict) for item in items):
            items.sort(key=lambda item: str(item.get(_KEYS[key])))
        return items
    return value


def _equal(one: Any, other: Any) -> bool:
    """Compare as JSON does: true is not 1."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)

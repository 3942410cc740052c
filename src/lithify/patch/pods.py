"""The pod specs in rendered manifests, as plain data, and what differs between two of them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lithify.documents.nodes import to_python
from lithify.documents.yaml import Broken, read_documents
from lithify.errors import InvalidInput
from lithify.model.location import Route
from lithify.model.patch import Change
from lithify.model.workload import CONTAINER_LISTS
from lithify.patch.difference import normal

ObjectId = tuple[str, str, str]
"""Kind, namespace and name."""

LISTS = ("volumeMounts", "env", "volumes", "initContainers")
"""Fields to which items are added."""
CLAIM = "PersistentVolumeClaim"


@dataclass(frozen=True, slots=True)
class Place:
    """A pod spec, or a container in it."""

    object: ObjectId
    pod: Route
    container: tuple[str, str] | None = None
    """The list it stands in, and its name."""

    def __str__(self) -> str:
        kind, _, name = self.object
        return f"{kind}/{name}" + (f"/{self.container[1]}" if self.container else "")


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that has to be different at a place."""

    place: Place
    field: str
    leaf: str
    """The key within the field; nothing for an item of a list, and for what only a patch can say."""
    value: Any

    @property
    def sayable(self) -> bool:
        """Tell whether values of a chart could say it."""
        return bool(self.leaf) or self.field in LISTS


def read_objects(data: bytes) -> list[dict[str, Any]]:
    """Return the objects of a manifest, lists taken apart; InvalidInput where it can't be read."""
    found: list[dict[str, Any]] = []
    for document in read_documents(data):
        if isinstance(document, Broken):
            raise InvalidInput(f"line {document.line} of the rendered manifests can't be read: {document.reason}")
        try:
            value = to_python(document.root)
        except ValueError as error:
            raise InvalidInput(f"the rendered manifests can't be read: {error}") from error
        items = value.get("items") if isinstance(value, dict) and value.get("kind") == "List" else [value]
        found += [item for item in items or [] if isinstance(item, dict)]
    return found


def id_of(item: Mapping[str, Any]) -> ObjectId:
    """Return what an object is called."""
    metadata = item.get("metadata") or {}
    return str(item.get("kind") or ""), str(metadata.get("namespace") or ""), str(metadata.get("name") or "")


def pods_of(value: Any, route: Route = ()) -> Iterator[tuple[Route, dict[str, Any]]]:
    """Yield each pod spec in an object: whatever holds a list of containers, in custom resources too."""
    if isinstance(value, dict):
        listed = value.get("containers")
        if isinstance(listed, list) and listed and all(isinstance(item, dict) and "name" in item for item in listed):
            yield route, value
            return
        for key, item in value.items():
            yield from pods_of(item, (*route, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from pods_of(item, (*route, index))


def containers_of(pod: Mapping[str, Any]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Yield each container of a pod spec, with the list that it stands in, and where."""
    for key in CONTAINER_LISTS:
        yield from ((key, index, one) for index, one in enumerate(pod.get(key) or ()))


def seeds_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the init containers that are new and run another's image, each with that one's list and name."""
    known = {one["name"] for _, _, one in containers_of(before)}
    found: dict[str, tuple[str, str]] = {}
    for seed in after.get("initContainers") or ():
        for key, _, one in containers_of(after):
            same = one["name"] in known and one.get("image") == seed.get("image")
            if seed["name"] not in known and same and _volumes(one) & _volumes(seed):
                found.setdefault(seed["name"], (key, one["name"]))
    return found


def _volumes(container: Mapping[str, Any]) -> set[str]:
    return {str(mount.get("name")) for mount in container.get("volumeMounts") or ()}


def twins(objects: list[dict[str, Any]]) -> list[ObjectId]:
    """Return what several objects with pods are called: by name they can't be told apart."""
    found = [id_of(item) for item in objects if any(pods_of(item))]
    return [name for name in dict.fromkeys(found) if found.count(name) > 1]


def added(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the objects of `after` that `before` has not: the claims of a plan."""
    known = {id_of(item) for item in before}
    return [item for item in after if id_of(item) not in known]


def additions(claims: Iterable[Mapping[str, Any]], route: Route) -> list[Change]:
    """Return what is said of claims that are added."""
    names = [str(claim["metadata"]["name"]) for claim in claims]
    return [Change(container="", document=0, route=route, text=f"adds the claim {name}") for name in names]


def with_claims(value: Any, names: Mapping[str, str]) -> Any:
    """Return a copy of an object that asks for claims, or is one, by the names that they get."""
    if isinstance(value, dict):
        made = {key: with_claims(below, names) for key, below in value.items()}
        if "claimName" in made:
            made["claimName"] = names.get(made["claimName"], made["claimName"])
        elif made.get("kind") == CLAIM:
            made["metadata"]["name"] = names.get(made["metadata"]["name"], made["metadata"]["name"])
        return made
    return [with_claims(below, names) for below in value] if isinstance(value, list) else value


def places(objects: list[dict[str, Any]]) -> dict[Place, dict[str, Any]]:
    """Return the fields of every pod and every container, each by its place; a pod's without its containers."""
    found: dict[Place, dict[str, Any]] = {}
    for item in objects:
        for route, pod in pods_of(item):
            where = id_of(item)
            found[Place(where, route)] = pod
            for name in CONTAINER_LISTS:
                for container in pod.get(name) or []:
                    if isinstance(container, dict):
                        found[Place(where, route, (name, str(container.get("name"))))] = container
    return found


def needs(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[Need]:
    """Return what has to be different in pods and containers for `before` to become `after`."""
    old, new = places(before), places(after)
    found: list[Need] = []
    for place, fields in new.items():
        if place in old:
            found += _differences(place, old[place], fields)
        elif place.container is None:
            found.append(Need(place, "", "", fields))
    return found


def _differences(place: Place, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Need]:
    for key in dict.fromkeys((*new, *old)):
        one, other = old.get(key), new.get(key)
        if key in CONTAINER_LISTS and place.container is None:
            if key == "initContainers" and _in_another_order(one, other):
                yield Need(place, f"{key} (changed)", "", other)
            one, other = _new_containers(one, other)
        if normal(one, key) == normal(other, key):
            continue
        if key == "securityContext" and isinstance(other, dict) and isinstance(one, dict | None):
            held = one or {}
            yield from (
                Need(place, key, leaf, value)
                for leaf, value in other.items()
                if normal(held.get(leaf)) != normal(value)
            )
            if set(held) - set(other):
                yield Need(place, key, "", other)
        elif key in LISTS and isinstance(other, list) and isinstance(one, list | None):
            held_items = [normal(item) for item in one or []]
            kept = [item for item in other if normal(item) in held_items]
            added = [item for item in other if normal(item) not in held_items]
            if len(kept) < len(held_items):
                yield Need(place, f"{key} (changed)", "", other)
            yield from (Need(place, key, "", item) for item in added)
        else:
            yield Need(place, f"{key} (changed)", "", other)


def _in_another_order(old: Any, new: Any) -> bool:
    """Tell whether containers that are on both sides stand the other way round: they run in order."""
    names = [[item.get("name") for item in each or [] if isinstance(item, dict)] for each in (old, new)]
    common = [[name for name in each if name in names[0] and name in names[1]] for each in names]
    return common[0] != common[1]


def _new_containers(old: Any, new: Any) -> tuple[list[Any], list[Any]]:
    """Leave out the containers that are there on both sides: they are places of their own."""
    known = {item.get("name") for item in old or [] if isinstance(item, dict)}
    return [], [item for item in new or [] if isinstance(item, dict) and item.get("name") not in known]

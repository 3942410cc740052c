"""Which values of a chart come out where: found by rendering with a marker and looking where it appears.

Names only say what is worth a try: every value whose name speaks of security contexts, volumes, mounts, variables or
init containers, in the chart's values or read by its templates. What a value reaches is what Helm's output shows.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lithify.documents.emit import render_block
from lithify.engines.helm import Chart
from lithify.errors import EngineRefused, InvalidInput
from lithify.model.location import Key, Route
from lithify.patch.pods import Need, Place, places, read_objects

MARK = "lithify-marker-"
_FIELDS = {
    "volumeMounts": re.compile(r"(volume_?mounts?|mounts)$", re.IGNORECASE),
    "volumes": re.compile(r"volumes$", re.IGNORECASE),
    "env": re.compile(r"(env|envs|env_?vars?|environment|environment_?var(s|iables)?)$", re.IGNORECASE),
    "initContainers": re.compile(r"init_?containers$", re.IGNORECASE),
    "securityContext": re.compile(r"security_?context$", re.IGNORECASE),
}
_FLAG = re.compile(r"read_?only_?root(_?file_?system|_?fs)?$", re.IGNORECASE)
_NO_SCOPE = re.compile(
    r"(\w*labels|\w*annotations|node_?selector|resources|limits|requests|\w*affinity|tolerations|\w*selector|data|"
    r"string_?data|ports?|rules|capabilities|headers|hosts|tls)",
    re.IGNORECASE,
)
"""Mappings that hold names of their user's own, or fields of something else: no value of a container is below them."""
_NAMES = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)")
_INDEXED = re.compile(r"\bindex [^}|]*?\"([A-Za-z0-9_]+)\"")
_ITEM_NAMES = {"volumeMounts": "name", "volumes": "name", "env": "name", "initContainers": "name"}
_MAX_PARENTS = 400
_MAX_DEPTH = 6
_MAX_RENDERS = 80


@dataclass(frozen=True, slots=True)
class Value:
    """A value that comes out in pods."""

    route: Route
    field: str
    shape: str
    """`map` (merged key by key), `list`, `text` (YAML in a string), `names` (a mapping of variables), `flag`."""
    reaches: frozenset[Place]

    def said(self, need: Need) -> Route:
        """Return the route of what says a need."""
        return (*self.route, need.leaf) if self.shape == "map" and need.leaf else self.route


@dataclass(frozen=True, slots=True)
class _Candidate:
    route: Route
    field: str
    shapes: tuple[str, ...]


class Values:
    """The values that a chart is rendered with, and what they reach."""

    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        self.effective = chart.effective_values()
        self._renders = 0

    def reached(self, wanted: Sequence[Need]) -> list[Value]:
        """Return the values that come out in some pod, as far as `wanted` needs them."""
        leaves = {need.leaf for need in wanted if need.leaf}
        fields = {need.field for need in wanted if need.sayable}
        left = [candidate for candidate in self._candidates(fields) if candidate.shapes]
        found: list[Value] = []
        while left:
            here = {candidate: candidate.shapes[0] for candidate in left}
            reached = self._try(here, leaves)
            found += [Value(c.route, c.field, here[c], frozenset(where)) for c, where in reached.items() if where]
            left = [
                _Candidate(c.route, c.field, c.shapes[1:]) for c in left if not reached.get(c) and len(c.shapes) > 1
            ]
        return found

    def overlay(self, chosen: Mapping[Value, Sequence[Need]]) -> dict[str, Any]:
        """Return values that say the needs that each of `chosen` is for, lists with what they hold already."""
        result: dict[str, Any] = {}
        for value, meets in chosen.items():
            current = get(self.effective, value.route)
            self._put(result, value.route, _with(current, value, meets))
        return result

    def _candidates(self, fields: set[str]) -> list[_Candidate]:
        text = self.chart.templates()
        read = set(_NAMES.findall(text)) | set(_INDEXED.findall(text))
        names = {name: field for name in read if (field := _field_of(name)) in fields}
        found: dict[Route, _Candidate] = {}
        for route, value in _maps(self.effective):
            inherited = next((f for key in reversed(route) if (f := _field_of(str(key)))), "")
            if inherited == "securityContext" and inherited in fields and route:
                found.setdefault(route, _Candidate(route, inherited, ("map",)))
            if inherited:
                continue  # what lies below such a value is its own business
            for name in dict.fromkeys((*value, *names)):
                field = _field_of(str(name)) or ("flag" if _FLAG.search(str(name)) else "")
                here = (*route, name)
                known = field in fields or (field == "flag" and "securityContext" in fields)
                if known and (name in value or name in names):
                    found.setdefault(here, _Candidate(here, field, _shapes(field, value.get(name))))
        return list(found.values())

    def _try(self, candidates: Mapping[_Candidate, str], leaves: set[str]) -> dict[_Candidate, set[Place]]:
        """Render with all of them marked; where that fails, with half of them, until what breaks it is left out."""
        self._renders += 1
        if self._renders > _MAX_RENDERS or not candidates:
            return {}
        overlay: dict[str, Any] = {}
        for number, (candidate, shape) in enumerate(candidates.items()):
            current = get(self.effective, candidate.route)
            self._put(overlay, candidate.route, _marked(current, candidate.field, shape, number, leaves))
        try:
            objects = read_objects(self.chart.render(overlay))
        except (EngineRefused, InvalidInput, ValueError):
            if len(candidates) == 1:
                return {}
            items = list(candidates.items())
            middle = len(items) // 2
            return self._try(dict(items[:middle]), leaves) | self._try(dict(items[middle:]), leaves)
        listed = list(candidates)
        found: dict[_Candidate, set[Place]] = {}
        for place, field, number in _marks(objects):
            candidate = listed[number]
            if field == candidate.field or (candidate.field == "flag" and field == "securityContext"):
                found.setdefault(candidate, set()).add(place)
        return found

    def _put(self, overlay: dict[str, Any], route: Route, value: Any) -> None:
        """Set a value; a list on the way is given whole, since Helm replaces lists."""
        held: Any = overlay
        for depth, key in enumerate(route[:-1]):
            following = route[depth + 1]
            if isinstance(held, dict) and key not in held:
                held[key] = copy.deepcopy(get(self.effective, route[: depth + 1])) if isinstance(following, int) else {}
            held = held[key]
        if isinstance(value, dict) and isinstance(held, dict) and isinstance(held.get(route[-1]), dict):
            _merge(held[route[-1]], value)
        else:
            held[route[-1]] = copy.deepcopy(value)


def get(values: Any, route: Route) -> Any:
    """Return what stands at a route; None where nothing does."""
    for key in route:
        if isinstance(values, dict):
            values = values.get(key)
        elif isinstance(values, list) and isinstance(key, int) and key < len(values):
            values = values[key]
        else:
            return None
    return values


def _merge(into: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def _maps(values: Any, route: Route = ()) -> Iterator[tuple[Route, dict[str, Any]]]:
    """Yield the mappings in values, outermost first."""
    queue: list[tuple[Route, Any]] = [(route, values)]
    for count, (here, value) in enumerate(queue):
        if count > _MAX_PARENTS:
            return
        items: list[tuple[Key, Any]] = []
        if isinstance(value, dict):
            yield here, value
            items = list(value.items())
        elif isinstance(value, list):
            items = list(enumerate(value))
        if len(here) < _MAX_DEPTH:
            queue += [
                ((*here, key), item)
                for key, item in items
                if isinstance(item, dict | list) and not _NO_SCOPE.fullmatch(str(key))
            ]


def _field_of(name: str) -> str:
    return next((field for field, pattern in _FIELDS.items() if pattern.search(name)), "")


def _shapes(field: str, current: Any) -> tuple[str, ...]:
    if field == "flag":
        return ("flag",) if current is None or isinstance(current, bool) else ()
    if field == "securityContext":
        return ("map",) if current is None or isinstance(current, dict) else ("text",) if current == "" else ()
    if isinstance(current, str):
        return ("text", "list")
    if isinstance(current, dict):
        return ("names", "list", "text") if field == "env" else (() if current else ("list", "text"))
    if isinstance(current, list):
        return ("list",) if current else ("list", "text")
    return ("list", "text", "names") if field == "env" else ("list", "text")


def _marked(current: Any, field: str, shape: str, number: int, leaves: set[str]) -> Any:
    mark = f"{MARK}{number}"
    if shape == "flag":
        return mark
    if field == "securityContext":
        marked: dict[str, Any] = dict.fromkeys(sorted(leaves), mark)
        if isinstance(current, dict) and "enabled" in current:
            marked["enabled"] = True
        return json.dumps({**(current or {}), **marked}) if shape == "text" else marked
    if shape == "names":
        return {f"LITHIFY_MARKER_{number}": mark}
    item: dict[str, Any] = {"name": mark}
    if field == "volumeMounts":
        item["mountPath"] = f"/{mark}"
    elif field == "volumes":
        item["emptyDir"] = {}
    elif field == "env":
        item["value"] = mark
    else:
        item["image"] = mark
    return _listed(current, [item], shape)


def _listed(current: Any, items: Sequence[Any], shape: str) -> Any:
    """Return a list with more items, or the text of one."""
    if shape == "list":
        return [*(current if isinstance(current, list) else ()), *items]
    lines = "\n".join([*render_block(list(items), step=2, listed=2), ""])
    text = current if isinstance(current, str) else ""
    return text + ("\n" if text and not text.endswith("\n") else "") + lines


def _with(current: Any, value: Value, meets: Sequence[Need]) -> Any:
    items = list({json.dumps(need.value, sort_keys=True): need.value for need in meets}.values())
    if value.shape == "flag":
        return items[0]
    if value.field == "securityContext":
        wanted = {need.leaf: need.value for need in meets}
        if isinstance(current, dict) and "enabled" in current and not current["enabled"]:
            wanted["enabled"] = True
        return json.dumps({**(current or {}), **wanted}) if value.shape == "text" else wanted
    if value.shape == "names":
        return {item["name"]: item.get("value", "") for item in items}
    return _listed(current, items, value.shape)


def _marks(objects: list[dict[str, Any]]) -> Iterator[tuple[Place, str, int]]:
    """Yield where markers came out: the place, the field and the number of the candidate."""
    for place, fields in places(objects).items():
        for key in fields.get("securityContext") or {}:
            yield from ((place, "securityContext", number) for number in _number(fields["securityContext"][key]))
        for field, name in _ITEM_NAMES.items():
            if field == "initContainers" and place.container is not None:
                continue
            for item in fields.get(field) or []:
                if isinstance(item, dict):
                    text = item.get("value") if field == "env" else item.get(name)
                    yield from ((place, field, number) for number in _number(text))


def _number(text: Any) -> Iterator[int]:
    match = re.fullmatch(re.escape(MARK) + r"(\d+)", str(text))
    if match:
        yield int(match[1])

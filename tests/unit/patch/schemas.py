"""The published schemas of Kubernetes versions, strict, and of Compose: what a patch may not break."""

import json
from collections import Counter
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

_FOLDER = files("kubernetes_validate") / "kubernetes-json-schema"
RELEASES = sorted(
    tuple(int(part) for part in each.name.removeprefix("v").split("-")[0].split("."))
    for each in _FOLDER.iterdir()
    if each.name.endswith("-local-strict")
)
"""Every release that has schemas here, the oldest first."""
VERSIONS = [(major, minor) for major, minor, _ in RELEASES]

COMPOSE = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "schemas" / "compose-spec.json").read_text())
)


class _Loader(yaml.SafeLoader):
    """Reads Compose files, whose own tags say how files are merged."""


def _untagged(loader: _Loader, _: str, node: Any) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


_Loader.add_multi_constructor("!", _untagged)


def read_compose(text: bytes) -> Any:
    """Return what a Compose file holds; YAMLError where that can't be read."""
    return yaml.load(text, _Loader)


def compose_errors(text: bytes) -> Counter[str]:
    """Return what the schema of Compose finds wrong in a file; nothing where it is none."""
    try:
        value = read_compose(text)
    except yaml.YAMLError:
        return Counter()
    return Counter(f"{'/'.join(map(str, each.path))}: {each.message}" for each in COMPOSE.iter_errors(value))


@cache
def _registry(folder: str) -> Registry[Any]:
    definitions = json.loads((_FOLDER / folder / "_definitions.json").read_text())
    resource = Resource.from_contents(definitions, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry[Any]().with_resource("_definitions.json", resource).crawl()
    return registry


@cache
def _validator(version: tuple[int, int], api: str, kind: str) -> jsonschema.Draft202012Validator | None:
    """Return what checks a kind of object; None where the version has none of it."""
    release = next(each for each in RELEASES if each[:2] == version)
    folder = f"v{'.'.join(map(str, release))}-local-strict"
    group, _, own = api.rpartition("/")
    path = _FOLDER / folder / f"{kind.lower()}-{'-'.join(filter(None, (group.partition('.')[0], own)))}.json"
    if not path.is_file():
        return None
    return jsonschema.Draft202012Validator(json.loads(path.read_text()), registry=_registry(folder))


def errors(value: Any, version: tuple[int, int]) -> Counter[str]:
    """Return what the strict schema of a version finds wrong in an object, or in each of a List."""
    if not isinstance(value, dict):
        return Counter()
    if value.get("kind") == "List" and isinstance(value.get("items"), list):
        return sum((errors(item, version) for item in value["items"]), Counter())
    validator = _validator(version, str(value.get("apiVersion")), str(value.get("kind")))
    if validator is None:
        return Counter()
    return Counter(
        f"{'/'.join(key for key in each.path if isinstance(key, str))}: {each.message}"
        for each in validator.iter_errors(value)
    )


def knows(value: Any, version: tuple[int, int]) -> bool:
    """Tell whether a version has a schema for an object."""
    return isinstance(value, dict) and bool(_validator(version, str(value.get("apiVersion")), str(value.get("kind"))))

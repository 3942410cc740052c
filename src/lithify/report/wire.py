"""Takes the model's values to versioned JSON and back.

The types themselves are the schema: msgspec reads them, checks what comes in against them and names the place of what
does not fit. Names that are not UTF-8 travel as lone surrogates escaped in ASCII, which `json` keeps and msgspec's own
encoder refuses.
"""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import msgspec

from lithify.errors import InvalidInput
from lithify.model.group import GroupHardening, Member
from lithify.model.hardening import Hardening
from lithify.model.path import container_path
from lithify.model.verdict import Verdict

T = TypeVar("T")

LIMIT = 1 << 30
"""Bytes of a file that are read at the most."""


def render_json(value: object) -> str:
    """Return a model value as indented JSON with a line end; what is judged says first whether it is `proved`."""
    return json.dumps(_answered(value, plain(value)), indent=1) + "\n"


def _answered(value: object, document: Any) -> Any:
    """Return a document with the answer in it that a reader would have to put together from all checks."""
    if isinstance(value, Hardening):
        return {"proved": value.verdict.proved, **document}
    if isinstance(value, GroupHardening):
        members = map(_answered, value.members, document["members"])
        document = {**document, "members": list(members)}
    if isinstance(value, GroupHardening | Member | Verdict):
        return {"proved": value.proved, **document}
    return document


def plain(value: object) -> Any:
    """Return a value as `json` takes it."""
    return msgspec.to_builtins(value, enc_hook=_encode)


def typed(found: object, type_: Any, *, source: str) -> Any:
    """Return what `plain` gave, and somebody else may have changed, as a `type_` again.

    InvalidInput, with `source` and the place in it, where it is none, or a path is relative or climbs.
    """
    try:
        return msgspec.convert(found, type_, dec_hook=_decode_strictly, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidInput(f"{source}: {error}", hint="is that the same version of lithify?") from error


def parse(data: bytes, type_: type[T], *, source: str) -> T:
    """Return `data` as `type_`; InvalidInput, with `source` and the place in it, where it is none."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{source}: not JSON: {error}", hint="give the output of lithify with --format json"
        ) from error
    wanted = _schema_of(type_)
    found = document.get("schema") if isinstance(document, dict) else None
    if found != wanted:
        raise InvalidInput(
            f"{source}: schema {found!r} instead of {wanted!r}", hint=f"give a document of schema {wanted}"
        )
    try:
        return msgspec.convert(document, type_, dec_hook=_decode, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidInput(f"{source}: {error}", hint="was it changed by hand?") from error


def read_json(path: Path, type_: type[T]) -> T:
    """Return the value that a JSON file holds; InvalidInput where it can't be read or is something else."""
    return parse(_bytes(path), type_, source=str(path))


def read_schema(path: Path) -> str:
    """Return the schema that a JSON file names, nothing where it names none; InvalidInput where it can't be read."""
    try:
        document = json.loads(_bytes(path))
    except ValueError as error:
        raise InvalidInput(f"{path}: not JSON: {error}", hint="give what lithify wrote as JSON") from error
    return str(document.get("schema", "")) if isinstance(document, dict) else ""


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}", hint="name a file that lithify wrote") from error
    if len(data) > LIMIT:
        raise InvalidInput(f"{path}: larger than {LIMIT >> 20} MiB", hint="name a file that lithify wrote")
    return data


def schema(type_: type) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of what `render_json` writes for a model type."""
    found = msgspec.json.schema(type_, schema_hook=_schema)
    for judged in (Hardening, GroupHardening, Member, Verdict):
        definition = found["$defs"].get(judged.__name__)
        if definition is not None:
            definition["properties"] = {"proved": {"type": "boolean"}, **definition["properties"]}
    outermost = found["$defs"][type_.__name__]
    outermost["properties"]["schema"] = {"const": _schema_of(type_)}
    outermost["required"] = [*outermost.get("required", ()), "schema"]
    return found


def _schema_of(type_: type) -> object:
    fields = getattr(type_, "__dataclass_fields__", {})
    return fields["schema"].default if "schema" in fields else None


def _encode(value: object) -> object:
    if isinstance(value, PurePosixPath):
        return str(value)
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


def _decode(type_: type, value: object) -> object:
    if issubclass(type_, PurePosixPath):
        return PurePosixPath(str(value))
    raise NotImplementedError(f"{type_.__name__} has no JSON form")


def _decode_strictly(type_: type, value: object) -> object:
    path = container_path(str(value))
    return Path(path) if issubclass(type_, Path) else _decode(type_, str(path))


def _schema(type_: type) -> dict[str, Any]:
    if issubclass(type_, PurePosixPath):
        return {"type": "string", "format": "container-path"}
    raise NotImplementedError(f"{type_.__name__} has no JSON form")

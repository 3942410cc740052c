"""Takes the model's values to versioned JSON and back.

The types themselves are the schema: msgspec reads them, checks what comes in against them and names the place of what
does not fit. Names that are not UTF-8 travel as lone surrogates escaped in ASCII, which `json` keeps and msgspec's own
encoder refuses.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

import msgspec

from lithify.errors import InvalidInput, LithifyError
from lithify.model.group import GroupHardening, Member
from lithify.model.hardening import Hardening
from lithify.model.path import container_path, printable
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


def parse(data: bytes, *types: type[T], source: str) -> T:
    """Return `data` as that of `types` whose schema it names; InvalidInput, with `source` and the place in it, else."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{source}: not JSON: {error}", hint="give the output of lithify with --format json"
        ) from error
    found = document.get("schema") if isinstance(document, dict) else None
    wanted = {_schema_of(type_): type_ for type_ in types}
    if not isinstance(found, str) or found not in wanted:
        what = "it names no schema" if found is None else f"its schema is {found!r}"
        raise InvalidInput(f"{source}: {what}", hint=f"give a document of schema {' or '.join(map(str, wanted))}")
    try:
        return msgspec.convert(document, wanted[found], dec_hook=_decode, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidInput(f"{source}: {error}", hint="was it changed by hand?") from error


def read_json(path: Path, *types: type[T], missing: type[LithifyError] = InvalidInput) -> T:
    """Return the value that a JSON file holds, or standard input where `path` is `-`: one of `types`.

    `missing` is raised where there is no file, InvalidInput where it can't be read or holds something else.
    """
    source = "standard input" if str(path) == "-" else printable(path)
    try:
        with _opened(path) as file:
            data = file.read(LIMIT + 1)
    except FileNotFoundError as error:
        raise missing(f"no file {source}", hint="name a file that lithify wrote, or - for standard input") from error
    except OSError as error:
        raise InvalidInput(f"{source}: {error.strerror}", hint="name a file that lithify wrote") from error
    if len(data) > LIMIT:
        raise InvalidInput(f"{source}: larger than {LIMIT >> 20} MiB", hint="name a file that lithify wrote")
    return parse(data, *types, source=source)


def _opened(path: Path) -> AbstractContextManager[IO[bytes]]:
    if str(path) != "-":
        return path.open("rb")
    if sys.stdin is None:
        raise InvalidInput("standard input is closed", hint="name a file that lithify wrote")
    return nullcontext(sys.stdin.buffer)


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

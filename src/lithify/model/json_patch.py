"""What takes one JSON value to another, as a JSON patch (RFC 6902)."""

from collections.abc import Iterator
from typing import Any

Operation = dict[str, Any]


def json_patch(before: Any, after: Any) -> list[Operation]:
    """Return operations that make `after` of `before`; none where they are the same.

    Mappings are followed by key. Entries of a list are followed by their place, and what is more is added at its end; a
    list that has become shorter is replaced.
    """
    return list(_changes(before, after, ""))


def _changes(before: Any, after: Any, path: str) -> Iterator[Operation]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [key for key in before if key not in after]:
            yield {"op": "remove", "path": path + pointer(key)}
        for key, value in after.items():
            where = path + pointer(key)
            if key in before:
                yield from _changes(before[key], value, where)
            else:
                yield {"op": "add", "path": where, "value": value}
    elif isinstance(before, list) and isinstance(after, list) and len(before) <= len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=False)):
            yield from _changes(old, new, f"{path}/{index}")
        for value in after[len(before) :]:
            yield {"op": "add", "path": f"{path}/-", "value": value}
    elif not _same(before, after):
        yield {"op": "replace", "path": path, "value": after}


def _same(before: Any, after: Any) -> bool:
    """Tell whether two values are one to JSON, to which true is not 1."""
    return type(before) is type(after) and bool(before == after)


def pointer(*route: str | int) -> str:
    """Return the JSON pointer (RFC 6901) to what lies so many keys and indices down."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in route)

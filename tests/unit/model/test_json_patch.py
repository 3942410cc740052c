"""A JSON patch takes one value to the other, and is none where they are the same."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lithify.model.json_patch import Operation, json_patch

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.text("a~/", max_size=2),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("a~/0", max_size=2), below, max_size=3),
    max_leaves=8,
)


def _applied(value: Any, operations: list[Operation]) -> Any:
    """Return `value` after `operations`; only those that `json_patch` makes are known."""
    holder = {"": value}
    for operation in operations:
        *way, last = [_unescaped(part) for part in operation["path"].split("/")]
        at: Any = holder
        for part in way:
            at = at[int(part)] if isinstance(at, list) else at[part]
        if isinstance(at, list):
            _apply_to_list(at, last, operation)
        elif operation["op"] == "remove":
            del at[last]
        else:
            at[last] = operation["value"]
    return holder[""]


def _apply_to_list(at: list[Any], last: str, operation: Operation) -> None:
    if operation["op"] == "remove":
        del at[int(last)]
    elif operation["op"] == "replace":
        at[int(last)] = operation["value"]
    else:
        at.insert(len(at) if last == "-" else int(last), operation["value"])


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


@given(VALUES, VALUES)
def test_a_patch_takes_one_value_to_the_other(before: object, after: object) -> None:
    found = _applied(copy.deepcopy(before), json_patch(before, after))
    assert repr(found) == repr(after) or found == after
    assert json_patch(found, after) == []


@given(VALUES)
def test_nothing_is_patched_where_nothing_differs(value: object) -> None:
    assert json_patch(value, copy.deepcopy(value)) == []


def test_a_list_that_grew_is_added_to() -> None:
    before = {"spec": {"volumes": [{"name": "a"}], "a/b": 1}}
    after = {"spec": {"volumes": [{"name": "a"}, {"name": "b"}], "a/b": True}}
    assert json_patch(before, after) == [
        {"op": "add", "path": "/spec/volumes/-", "value": {"name": "b"}},
        {"op": "replace", "path": "/spec/a~1b", "value": True},
    ]

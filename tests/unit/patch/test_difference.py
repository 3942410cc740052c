"""Patches between two states of an object: applied, they give the other state."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lithify.patch.difference import NoStrategicPatch, json_patch, normal, strategic_patch

_SCALARS = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(("", "a", "b/c", "~d"))
_NAMED = st.lists(st.fixed_dictionaries({"name": st.sampled_from("abc"), "value": _SCALARS}), max_size=3)
_OBJECTS = st.dictionaries(
    st.sampled_from(("env", "spec", "x/y", "~z")),
    st.recursive(
        _SCALARS | _NAMED,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("k", "env", "m~n")), inner, max_size=3)
        ),
        max_leaves=8,
    ),
)


def applied(value: Any, operations: list[dict[str, Any]]) -> Any:
    """Apply a JSON patch by the letter of RFC 6902."""
    value = {"": copy.deepcopy(value)}
    for operation in operations:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")]
        held: Any = value
        for key in way:
            held = held[int(key)] if isinstance(held, list) else held[key]
        if operation["op"] == "test":
            assert held[int(last) if isinstance(held, list) else last] == operation["value"]
        elif isinstance(held, list) and operation["op"] == "add":
            held.insert(len(held) if last == "-" else int(last), operation["value"])
        elif operation["op"] == "remove":
            del held[int(last) if isinstance(held, list) else last]
        else:
            held[int(last) if isinstance(held, list) else last] = operation["value"]
    return value[""]


@given(before=_OBJECTS, after=_OBJECTS)
def test_a_json_patch_gives_the_other_state(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert (
        repr(applied(before, json_patch(before, after))) == repr(after)
        or applied(before, json_patch(before, after)) == after
    )
    assert json_patch(after, after) == []


def test_a_json_patch_asks_first_which_container_it_is() -> None:
    operations = json_patch({"c": [{"name": "a"}, {"name": "b"}]}, {"c": [{"name": "a"}, {"name": "b", "more": 1}]})
    assert operations == [
        {"op": "test", "path": "/c/1/name", "value": "b"},
        {"op": "add", "path": "/c/1/more", "value": 1},
    ]
    with pytest.raises(AssertionError):
        applied({"c": [{"name": "b"}, {"name": "a"}]}, operations)


def test_a_strategic_patch_names_what_changes_and_nothing_else() -> None:
    before = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "namespace": "n", "labels": {"x": "y"}},
        "spec": {"containers": [{"name": "a", "image": "i", "env": [{"name": "A"}]}, {"name": "b"}], "gone": 1},
    }
    after = copy.deepcopy(before)
    after["spec"]["containers"][0]["env"].append({"name": "B", "value": "c"})  # type: ignore[index]
    del after["spec"]["gone"]  # type: ignore[attr-defined]
    assert strategic_patch(before, after) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "namespace": "n"},
        "spec": {"gone": None, "containers": [{"name": "a", "env": [{"name": "B", "value": "c"}]}]},
    }
    assert strategic_patch(before, before) == {}


@pytest.mark.parametrize("items", [[{"name": "a"}, {"name": "a"}], [{"image": "x"}], ["a"]])
def test_lists_without_a_merge_key_have_no_strategic_patch(items: list[Any]) -> None:
    with pytest.raises(NoStrategicPatch):
        strategic_patch({"containers": [{"name": "a"}]}, {"containers": items})


def test_what_means_the_same_is_the_same() -> None:
    one = {"volumes": [{"name": "b"}, {"name": "a", "emptyDir": {}}], "env": [{"name": "B"}, {"name": "A"}]}
    other = {"volumes": [{"name": "a"}, {"name": "b"}], "env": [{"name": "A"}, {"name": "B"}], "args": []}
    assert normal(one) == normal(other)
    assert normal({"env": [{"name": "B", "value": "$(A)"}, {"name": "A"}]}) != normal(
        {"env": [{"name": "A"}, {"name": "B", "value": "$(A)"}]}
    )

"""A JSON patch takes one value to the other, and is none where they are the same."""

import copy

from hypothesis import given
from hypothesis import strategies as st

from lithify.model.json_patch import apply_patch, json_patch

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.text("a~/", max_size=2),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("a~/0", max_size=2), below, max_size=3),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_a_patch_takes_one_value_to_the_other(before: object, after: object) -> None:
    found = apply_patch(copy.deepcopy(before), json_patch(before, after))
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

"""Edits come out as exactly the data that was wanted and change no line that they need not, or nothing is changed."""

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.documents.ugly import Ugly
from tests.unit.patch import kubectl

from lithify.documents.edit import Editor, splice
from lithify.documents.emit import render_block, render_flow, render_scalar
from lithify.documents.nodes import to_python
from lithify.documents.splice import Obstacle, Uneditable
from lithify.documents.yaml import Document, read_documents
from lithify.model.location import Route


def edited(text: str, *operations: Any) -> str:
    editor = Editor(text.encode())
    draft = editor.draft(0)
    for name, *arguments in operations:
        getattr(draft, name)(*arguments)
    return editor.apply().decode()


def refusal(text: str, *operations: Any) -> Obstacle:
    with pytest.raises(Uneditable) as caught:
        edited(text, *operations)
    return caught.value.obstacle


CASES: dict[str, tuple[str, list[tuple[Any, ...]], str]] = {
    "a new key follows the last, before what comments say of the next": (
        "a:\n  b: 1  # one\n  # of c\nc: 2\n",
        [("set", ("a", "d"), "x")],
        "a:\n  b: 1  # one\n  d: x\n  # of c\nc: 2\n",
    ),
    "null gives way to a mapping under its key": (
        "a:\n  sc:  # soon\n    # todo\n  b: 1\n",
        [("set", ("a", "sc", "flag"), True)],
        "a:\n  sc:  # soon\n    flag: true\n    # todo\n  b: 1\n",
    ),
    "comments below an empty last key stay with it": (
        "a:\n  sc:\n    # todo\n",
        [("set", ("a", "b"), 1)],
        "a:\n  sc:\n    # todo\n  b: 1\n",
    ),
    "an empty mapping gives way too": (
        "a:\n  sc: {}  # none\n",
        [("set", ("a", "sc", "flag"), True)],
        "a:\n  sc:  # none\n    flag: true\n",
    ),
    "null in words": ("a: ~\nb: null", [("set", ("a",), 1), ("set", ("b", "c"), 2)], "a: 1\nb:\n  c: 2"),
    "a list keeps its place below its key": (
        "a:\n    - x: 1\n",
        [("append", ("a",), {"x": 2, "w": [1]})],
        "a:\n    - x: 1\n    - x: 2\n      w:\n          - 1\n",
    ),
    "a new list is indented as others are": (
        "m:\n- 1\nk:\n    o: 2\n",
        [("append", ("k", "p"), "q")],
        "m:\n- 1\nk:\n    o: 2\n    p:\n    - q\n",
    ),
    "in front of a list, above its comments": (
        "a: # list\n# first\n- 1\n- 2\n",
        [("prepend", ("a",), 0), ("set", ("a", 1), 3)],
        "a: # list\n- 0\n# first\n- 1\n- 3\n",
    ),
    "flow style stays on its line": (
        "a: {b: 1}  # x\nc: [1, 2, ]\n",
        [("set", ("a", "c"), {"d": "e f"}), ("append", ("c",), 3), ("prepend", ("c",), 0)],
        "a: {b: 1, c: {d: e f}}  # x\nc: [0, 1, 2, 3 ]\n",
    ),
    "an item on one line where the one before it is": (
        "a:\n  - {b: 1}\n",
        [
            ("append", ("a",), {"b": 2, "c": {"d": "e"}}),
            ("append", ("a",), {"f": "x\ny\n"}),
            ("append", ("a",), "s: t"),
        ],
        'a:\n  - {b: 1}\n  - {b: 2, c: {d: e}}\n  - f: |\n      x\n      y\n  - "s: t"\n',
    ),
    "an item of JSON on one line where the one before it is": (
        '{"a": [\n  {"b": 1}\n]}\n',
        [("append", ("a",), {"b": 2, "c": []}), ("append", ("a",), {"b": "x" * 120})],
        '{"a": [\n  {"b": 1},\n  {"b": 2, "c": []},\n  {\n    "b": "' + "x" * 120 + '"\n  }\n]}\n',
    ),
    "blanks within braces": (
        "a: { b: 1 }\nc:\n- { d: 1 }\ne: [ { f: 1 } ]\n",
        [("set", ("a", "g"), {"h": {}}), ("append", ("c",), {"d": {"i": [{"j": 1}]}}), ("append", ("e",), {"f": 2})],
        "a: { b: 1, g: { h: {} } }\nc:\n- { d: 1 }\n- { d: { i: [{ j: 1 }] } }\ne: [ { f: 1 }, { f: 2 } ]\n",
    ),
    "blanks within braces of JSON": (
        '{\n  "a": [ { "b": true } ],\n  "c": [\n    { "d": "é" }\n  ]\n}\n',
        [("prepend", ("a",), {"b": {"e": "\x7f"}}), ("append", ("c",), {"d": [1, {"f": None}]})],
        (
            '{\n  "a": [ { "b": { "e": "\\u007f" } }, { "b": true } ],\n'
            '  "c": [\n    { "d": "é" },\n    { "d": [1, { "f": null }] }\n  ]\n}\n'
        ),
    ),
    "flow style on many lines": (
        "a: {\n  b: 1, # one\n  c: 2 # two\n}\n",
        [("set", ("a", "d"), 3)],
        "a: {\n  b: 1, # one\n  c: 2, # two\n  d: 3\n}\n",
    ),
    "compact JSON": ('{"a":{"b":1}}', [("set", ("a", "c"), [True, None])], '{"a":{"b":1,"c":[true,null]}}'),
    "JSON on many lines, with tabs": (
        '{\n\t"a": [\n\t\t1\n\t]\n}\n',
        [("append", ("a",), {"x": []}), ("set", ("b",), 1)],
        '{\n\t"a": [\n\t\t1,\n\t\t{\n\t\t\t"x": []\n\t\t}\n\t],\n\t"b": 1\n}\n',
    ),
    "compact JSON with an empty mapping": ('{"a":{},"b":1}', [("set", ("a", "c"), 1)], '{"a":{"c":1},"b":1}'),
    "JSON with what YAML has no escape for": (
        '\ufeff{\r\n "a": "\\ud83d\\ude00\u2028\x7fé",\r\n "b": {"c": "\\/"}\r\n}\r\n',
        [("set", ("b", "d"), 'é"')],
        '\ufeff{\r\n "a": "\\ud83d\\ude00\u2028\x7fé",\r\n "b": {"c": "\\/", "d": "é\\""}\r\n}\r\n',
    ),
    "a quoted value": ("a: 'false' # no\n", [("set", ("a",), True)], "a: true # no\n"),
    "text that would be read as something else is quoted": (
        "a: 1\n",
        [("set", ("b",), "0o17"), ("set", ("c",), "on"), ("set", ("d",), "12:30"), ("set", ("e",), "x: y")],
        'a: 1\nb: "0o17"\nc: "on"\nd: "12:30"\ne: "x: y"\n',
    ),
    "many lines become a literal block": (
        "a:\n- x\n",
        [("append", ("a",), "set -e\nif x; then\n  y\nfi\n")],
        "a:\n- x\n- |\n  set -e\n  if x; then\n    y\n  fi\n",
    ),
    "after a literal that keeps its line ends": ("a: |+\n  x\n\n\n", [("set", ("b",), 1)], "a: |+\n  x\n\n\nb: 1\n"),
    "after a literal that does not": (
        "a:\n- |\n  x\n\n\nc: 1\n",
        [("append", ("a",), 1)],
        "a:\n- |\n  x\n- 1\n\n\nc: 1\n",
    ),
    "a key is renamed in its own quotes": (
        'a: {"readOnlyFs": true}\n',
        [("rename", ("a", "readOnlyFs"), "ro"), ("set", ("a", "ro"), False)],
        'a: {"ro": false}\n',
    ),
    "an entry is taken away with its line": (
        "a:\n- x: 1\n  k: 2 # two\n  z: 3\n",
        [("remove", ("a", 0, "k")), ("remove", ("a", 0, "w"))],
        "a:\n- x: 1\n  z: 3\n",
    ),
    "an entry on the line of a dash is taken away": (
        "a:\n- x: 1\n  y: 2\n",
        [("remove", ("a", 0, "x"))],
        "a:\n- y: 2\n",
    ),
    "the entry on a dash's line and the next": (
        "a:\n- k: 1  # of k\n  w: [2,\n    3]\n\n  x: 4 # of x\n  y: 5\n",
        [("remove", ("a", 0, "w")), ("remove", ("a", 0, "k"))],
        "a:\n- x: 4 # of x\n  y: 5\n",
    ),
    "the entry on a dash's line and the last": (
        "a:\n- k: 1\n  w: 2\n  x: 3\n- z\n",
        [("remove", ("a", 0, "k")), ("remove", ("a", 0, "x"))],
        "a:\n- w: 2\n- z\n",
    ),
    "beside a key with a question mark": (
        "spec:\n  ? a  # why\n  # more\n  : - ? k\n      : 1\n",
        [("set", ("spec", "b"), 2), ("set", ("spec", "a", 0, "w"), [3])],
        "spec:\n  ? a  # why\n  # more\n  : - ? k\n      : 1\n      w:\n        - 3\n  b: 2\n",
    ),
    "a key with a question mark itself": (
        "? a\n: 1 # one\n? b\n: {c: 1}\n? d\n:\n  e: 1\n",
        [("set", ("a",), {"x": 1}), ("set", ("b", "w"), 2), ("remove", ("d",))],
        "? a\n: # one\n  x: 1\n? b\n: {c: 1, w: 2}\n",
    ),
    "the last entry of a flow mapping": ("a: {b: 1, c: 2}\n", [("remove", ("a", "c"))], "a: {b: 1}\n"),
    "the last two entries of a file without a last line end": (
        "a: 1\nb: 2\nc: 3",
        [("remove", ("b",)), ("remove", ("c",))],
        "a: 1\n",
    ),
    "the last two entries of a flow mapping": (
        "a: {b: 1, c: 2, d: 3}\n",
        [("remove", ("a", "c")), ("remove", ("a", "d"))],
        "a: {b: 1}\n",
    ),
    "the last two entries of a JSON object": (
        '{\n  "b": 1,\n  "c": 2,\n  "d": 3\n}\n',
        [("remove", ("c",)), ("remove", ("d",))],
        '{\n  "b": 1\n}\n',
    ),
    "the only entry gives way to others": (
        "a: {b: 1}\nc:\n  d: 1",
        [("set", ("a", "e"), 2), ("remove", ("a", "b")), ("remove", ("c", "d")), ("set", ("c", "e"), [3])],
        "a: {e: 2}\nc:\n  e:\n  - 3",
    ),
    "an empty mapping on a line of its own is filled there": (
        "a:\n\n    {}  # none\nb: [\n  # none\n]\n",
        [("set", ("a", "c"), 1), ("append", ("b",), {"c": 1})],
        "a:\n\n    {c: 1}  # none\nb: [{c: 1}\n  # none\n]\n",
    ),
    "comments that are indented deeper stay with what is above": (
        "a:\n  b:\n  - 1\n    # of 1\n  # of b\n",
        [("append", ("a", "b"), 2), ("set", ("a", "c"), 3), ("set", ("d",), 4)],
        "a:\n  b:\n  - 1\n    # of 1\n  - 2\n  c: 3\n  # of b\nd: 4\n",
    ),
    "items keep their distance from the dash": (
        "a:\n-   x: 1\n",
        [("append", ("a",), {"x": 2, "w": [3]})],
        "a:\n-   x: 1\n-   x: 2\n    w:\n    -   3\n",
    ),
    "flow YAML is no JSON": ("{a: {b: 1}}\n", [("set", ("a", "c"), "d e")], "{a: {b: 1, c: d e}}\n"),
    "a literal that ends with the file": ("a: |\n  x", [("set", ("b",), 1)], "a: |\n  x\nb: 1"),
    "the line ends of most lines": ("a: 1\r\nb: 2\nc: 3\n", [("set", ("d",), 4)], "a: 1\r\nb: 2\nc: 3\nd: 4\n"),
    "CRLF and a byte order mark": (
        "\ufeffa:\r\n  - b: 1\r\n",
        [("append", ("a",), {"b": 2}), ("set", ("c",), 1)],
        "\ufeffa:\r\n  - b: 1\r\n  - b: 2\r\nc: 1\r\n",
    ),
    "no line end at the end": ("a:\n- b: 1", [("append", ("a",), 2), ("set", ("c",), 1)], "a:\n- b: 1\n- 2\nc: 1"),
    "an alias at the end": ("a: &x {y: 1}\nb:\n- *x\n", [("append", ("b",), 2)], "a: &x {y: 1}\nb:\n- *x\n- 2\n"),
    "an alias inside the list of its anchor": (
        "b:\n- &x {y: 1}\n- *x # again\n",
        [("append", ("b",), 2)],
        "b:\n- &x {y: 1}\n- *x # again\n- 2\n",
    ),
    "beside a merge key": (
        "a: &x {y: 1}\nb:\n  <<: *x\n",
        [("set", ("b", "z"), 2)],
        "a: &x {y: 1}\nb:\n  <<: *x\n  z: 2\n",
    ),
    "an anchor that nobody uses": ("a: &x {y: 1}\n", [("set", ("a", "z"), 2)], "a: &x {y: 1, z: 2}\n"),
    "both users of an anchor ask for the same": (
        "a: &x\n  y: 1\nb: *x\n",
        [("set", ("a", "z"), 2), ("set", ("b", "z"), 2)],
        "a: &x\n  y: 1\n  z: 2\nb: *x\n",
    ),
    "letters of more than one byte": (
        "ä: ö # ü\nb:\n  é: 1 # 😀\n",
        [("set", ("b", "x"), "ß")],
        'ä: ö # ü\nb:\n  é: 1 # 😀\n  x: "ß"\n',
    ),
    "the same again is no edit": ("a: {b: yes}\n", [("set", ("a", "b"), True)], "a: {b: yes}\n"),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_edits_change_no_other_byte(case: str) -> None:
    before, operations, after = CASES[case]
    assert edited(before, *operations) == after


REFUSALS: dict[str, tuple[str, tuple[Any, ...], Obstacle]] = {
    "another user of an anchor": ("a: &x\n  y: 1\nb: *x\n", ("set", ("a", "z"), 2), Obstacle.ALIAS),
    "through an alias": ("a: &x\n  y: 1\nb: *x\n", ("set", ("b", "z"), 2), Obstacle.ALIAS),
    "one that merges it": ("a: &x\n  y: 1\nb:\n  <<: *x\n", ("set", ("a", "z"), 2), Obstacle.ALIAS),
    "from a merge key": ("a: &x\n  y: 1\nb:\n  <<: *x\n  z: 1\n", ("set", ("b", "y"), 2), Obstacle.MERGE),
    "overridden after a merge key": ("a: &x\n  y: 1\nb:\n  <<: *x\n  y: 3\n", ("set", ("b", "y"), 2), Obstacle.MERGE),
    "said twice": ("a: 1\na: 2\n", ("set", ("a",), 3), Obstacle.DUPLICATE),
    "a templated mapping": ("a:\n  x: {{ .Values.x }}\n", ("set", ("a", "b"), 3), Obstacle.TEMPLATE),
    "a template": ("a:\n{{- if .x }}\n  b: 1\n{{- end }}\n", ("set", ("a", "b"), 3), Obstacle.TEMPLATE),
    "a templated text": ('a: "{{ toYaml . }}"\n', ("set", ("a", "b"), 3), Obstacle.TEMPLATE),
    "a scalar where a mapping should be": ("a: 1\n", ("set", ("a", "b"), 3), Obstacle.TYPE),
    "a scalar where a list should be": ("a: 1\n", ("append", ("a",), 3), Obstacle.TYPE),
    "a mapping in place of a block": ("a:\n  b: 1\n", ("set", ("a",), 3), Obstacle.TYPE),
    "a comment that would have no place": (
        "a:\n- k: 1\n  # of w\n  w: 2\n",
        ("remove", ("a", 0, "k")),
        Obstacle.TYPE,
    ),
    "no such item": ("a: [1]\n", ("set", ("a", 3, "b"), 3), Obstacle.MISSING),
    "broken": ("a: [1\n", ("set", ("a", 0), 3), Obstacle.UNREADABLE),
}


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_what_would_change_something_else_is_refused(case: str) -> None:
    before, operation, obstacle = REFUSALS[case]
    assert refusal(before, operation) is obstacle


@pytest.mark.parametrize("gone", [("remove", ("a", "b")), ("rename", ("a", "b"), "d")])
def test_what_is_no_longer_there_has_no_name_to_change(gone: tuple[Any, ...]) -> None:
    assert refusal("a: {b: 1, c: 2}\n", gone, ("rename", ("a", "b"), "e")) is Obstacle.MISSING


def test_an_empty_mapping_that_was_looked_at_can_still_be_filled() -> None:
    editor = Editor(b"a: {}\n")
    with pytest.raises(Uneditable):
        editor.draft(0).rename(("a", "b"), "c")
    editor.draft(0).set(("a", "b"), 1)
    assert editor.apply() == b"a:\n  b: 1\n"


def test_utf_16_is_refused() -> None:
    with pytest.raises(Uneditable, match="UTF-16"):
        Editor("a: 1".encode("utf-16"))


def test_documents_are_edited_each_by_itself() -> None:
    text = "--- # one\na: 1\n---# two\n---\nb: [1\n---\nc: 1\n...\n---\n# nothing\n---\nd: 1\n"
    editor = Editor(text.encode())
    editor.draft(0).set(("x",), 1)
    editor.draft(3).set(("x",), 1)
    with pytest.raises(Uneditable):
        editor.draft(1)
    wanted = text.replace("a: 1\n", "a: 1\nx: 1\n").replace("d: 1\n", "d: 1\nx: 1\n")
    assert editor.apply().decode() == wanted


def test_an_alias_bomb_costs_nothing() -> None:
    lines = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    text = "\n".join([*lines, "own:\n  b: 1\n"])
    assert refusal(text, ("set", ("own", "c"), 1)) is Obstacle.ALIAS


# --- properties: data and edits at random, written in as many ways as YAML has ---

KEYS = st.sampled_from(["name", "image", "args", "env", "spec", "kind", "sizeLimit", "on-x", "a b", "x/y", "é", "1"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**12),
    st.sampled_from(
        [
            *["", "x", "yes", "no", "0o17", "1e3", "~", "null", "12:30", "1_0", "2020-01-01", ".inf", "<<", "="],
            *["a: b", "a #b", "#", "- a", "{}", "a,b", "[x", "x]", "? x", "---", "...", "--- a", "!x", "&a", "*a"],
            *["a\nb\n", "a\n\n b", "x\n", "\n", "a\r\nb", "é\u2028", "\ufeff", "x ", " x", "\t", "\x7f", "a\\n", "😀"],
            *["'", '"', "\\", "$(A)", "%a", "@a", "`"],
        ]
    ),
    st.text(max_size=6).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)),
)  # fmt: skip
DATA = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=14,
)


@settings(max_examples=600, deadline=None)
@given(st.dictionaries(KEYS, DATA, min_size=1, max_size=4), st.sampled_from([2, 4]), st.sampled_from([0, 2]))
def test_what_is_rendered_reads_as_what_it_was(data: dict[str, Any], step: int, listed: int) -> None:
    """New text means the same to the reader that follows kubectl, and to YAML 1.1 as PyYAML has it."""
    for text in ("\n".join(render_block(data, step=step, listed=listed)) + "\n", render_flow(data) + "\n"):
        (document,) = read_documents(text.encode())
        assert isinstance(document, Document), text
        assert to_python(document.root) == data
        assert json.dumps(to_python(document.root)) == json.dumps(data)
    assert "\n" not in render_scalar("a\nb")


def routes(data: Any, route: Route = ()) -> list[tuple[Route, Any]]:
    found = [(route, data)]
    for key, item in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        found += routes(item, (*route, key))
    return found


def place(data: Any, route: Route) -> Any:
    for key in route:
        data = data[key]
    return data


def change(data: Any, chance: random.Random, draft: Any) -> Any:
    """Make one edit at random on the draft and on plain data; return the data, or None where nothing was to do."""
    wanted = copy.deepcopy(data)
    held = [(route, value) for route, value in routes(wanted) if isinstance(value, dict | list)]
    route, value = chance.choice(held)
    new = chance.choice([True, "x y", 7, {"a": [1, {"b": None}]}, ["q", {"w": "e: r"}], "l\nm\n", {}, []])
    if isinstance(value, list):
        if chance.random() < 0.6:
            draft.append(route, new)
            value.append(new)
        else:
            draft.prepend(route, new)
            value.insert(0, new)
        return wanted
    key = chance.choice(["added", *value])
    kind = chance.choice(["set", "set", "set", "remove", "rename"])
    if kind == "set":
        if isinstance(value.get(key), dict | list) and value[key]:
            return wanted
        draft.set((*route, key), new)
        value[key] = new
    elif key in value and kind == "remove":
        draft.remove((*route, key))
        del value[key]
    elif key in value and key != "renamed":
        if "renamed" in value:
            return wanted
        draft.rename((*route, key), "renamed")
        value["renamed"] = value.pop(key)
    return wanted


@settings(max_examples=1500, deadline=None)
@given(st.dictionaries(KEYS, DATA, min_size=1, max_size=4), st.integers(0, 2**32))
def test_ugly_text_comes_out_as_exactly_what_was_wanted(data: dict[str, Any], seed: int) -> None:
    """One edit to any shape: the data is right, untouched lines stay in order, and doing it again changes nothing."""
    before = Ugly(seed).text(data)
    editor = Editor(before.encode())
    draft = editor.draft(0)
    assert json.dumps(draft.data) == json.dumps(data), before
    try:
        wanted = change(data, random.Random(seed), draft)
        splices = editor.splices()
    except Uneditable as error:
        if error.obstacle not in (Obstacle.TYPE, Obstacle.MISSING):
            raise
        return
    after = splice(editor.data, splices).decode()
    (document,) = read_documents(after.encode())
    assert isinstance(document, Document)
    assert json.dumps(to_python(document.root), sort_keys=True) == json.dumps(wanted, sort_keys=True)
    if kubectl.read(before.encode()) is not None:
        assert kubectl.read(after.encode()) == [json.loads(json.dumps(wanted))]
    comments = [line for line in before.splitlines() if line.strip().startswith("#")]
    kept = [line for line in after.splitlines() if line.strip().startswith("#")]
    if not any(isinstance(value, str) and "#" in value for _, value in routes(data)) and len(routes(wanted)) >= len(
        routes(data)
    ):
        assert [line for line in comments if line in kept] == comments, (before, after)

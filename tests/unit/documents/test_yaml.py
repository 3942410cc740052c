"""Documents are read as kubectl reads them, with their places, and bad ones are bounded."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lithify.documents import compose
from lithify.documents.nodes import duplicates, entries, to_python
from lithify.documents.scalar import read_plain
from lithify.documents.yaml import Broken, Document, read_documents

CASES = Path(__file__).parents[2] / "cases" / "yaml" / "kubectl.jsonl"
RECORDED = [json.loads(line) for line in CASES.read_text().splitlines()]


def read(text: str | bytes) -> tuple[list[Any], list[str]]:
    """Return what the documents hold, and what is wrong with those that hold nothing."""
    values, errors = [], []
    for document in read_documents(text if isinstance(text, bytes) else text.encode()):
        try:
            if isinstance(document, Broken):
                raise ValueError(document.reason)
            values.append(to_python(document.root))
        except ValueError as error:
            errors.append(str(error))
    return values, errors


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: str(case["name"]))
def test_reads_what_kubectl_reads(case: dict[str, Any]) -> None:
    """Every recorded text gives kubectl's documents, or an error where kubectl gives one."""
    values, errors = read(case["yaml"])
    # libyaml reads YAML 1.2's escaped slash, which JSON has as well; go-yaml v2 does not.
    if case["name"] == "dquoteesc":
        pytest.skip("libyaml takes JSON's escaped slash")
    if case["error"]:
        assert errors
    else:
        assert values == case["documents"]
        assert not errors


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: str(case["name"]))
def test_events_give_the_same_as_the_composer(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without libyaml the answers are the same."""
    if case["name"] == "tabafter":
        pytest.skip("PyYAML's own scanner takes no tab after a colon")
    fast = read(case["yaml"])
    monkeypatch.setattr(compose, "_Composer", None)
    monkeypatch.setattr(compose, "_Parser", None)
    slow = read(case["yaml"])
    assert slow[0] == fast[0]
    assert bool(slow[1]) == bool(fast[1])


def documents(text: str | bytes) -> list[Document | Broken]:
    """Return what `read_documents` yields."""
    return list(read_documents(text if isinstance(text, bytes) else text.encode()))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a: 1\n---# next\nb: 2\n", [{"a": 1}, {"b": 2}]),
        ("---\na: 1\n--- # next\nb: 2\n---\n", [{"a": 1}, {"b": 2}]),
        ("--- {a: 1}\n--- {b: 2}\n", [{"a": 1}, {"b": 2}]),
        ("---\r\na: 1\r\n---\r\nb: 2\r\n", [{"a": 1}, {"b": 2}]),
        ("\ufeff---\na: 1\n", [{"a": 1}]),
        ("# a licence\n---\n# nothing\n---\na: 1\n", [{"a": 1}]),
        ('{"a": 1}\n{"b": "\\ud83d\\ude00"} {"c": "\\/"}', [{"a": 1}, {"b": "      \ufffd"}, {"c": "/"}]),
        ("a: |\n  x\n  ---\n  y\n", [{"a": "x\n---\ny\n"}]),
        ("a: &x 1\nb: &x 2\nc: *x\n", [{"a": 1, "b": 2, "c": 2}]),
        ("a: {p: 1}\nb:\n  q: 1\n  <<: {q: 2}\n", [{"a": {"p": 1}, "b": {"q": 2}}]),
        ("a: 1\n".encode("utf-16"), [{"a": 1}]),
    ],
)
def test_documents_are_told_apart(text: str | bytes, values: list[Any]) -> None:
    """Separators, marks, line ends and JSON give the documents that kubectl sees."""
    assert read(text) == (values, [])


def test_a_broken_document_hides_no_other() -> None:
    """Each document is read on its own, and the error says where it is."""
    first, second, third = documents("a: 1\n---\nb:\n\tc: 1\n---\nd: 1\n")
    assert isinstance(first, Document)
    assert isinstance(third, Document)
    assert isinstance(second, Broken)
    assert (second.line, second.column) == (4, 1)
    assert third.first_line == 5


def test_places_are_counted_from_one_in_characters() -> None:
    """A key stands where the key is, an item where it begins; a way that ends early gives the last place."""
    (_, document) = documents("x: 1\n---\nspec:\n  é: [{name: a}, {name: b}]\n")
    assert isinstance(document, Document)
    assert document.find(document.root, ("spec",)) == (3, 1)
    assert document.find(document.root, ("spec", "é", 1)) == (4, 18)
    assert document.find(document.root, ("spec", "é", 1, "name")) == (4, 19)
    assert document.find(document.root, ("spec", "é", 1, "missing", "deeper")) == (4, 18)
    assert document.entry_lines(("spec", "é", 0)) == [3, 4, 4]


def test_places_follow_merge_keys_and_later_duplicates() -> None:
    """What comes through a merge stands where it was written; of two equal keys the last one counts."""
    (document,) = documents("a: &a\n  p: 1\nb:\n  <<: *a\nc: 1\nc: 2\n")
    assert isinstance(document, Document)
    assert document.find(document.root, ("b", "p")) == (2, 3)
    assert document.find(document.root, ("c",)) == (6, 1)
    assert duplicates(document.root) == ["c"]


def test_a_broken_object_of_concatenated_json_hides_only_itself() -> None:
    """The next one begins where a line begins with a brace; where none does, it is said that the rest is not read."""
    text = b'{"a": 1}\n{"b": 2,, }\n {"in": 1}\n{\n"c": 3}{"d": }{"e": 5}\n{"f": 6}\n{"g"\n{"h": x}{"i": 9}\n'
    found = list(read_documents(text))
    assert [one.index for one in found] == list(range(6))
    good = [(one.index, to_python(one.root)) for one in found if isinstance(one, Document)]
    assert good == [(0, {"a": 1}), (2, {"c": 3}), (4, {"f": 6})]
    assert [(one.line, one.column, one.reason) for one in found if isinstance(one, Broken)] == [
        (2, 9, "no JSON: expecting property name enclosed in double quotes"),
        (5, 14, "no JSON: expecting value"),
        (8, 1, "no JSON: expecting ':' delimiter; the rest of the file is not read"),
    ]


def test_many_broken_objects_are_not_looked_through_for_ever() -> None:
    """Each error costs a look at all lines before it: beyond some, the rest is not read, and that is said."""
    *_, last = read_documents(b'{"a": 1}\n' + b'{"b": [\n' * 30_000)
    assert isinstance(last, Broken)
    assert last.reason.endswith("; the rest of the file is not read")


def test_concatenated_json_keeps_its_places() -> None:
    """The second object on a line has its own columns."""
    _, second = documents('{"a": 1} {"b":\n 2}')
    assert isinstance(second, Document)
    assert second.find(second.root, ("b",)) == (1, 11)


@pytest.mark.parametrize("opener", ["[", "{a: ", "- ", "-\t", "? ", "- - ? "])
@pytest.mark.parametrize("levels", [3_000, 100_000])
def test_deep_nesting_is_an_error(opener: str, levels: int) -> None:
    """Nesting that would overrun the C stack ends in an error, quickly."""
    begin = time.monotonic()
    values, errors = read("a: 1\n---\n" + opener * levels)
    assert values == [{"a": 1}]
    assert errors
    assert time.monotonic() - begin < 20


def test_aliases_are_bounded() -> None:
    """An alias bomb stays small, through merge keys too; an anchor that contains itself is refused."""
    levels = ["a0: &a0 {k: v}"] + [
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], k{n}: v}}" for n in range(1, 40)
    ]
    (document,) = documents("\n".join(levels))
    assert isinstance(document, Document)
    assert len(entries(entries(document.root)["a39"])) == 40
    (broken,) = documents("a: &a\n  b: *a\n")
    assert isinstance(broken, Broken)
    assert "contains itself" in broken.reason


@given(st.binary(max_size=300))
def test_no_input_raises(data: bytes) -> None:
    """Whatever the bytes, documents or errors come out."""
    for document in read_documents(data):
        assert document.index >= 0


@given(st.text(max_size=30))
def test_plain_scalars_never_raise(text: str) -> None:
    """Every text means something."""
    read_plain(text)


# What YAML can't hold comes out as a replacement character; the surrogates' pairs as well.
TEXT = st.text(
    st.characters(max_codepoint=0xFFFD, exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="\ufeff"),
    max_size=8,
)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=12,
    )
)
def test_json_comes_back(value: Any) -> None:
    """What json writes is read as it was, inside an object as kubectl has it."""
    (document,) = documents(json.dumps({"value": value}, ensure_ascii=False))
    assert isinstance(document, Document)
    assert to_python(document.root) == {"value": value}


def test_places_of_what_a_wide_mapping_merges_in() -> None:
    """Its own keys come first, then what it merges in, wide or narrow."""
    own = "".join(f"  k{n}: 1\n" for n in range(200))
    base = "".join(f"  b{n}: 1\n" for n in range(200))
    text = f"base: &base\n{base}  k0: 2\nwide:\n  <<: *base\n{own}narrow: {{<<: *base}}\n"
    (document,) = read_documents(text.encode())
    assert isinstance(document, Document)
    lines = [document.entry_lines(("wide", key))[-1] for key in ("k0", "k199", "b0", "b199", "none")]
    assert lines == [205, 404, 2, 201, 203]
    assert [document.entry_lines(("narrow", key))[-1] for key in ("b7", "k0", "none")] == [9, 202, 405]


def test_places_in_a_wide_mapping_are_those_of_a_narrow_one() -> None:
    """Of two that are called the same the last counts, and a merge gives what is not said."""
    keys = "".join(f"  k{number}: {{a: {number}}}\n" for number in range(300))
    text = f"x: &more\n  merged: 1\nwide:\n  <<: *more\n{keys}  k7:\n    b: 2\n"
    (document,) = read_documents(text.encode())
    assert isinstance(document, Document)
    found = [
        document.find(document.root, ("wide", *tail)) for tail in (("k0",), ("k299", "a"), ("k7", "b"), ("merged",))
    ]
    assert found == [(5, 3), (304, 10), (306, 5), (2, 3)]
    assert document.find(document.root, ("wide", "none")) == (3, 1)
    assert document.entry_lines(("wide", "k7", "b")) == [3, 305, 306]

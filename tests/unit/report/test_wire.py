"""Results go to JSON and back unchanged."""

import json
from dataclasses import fields, is_dataclass
from pathlib import Path, PurePosixPath

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lithify.errors import InvalidInput
from lithify.model.hardening import Hardening
from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.mount import Mount, MountPlan, StorageKind
from lithify.model.verdict import Check, Verdict
from lithify.model.writes import Change, Observation, RunKey, Write, WriteSet
from lithify.report.wire import parse, read_json, render_json, schema

names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
    | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),
    min_size=1,
).filter(lambda name: name not in (".", ".."))
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: PurePosixPath("/", *parts))


def write_set(path: PurePosixPath) -> WriteSet:
    entry = ImageEntry(type=EntryType.DIRECTORY, mode=0o1777, uid=0, gid=0)
    return WriteSet(
        key=RunKey(image="sha256:0"),
        container="web",
        image=ImageFacts(reference="web", entries={path.parent: entry}),
        writes=(Write(path=path, change=Change.CREATED),),
        observation=Observation(seconds=1.5),
    )


@given(paths)
def test_any_name_survives_even_one_that_is_not_utf8(path: PurePosixPath) -> None:
    """File names are bytes; those that are not UTF-8 travel as escaped surrogates."""
    text = render_json(write_set(path))
    assert text.isascii()
    assert parse(text.encode(), WriteSet, source="test") == write_set(path)


def test_a_plan_matches_its_published_schema() -> None:
    mount = Mount(path=PurePosixPath("/run"), storage=StorageKind.MEMORY, size=1 << 20)
    plan = MountPlan(key=RunKey(image="x"), container="web", mounts=(mount,))
    jsonschema.validate(json.loads(render_json(plan)), schema(MountPlan))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**json.loads(render_json(plan)), "mounts": [{"path": 7}]}, schema(MountPlan))


def test_a_check_of_before_there_was_tried_was_tried() -> None:
    left = Check(name="needs /run", passed=True, tried=False, summary="not taken away")
    text = render_json(Verdict(minimal=(left,)))
    assert json.loads(text)["minimal"][0]["tried"] is False
    assert parse(text.encode(), Verdict, source="test").minimal == (left,)
    document = json.loads(text)
    del document["minimal"][0]["tried"]
    assert parse(json.dumps(document).encode(), Verdict, source="test").minimal[0].tried


@pytest.mark.parametrize("type_", [Hardening, WriteSet, MountPlan, Verdict])
def test_every_result_carries_a_versioned_schema(type_: type) -> None:
    assert is_dataclass(type_)
    (field,) = [field for field in fields(type_) if field.name == "schema"]
    assert isinstance(field.default, str)
    assert field.default.startswith("lithify.dev/")
    assert field.default.rpartition("/v")[2].isdigit()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[]", "it names no schema"),
        ('{"schema": ["lithify.dev/mount-plan/v1"]}', "its schema is"),
        ('{"schema": "lithify.dev/mount-plan/v9"}', "its schema is 'lithify.dev/mount-plan/v9'"),
        ('{"schema": "lithify.dev/mount-plan/v1", "key": 3, "container": "x"}', r"\$.key"),
        ('{"schema": "lithify.dev/mount-plan/v1", "container": "x"}', "key"),
    ],
)
def test_what_is_no_plan_is_refused_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=told) as caught:
        read_json(file, MountPlan)
    assert "plan.json" in str(caught.value)


def test_a_missing_file_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no file "):
        read_json(tmp_path / "none.json", MountPlan)

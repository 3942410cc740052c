"""The published JSON Schemas say what the stages write; LITHIFY_GOLDEN=write writes them anew."""

import ast
import inspect
import json
import os
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import jsonschema
import pytest
from tests.unit.plan.facts import write, write_set

import lithify.model
from lithify.model.group import GroupHardening
from lithify.model.hardening import Hardening
from lithify.model.log import Explanation
from lithify.model.mount import MountPlan
from lithify.model.verdict import Check, Verdict
from lithify.model.writes import WriteSet
from lithify.plan import make_plan
from lithify.report.wire import render_json, schema

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
DOCUMENTS = (WriteSet, MountPlan, Verdict, Hardening, GroupHardening, Explanation)


def path_of(type_: Any) -> Path:
    """Return where the schema of a document is: `write-set-v1.json`."""
    name: str = type_.__dataclass_fields__["schema"].default
    return SCHEMAS / f"{name.removeprefix('lithify.dev/').replace('/', '-')}.json"


def published(type_: type) -> str:
    """Return the schema of a document, with what the docstrings say of each field."""
    document = schema(type_)
    for found in model_types():
        fields = document["$defs"].get(found.__name__, {}).get("properties", {})
        for name, words in field_docstrings(found):
            if name in fields:
                fields[name]["description"] = words
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **document}, indent=1) + "\n"


def model_types() -> list[type]:
    modules = [import_module(f"lithify.model.{found.name}") for found in iter_modules(lithify.model.__path__)]
    return [
        one
        for module in modules
        for one in vars(module).values()
        if isinstance(one, type) and is_dataclass(one) and one.__module__ == module.__name__
    ]


def field_docstrings(type_: type) -> Iterator[tuple[str, str]]:
    """Yield each field of a class that has a docstring, with it."""
    body = ast.parse(inspect.getsource(type_)).body[0]
    assert isinstance(body, ast.ClassDef)
    for field, after in pairwise(body.body):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            yield field.target.id, " ".join(str(after.value.value).split())


@pytest.mark.parametrize("type_", DOCUMENTS, ids=lambda type_: path_of(type_).stem)
def test_what_a_script_may_rely_on_is_published(type_: type) -> None:
    if os.environ.get("LITHIFY_GOLDEN") == "write":
        path_of(type_).write_text(published(type_))
    assert path_of(type_).read_text() == published(type_)


def test_what_is_written_follows_what_is_published() -> None:
    found = write_set(write("/run/app.pid", size=7), write("/var/lib/app/db.sqlite", content="sqlite", size=4096))
    for value in (found, make_plan(found), Verdict(works=(Check(name="starts", passed=True, summary="it stays"),))):
        document, against = json.loads(render_json(value)), json.loads(path_of(type(value)).read_text())
        jsonschema.Draft202012Validator.check_schema(against)
        jsonschema.validate(document, against)
        for spoilt in ({**document, "schema": "lithify.dev/other/v1"}, {**document, "container": 7, "works": 7}):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(spoilt, against)


def test_no_schema_is_left_of_what_is_written_no_more() -> None:
    assert {path.name for path in SCHEMAS.glob("*.json")} == {
        "audit-report-v1.json",
        *(path_of(type_).name for type_ in DOCUMENTS),
    }

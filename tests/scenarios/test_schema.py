"""The schema of a scenario file."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import msgspec
import pytest

from reference.resources.documents import read_documents
from scenarios.schema import ACTIONS, EXPECTATIONS, Expectation, Step, json_schema

ROOT = Path(__file__).parents[2]
SCENARIOS = [path for path in (ROOT / "scenarios").rglob("*.yaml") if path.parent.name != "manifests"]


def test_json_schema_is_a_schema():
    """Editors can use it."""
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_json_schema_takes_the_collection(path):
    """What the loader takes, the JSON Schema takes."""
    (document,) = read_documents(path.read_text())
    jsonschema.validate(document.value, json_schema(), cls=jsonschema.Draft202012Validator)


WRONG = [
    {"name": "a", "title": "b"},
    {"name": "a", "title": "b", "lesson": "c", "colour": "red"},
    {"name": "a", "title": "b", "lesson": "c", "nodes": "two"},
    {"name": "a", "title": "b", "lesson": "c", "expect": [{"allow": {"from": 7, "to": "x"}}]},
]


@pytest.mark.parametrize("value", WRONG)
def test_json_schema_refuses_what_is_wrong(value):
    """Missing and unknown fields, and wrong types."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, json_schema(), cls=jsonschema.Draft202012Validator)


def test_every_action_and_expectation_is_counted():
    """`exactly one of` is asked over every field there is, so that a new one cannot be forgotten."""
    assert set(ACTIONS) == {field.name for field in msgspec.structs.fields(Step)} - {"say"}
    assert set(EXPECTATIONS) == {field.name for field in msgspec.structs.fields(Expectation)}

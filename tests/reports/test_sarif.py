"""SARIF 2.1.0 of the linter's findings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reference.analysis.lint import RULES, Finding, lint
from reference.loading import load_state
from reference.resources import load
from reports.sarif import SCHEMA, sarif

TEXT = {"type": "object", "properties": {"text": {"type": "string", "minLength": 1}}, "required": ["text"]}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
SHAPE: dict[str, Any] = {  # the properties of the standard that are used here, as it defines them
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool"],
                "additionalProperties": False,
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "additionalProperties": False,
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name"],
                                "additionalProperties": False,
                                "properties": {
                                    "name": {"type": "string"},
                                    "semanticVersion": {"type": "string"},
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "type": "object",
                                            "required": ["id"],
                                            "additionalProperties": False,
                                            "properties": {
                                                "id": {"type": "string"},
                                                "name": {"type": "string"},
                                                "shortDescription": TEXT,
                                                "fullDescription": TEXT,
                                                "help": TEXT,
                                                "defaultConfiguration": {
                                                    "type": "object",
                                                    "properties": {"level": LEVEL},
                                                    "additionalProperties": False,
                                                },
                                            },
                                        },
                                    },
                                },
                            }
                        },
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["message"],
                            "additionalProperties": False,
                            "properties": {
                                "ruleId": {"type": "string"},
                                "ruleIndex": {"type": "integer", "minimum": 0},
                                "level": LEVEL,
                                "message": TEXT,
                                "locations": {
                                    "type": "array",
                                    "items": {
                                        "type": "object",
                                        "additionalProperties": False,
                                        "properties": {
                                            "physicalLocation": {
                                                "type": "object",
                                                "required": ["artifactLocation"],
                                                "additionalProperties": False,
                                                "properties": {
                                                    "artifactLocation": {
                                                        "type": "object",
                                                        "properties": {"uri": {"type": "string", "pattern": "^[^ ]+$"}},
                                                        "additionalProperties": False,
                                                    },
                                                    "region": {
                                                        "type": "object",
                                                        "properties": {"startLine": {"type": "integer", "minimum": 1}},
                                                        "additionalProperties": False,
                                                    },
                                                },
                                            },
                                            "logicalLocations": {
                                                "type": "array",
                                                "items": {
                                                    "type": "object",
                                                    "properties": {
                                                        "fullyQualifiedName": {"type": "string"},
                                                        "kind": {"type": "string"},
                                                    },
                                                    "additionalProperties": False,
                                                },
                                            },
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


def finding(**changes: Any) -> Finding:
    """A finding."""
    given = {
        "id": "MUS305", "severity": "note", "title": "t", "resource": "NetworkPolicy shop/web", "field": "spec",
        "message": "m", "file": "policies/web one.yaml", "line": 7,
    }  # fmt: skip
    return Finding(**{**given, **changes})


def test_shape() -> None:
    """Any findings make a document of the standard's shape, with every rule of the linter described."""
    loaded = load(Path(__file__).parents[2] / "docs" / "examples")
    findings = (*lint(load_state(*loaded.resources), loaded.sources), finding(), finding(file="", line=0))
    document = json.loads(sarif(findings, "1.2.3"))

    jsonschema.validate(document, SHAPE)
    assert document["$schema"] == SCHEMA
    assert [rule["id"] for rule in document["runs"][0]["tool"]["driver"]["rules"]] == list(RULES)


@pytest.mark.parametrize(
    ("file", "uri"),
    [
        ("web.yaml", "web.yaml"),
        ("policies/web one.yaml", "policies/web%20one.yaml"),
        ("/srv/ä.yaml", "file:///srv/%C3%A4.yaml"),
    ],
)
def test_place(file: str, uri: str) -> None:
    """A finding points at its file, as a URI, and its line; and its rule by id and by place in the list."""
    document = json.loads(sarif([finding(file=file)], "1"))
    (result,) = document["runs"][0]["results"]

    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": uri},
        "region": {"startLine": 7},
    }
    assert (result["ruleId"], result["level"]) == ("MUS305", "note")
    assert document["runs"][0]["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "MUS305"


def test_without_a_file() -> None:
    """A finding about a resource that came from no file has its resource and field only."""
    (result,) = json.loads(sarif([finding(file="", line=0)], "1"))["runs"][0]["results"]

    assert result["locations"] == [
        {"logicalLocations": [{"fullyQualifiedName": "NetworkPolicy shop/web spec", "kind": "resource"}]}
    ]

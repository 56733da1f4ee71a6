"""Findings as SARIF 2.1.0, the form in which code hosts show them beside the lines they are about."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from reference.analysis.lint import RULES, Finding, LintRule

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"


def sarif(findings: Iterable[Finding], version: str, rules: Mapping[str, LintRule] = RULES) -> bytes:
    """One run of the linter. A finding whose resource came from no file has a logical location only."""
    order = {rule_id: index for index, rule_id in enumerate(rules)}
    document = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "muslin lint",
                        "semanticVersion": version,
                        "rules": [_rule(rule) for rule in rules.values()],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, order[finding.id]) for finding in findings],
            }
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode()


def _rule(rule: LintRule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.reason},
        "help": {"text": f"{rule.reason} See {rule.page}."},
        "defaultConfiguration": {"level": rule.severity},
    }


def _result(finding: Finding, index: int) -> dict[str, Any]:
    place: dict[str, Any] = {
        "logicalLocations": [{"fullyQualifiedName": f"{finding.resource} {finding.field}", "kind": "resource"}]
    }
    if finding.line:
        place["physicalLocation"] = {
            "artifactLocation": {"uri": _uri(finding.file)},
            "region": {"startLine": finding.line},
        }
    return {
        "ruleId": finding.id,
        "ruleIndex": index,
        "level": finding.severity,
        "message": {"text": f"{finding.resource}: {finding.field}: {finding.message}"},
        "locations": [place],
    }


def _uri(file: str) -> str:
    """A path as a URI reference: relative ones stay so, which is what code hosts resolve."""
    path = PurePath(file)
    if path.is_absolute():
        return path.as_uri()
    return quote(path.as_posix())

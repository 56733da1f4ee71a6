"""docs/laws.md leads from every invariant of the language to the property that holds it."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASKED = {*range(1, 15), *range(25, 31)}
_ROW = re.compile(
    r"^\| (?P<number>\d+) \| (?P<law>[^|]+) \|(?P<makers>[^|]*)\| `(?P<path>[^`]+)::(?P<test>\w+)` \|$", re.M
)
ROWS = list(_ROW.finditer((ROOT / "docs" / "laws.md").read_text()))


def test_every_invariant_is_listed():
    """Invariants 1 to 14 and 25 to 30 each have a row, and every row of the table is read."""
    assert {int(row["number"]) for row in ROWS} == ASKED
    assert len(ROWS) == (ROOT / "docs" / "laws.md").read_text().count("::test_")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['number']}-{row['test']}")
def test_what_a_row_names_exists(row):
    """A row's makers are in `property_tests.properties`; its test is there, and runs under Hypothesis."""
    for module, name in re.findall(r"`(\w+)\.(\w+)`", row["makers"]):
        assert hasattr(importlib.import_module(f"property_tests.properties.{module}"), name), f"{module}.{name}"
    text = (ROOT / row["path"]).read_text()
    functions = {node.name: node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
    assert row["test"] in functions
    decorators = " ".join(map(ast.unparse, functions[row["test"]].decorator_list))
    assert "given(" in decorators or ("live" in decorators and "@given(" in text)

"""The pages of the linter: one for each id, whose bad example gives exactly that finding and whose good one none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reference.analysis.lint import RULES, Finding, lint
from reference.loading import load_state
from reference.resources import parse

PAGES = Path(__file__).parents[2] / "docs" / "lint"
EXAMPLE = re.compile(r"^## A (bad example|good one)\n+```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples(rule_id: str) -> dict[str, str]:
    """The two examples of a page."""
    text = (PAGES / f"{rule_id}.md").read_text()
    return {found[1].split()[0]: found[2] for found in EXAMPLE.finditer(text)}


def findings(text: str) -> tuple[Finding, ...]:
    """What the linter says to manifests."""
    loaded = parse(text, "example.yaml")
    return lint(load_state(*loaded.resources), loaded.sources)


def test_every_id_has_a_page() -> None:
    """There is a page for every id, an id for every page, and an index of both."""
    pages = {page.stem for page in PAGES.glob("MUS*.md")}
    listed = set(re.findall(r"\]\((MUS\d{3})\.md\)", (PAGES / "README.md").read_text()))

    assert pages == set(RULES) == listed


@pytest.mark.parametrize("rule_id", RULES)
def test_page_says_what_the_registry_says(rule_id: str) -> None:
    """A page begins with the id, the title, the name and the severity."""
    rule = RULES[rule_id]

    assert (
        (PAGES / f"{rule_id}.md")
        .read_text()
        .startswith(f"# {rule.id}: {rule.title}\n\n`{rule.name}`, {rule.severity}\n")
    )


@pytest.mark.parametrize("rule_id", RULES)
def test_bad_example(rule_id: str) -> None:
    """The bad example of a page gives exactly its finding, once, with a line of the example."""
    text = examples(rule_id)["bad"]
    found = findings(text)

    assert [finding.id for finding in found] == [rule_id], found
    assert 1 <= found[0].line <= text.count("\n") + 1
    assert found[0].place == f"example.yaml:{found[0].line}"


@pytest.mark.parametrize("rule_id", RULES)
def test_good_example(rule_id: str) -> None:
    """The good example of a page gives no finding."""
    assert findings(examples(rule_id)["good"]) == ()

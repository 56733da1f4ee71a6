"""What the linter's certainty stands on: spans of numbers, implication of selectors, boxes of header space."""

# ruff: noqa: E501 -- a case is a line

from __future__ import annotations

from itertools import pairwise

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reference.analysis.lint.boxes import covered, rule_boxes
from reference.analysis.lint.implication import implies, labels_in, satisfiable
from reference.analysis.lint.spans import Spans, common, spans, without
from reference.resources import load
from reference.resources.calico import Rule
from reference.selectors import parse

PAIRS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)).map(lambda pair: (pair[0], pair[0] + pair[1])))


def members(found: Spans) -> set[int]:
    """The numbers of a set of spans."""
    return {number for low, high in found for number in range(low, high + 1)}


@given(one=PAIRS, other=PAIRS)
def test_spans_are_sets(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    """Spans are sorted, apart from each other, and behave as the sets of their numbers."""
    left, right = spans(one), spans(other)

    assert members(left) == {number for low, high in one for number in range(low, high + 1)}
    assert all(first[1] + 1 < second[0] for first, second in pairwise(left))
    assert members(common(left, right)) == members(left) & members(right)
    assert members(without(left, right)) == members(left) - members(right)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a == 'x'", "a == 'x'", True),
        ("a == 'x'", "has(a)", True),
        ("a == 'x'", "a != 'y'", True),
        ("a == 'x'", "a in {'x', 'y'}", True),
        ("a in {'x', 'y'}", "a == 'x'", False),
        ("a in {'x', 'y'}", "a not in {'z'}", True),
        ("a == 'x' && b == 'y'", "b == 'y' && a == 'x'", True),
        ("a == 'x' && b == 'y'", "a == 'x'", True),
        ("a == 'x'", "a == 'x' && b == 'y'", False),
        ("a == 'x'", "a == 'x' || b == 'y'", True),
        ("a == 'x' || b == 'y'", "a == 'x'", False),
        ("a == 'x' || b == 'y'", "has(a) || has(b)", True),
        ("a == 'x'", "all()", True),
        ("all()", "a == 'x'", False),
        ("all()", "has(a) || !has(a)", True),
        ("a != 'x'", "has(a)", False),  # an absent label is unequal (SEL-4)
        ("!has(a)", "a != 'x'", True),
        ("has(a) && a not in {'x'}", "has(a)", True),
        ("a starts with 'xy'", "a starts with 'x'", True),
        ("a starts with 'x'", "a starts with 'xy'", False),
        ("a starts with 'xy'", "a contains 'y'", True),
        ("a ends with 'xy'", "a ends with 'y'", True),
        ("a contains 'x'", "has(a)", True),
        ("has(a)", "a contains ''", True),
        ("a == 'xyz'", "a contains 'y'", True),
        ("a == 'xyz'", "a ends with 'y'", False),
        ("a in {}", "b == 'y'", True),  # what matches nothing implies everything
    ],
)
def test_implication(one: str, other: str, expected: bool) -> None:
    """One selector implies another when whatever labels match the one match the other."""
    assert implies(parse(one).node, parse(other).node) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a == 'x' && a == 'y'", False),
        ("a == 'x' && a != 'x'", False),
        ("a == 'x' && !has(a)", False),
        ("a in {'x', 'y'} && a in {'y', 'z'}", True),
        ("a in {'x'} && a in {'z'}", False),
        ("a in {}", False),
        ("a not in {}", True),
        ("a != 'x' && a != 'y'", True),
        ("!all()", False),
        ("a starts with 'x' && a starts with 'y'", False),
        ("a starts with 'x' && a starts with 'xy'", True),
        ("a ends with 'x' && a ends with 'y'", False),
        ("has(a) && !(a contains '')", False),
        ("(a == 'x' || a == 'y') && a == 'z'", False),
        ("(a == 'x' || b == 'y') && a == 'z'", True),
    ],
)
def test_satisfiable(text: str, expected: bool) -> None:
    """A selector is impossible when no labels can match it."""
    assert satisfiable(parse(text).node) is expected


def test_too_large_is_possible() -> None:
    """A form with too many alternatives counts as possible: nothing is claimed of it."""
    text = " && ".join(f"(a{number} == 'x' || b{number} == 'x')" for number in range(12))
    assert satisfiable(parse(f"{text} && has(z) && !has(z)").node)


def test_labels_in() -> None:
    """Every label name a selector mentions, in order."""
    assert list(labels_in(parse("a == 'x' && !(has(b) || c in {'y'}) && all()").node)) == ["a", "b", "c"]


def rule(text: str) -> Rule:
    """An ingress rule of a global policy."""
    document = f"{{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {{name: p}}, spec: {{types: [Ingress], ingress: [{{action: Allow, {text}}}]}}}}"
    (policy,) = load(yaml.safe_load(document)).resources
    found: Rule = policy.spec.ingress[0]  # type: ignore[union-attr, assignment]
    return found


TCP = "protocol: TCP"
COVERED = [
    # earlier rules, the rule, is it covered
    ([""], TCP, True),
    ([TCP], "", False),
    ([TCP], "protocol: 6", True),
    ([TCP], "protocol: UDP", False),
    (["notProtocol: UDP"], TCP, True),
    (["protocol: UDP", "notProtocol: UDP"], "", True),
    (["ipVersion: 4"], TCP, False),
    (["ipVersion: 4", "ipVersion: 6"], TCP, True),
    (["ipVersion: 4"], "protocol: ICMP", True),  # RULE-4
    (["ipVersion: 6"], "source: {nets: ['fd00::/8']}", True),  # RULE-13
    (["ipVersion: 6"], "source: {notNets: ['fd00::/8']}", True),
    (["source: {nets: [10.0.0.0/8]}"], "source: {nets: [10.1.0.0/16, 10.2.0.0/16]}", True),
    (["source: {nets: [10.1.0.0/16]}"], "source: {nets: [10.0.0.0/8]}", False),
    (["source: {nets: [10.0.0.0/9]}", "source: {nets: [10.128.0.0/9]}"], "source: {nets: [10.0.0.0/8]}", True),
    (["source: {notNets: [10.0.0.0/8]}", "source: {nets: [10.0.0.0/8]}"], "ipVersion: 4", True),
    (["source: {nets: [10.0.0.0/8]}"], "destination: {nets: [10.0.0.0/8]}", False),
    ([f"{TCP}, destination: {{ports: ['1:100']}}"], f"{TCP}, destination: {{ports: [80, '90:100']}}", True),
    ([f"{TCP}, destination: {{ports: ['1:100']}}"], f"{TCP}, destination: {{ports: [80, 101]}}", False),
    ([f"{TCP}, destination: {{ports: ['1:80']}}", f"{TCP}, destination: {{ports: ['81:99']}}"], f"{TCP}, destination: {{ports: ['70:90']}}", True),
    ([f"{TCP}, destination: {{ports: [80]}}"], f"{TCP}, source: {{ports: [80]}}", False),
    ([f"{TCP}, destination: {{notPorts: [80]}}"], f"{TCP}, destination: {{ports: [81]}}", True),
    ([f"{TCP}, destination: {{ports: [http]}}"], f"{TCP}, destination: {{ports: [http]}}", True),
    ([f"{TCP}, destination: {{ports: [http, dns]}}"], f"{TCP}, destination: {{ports: [http]}}", True),
    ([f"{TCP}, destination: {{ports: [http]}}"], f"{TCP}, destination: {{ports: [http, 80]}}", False),
    ([f"{TCP}, destination: {{ports: [http]}}"], f"{TCP}, destination: {{ports: [http], selector: a == 'x'}}", True),
    ([f"{TCP}, destination: {{ports: [http], selector: a == 'x'}}"], f"{TCP}, destination: {{ports: [http]}}", False),
    (["protocol: ICMP"], "protocol: ICMP, icmp: {type: 8}", True),
    (["protocol: ICMP, icmp: {type: 8}"], "protocol: ICMP, icmp: {type: 8, code: 0}", True),
    (["protocol: ICMP, icmp: {type: 8, code: 0}"], "protocol: ICMP, icmp: {type: 8}", False),
    (["protocol: ICMP, notICMP: {type: 8}", "protocol: ICMP, icmp: {type: 8}"], "protocol: ICMP", True),
    (["source: {selector: has(a)}"], "source: {selector: a == 'x'}", True),
    (["source: {selector: a == 'x'}"], "source: {selector: has(a)}", False),
    (["source: {selector: all()}"], "", False),  # addresses of nobody
    (["source: {selector: all()}"], "source: {namespaceSelector: all()}", True),
    (["source: {selector: a == 'x'}"], "source: {selector: a == 'x', namespaceSelector: team == 'red'}", True),
    (["source: {notSelector: a == 'x'}"], "source: {notSelector: has(a)}", True),
    (["source: {notSelector: has(a)}"], "source: {notSelector: a == 'x'}", False),
    (["source: {notSelector: a == 'x'}"], "source: {selector: a == 'y'}", False),  # an address may have two owners
    (["source: {serviceAccounts: {names: [a, b]}}"], "source: {serviceAccounts: {names: [a]}}", True),
    (["source: {selector: a == 'x'}", "source: {selector: a != 'x'}"], "source: {selector: all()}", False),  # not proved
]  # fmt: skip


@pytest.mark.parametrize(("earlier", "later", "expected"), COVERED, ids=[f"{row[0]} / {row[1]}" for row in COVERED])
def test_covered(earlier: list[str], later: str, expected: bool) -> None:
    """A rule is covered when earlier rules together match all that it matches, for certain."""
    boxes = [box for text in earlier for box in rule_boxes(rule(text), "")]
    mine = rule_boxes(rule(later), "")

    assert mine
    assert all(covered(box, boxes) for box in mine) is expected

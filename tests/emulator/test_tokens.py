"""Tokens of drops: what they stand for, also after the rule went, and however many were never asked for."""

from __future__ import annotations

from emulator.dataplane import tokens
from emulator.dataplane.contract import RuleRef
from emulator.dataplane.tokens import Tokens


def ref(number: int) -> RuleRef:
    """Rule `number` of a policy."""
    return RuleRef(tier="default", policy="np:shop/web", direction="ingress", rule=number, action="deny")


def test_a_token_stands_for_its_rule_for_ever() -> None:
    """Also when other rules came later; what was never remembered is not ours."""
    known = Tokens(str)
    known.remember([ref(0), None])
    known.remember([ref(1)])
    assert known.rule(str(ref(0))) == ref(0)
    known.remember([ref(2)])
    assert [known.rule(str(ref(number))) for number in range(4)] == [ref(0), ref(1), ref(2), None]


def test_rules_that_nobody_asks_about_do_not_pile_up(monkeypatch) -> None:
    """The same rules written again and again are kept once."""
    monkeypatch.setattr(tokens, "_MOST", 10)
    known = Tokens(str)
    for _ in range(1000):
        known.remember([ref(0), ref(1)])
        assert len(known._waiting) <= 11
    assert known.rule(str(ref(1))) == ref(1)

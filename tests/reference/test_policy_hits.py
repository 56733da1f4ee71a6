"""Policy hits as strings, both ways (FL-5)."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.errors import InvalidInputError
from reference.policy.hits import HIT_KINDS, PROFILE_TIER, Hit, HitAction
from reference.policy.ordering import SHORT_KINDS

LABELS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(".".join)


@st.composite
def hits(draw: st.DrawFn) -> Hit:
    """Any hit that Calico may write."""
    kind = draw(st.sampled_from(sorted(HIT_KINDS)))
    profile = kind == "pro"
    return Hit(
        tier=PROFILE_TIER if profile else draw(NAMES),
        kind=kind,
        namespace=draw(LABELS) if HIT_KINDS[kind] else "",
        name=draw(NAMES | st.just(PROFILE_TIER)) if profile else draw(NAMES),
        action=draw(st.sampled_from(get_args(HitAction))),
        rule=draw(st.integers(-1, 2000)),
    )


@settings(deadline=None)
@given(hits(), st.integers(0, 500))
def test_round_trip(hit: Hit, index: int) -> None:
    """Invariant 29: every string reads back as the hit and the index it was written from."""
    assert Hit.parse(hit.render(index)) == (index, hit)


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("0|default|np:shop/web|allow|2", ("default", "np", "shop", "web", "allow", 2)),
        ("3|ops|gnp:guard|pass|-1", ("ops", "gnp", "", "guard", "pass", -1)),
        ("1|default|snp:shop/default.web|deny|0", ("default", "snp", "shop", "default.web", "deny", 0)),
        ("0|default|sknp:shop/web|deny|-1", ("default", "sknp", "shop", "web", "deny", -1)),
        ("0|ops|sgnp:guard|deny|0", ("ops", "sgnp", "", "guard", "deny", 0)),
        ("12|kube-admin|kcnp:all|pass|0", ("kube-admin", "kcnp", "", "all", "pass", 0)),
        ("0|__PROFILE__|pro:kns.shop|allow|0", ("__PROFILE__", "pro", "", "kns.shop", "allow", 0)),
        ("0|__PROFILE__|pro:__PROFILE__|deny|-1", ("__PROFILE__", "pro", "", "__PROFILE__", "deny", -1)),
    ],
)
def test_parsed(text: str, hit: tuple[str, str, str, str, str, int]) -> None:
    """The five fields are the index, the tier, the policy by kind, the action and the rule."""
    index, found = Hit.parse(text)

    assert (found.tier, found.kind, found.namespace, found.name, found.action, found.rule) == hit
    assert found.render(index) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 fields, expected 5: index|tier|kind:[namespace/]name|action|rule"),
        ("0|default|np:shop/web|allow", "4 fields, expected 5"),
        ("0|default|np:shop/web|allow|0|", "6 fields, expected 5"),
        ("x|default|np:shop/web|allow|0", "index 'x' is not a whole number"),
        ("-1|default|np:shop/web|allow|0", "index -1 is below 0"),
        ("+1|default|np:shop/web|allow|0", "index '+1' is not a whole number"),
        ("00|default|np:shop/web|allow|0", "index '00' is not a whole number"),
        (" 0|default|np:shop/web|allow|0", "index ' 0' is not a whole number"),
        ("\u0661|default|np:shop/web|allow|0", "index '\u0661' is not a whole number"),
        ("0|default|np:shop/web|allow|", "rule '' is not a whole number"),
        ("0|default|np:shop/web|allow|1.0", "rule '1.0' is not a whole number"),
        ("0|default|np:shop/web|allow|-2", "rule -2 is below -1"),
        ("0|default|np:shop/web|allow|-0", "rule '-0' is not a whole number"),
        ("0|default|np:shop/web|Allow|0", "action 'Allow' is not one of allow, deny, pass"),
        ("0|default|np:shop/web|log|0", "action 'log' is not one of allow, deny, pass"),
        ("0|default|shop/web|allow|0", "policy 'shop/web' has no kind before a colon"),
        ("0|default|eot:shop/web|deny|-1", "kind 'eot' is not one of np, gnp"),
        ("0|default|np:web|allow|0", "a policy of kind np needs a namespace"),
        ("0|default|gnp:shop/web|allow|0", "a policy of kind gnp has no namespace"),
        ("0|default|np:shop/a/b|allow|0", 'namespace "shop/a" is not a DNS label'),
        ("0|default|np:a.b/web|allow|0", 'namespace "a.b" is not a DNS label'),
        ("0|default|np:/web|allow|0", 'namespace "" is not a DNS label'),
        ("0|default|np:shop/|allow|0", 'name "" is not a DNS name'),
        ("0|default|np:shop/Web|allow|0", 'name "Web" is not a DNS name'),
        ("0||np:shop/web|allow|0", 'tier "" is not a DNS name'),
        ("0|Default|np:shop/web|allow|0", 'tier "Default" is not a DNS name'),
        ("0|default|pro:kns.shop|allow|0", "tier 'default': __PROFILE__ is the tier of profiles (pro:), and of"),
        ("0|__PROFILE__|np:shop/web|allow|0", "tier '__PROFILE__': __PROFILE__ is the tier of profiles"),
    ],
)  # fmt: skip
def test_not_parsed(text: str, why: str) -> None:
    """Anything else is refused, and the message says which field is wrong."""
    with pytest.raises(InvalidInputError, match=re.escape(f"policy hit {text!r}: ") + ".*" + re.escape(why)):
        Hit.parse(text)


def test_every_kind_has_its_hits() -> None:
    """Each kind of policy the oracle walks, and each staged kind, can be read back."""
    assert {*SHORT_KINDS.values(), "snp", "sgnp", "sknp", "pro"} == set(HIT_KINDS)

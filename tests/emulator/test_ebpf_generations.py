"""The numbers that names, rules and tiers' ends have in the tables."""

import pytest

from emulator.dataplane.contract import RuleRef
from emulator.dataplane.ebpf.encode import ACTIONS, reference
from emulator.dataplane.ebpf.generations import FullError, Numbers, References
from emulator.dataplane.ebpf.layout import FIRST_REFERENCE

WEB, DB = ("default", "np:shop/web", "ingress"), ("default", "np:shop/db", "egress")


def _ref(place, **more):
    return RuleRef(**dict(zip(("tier", "policy", "direction"), place, strict=True)), **more)


def test_a_name_has_one_number_for_ever():
    """A map has room for so many and no more."""
    numbers = Numbers(2)
    assert [numbers.of(name) for name in ("a", "b", "a")] == [0, 1, 0]
    assert [numbers.name(number) for number in (-1, 0, 1, 2)] == [None, "a", "b", None]
    numbers.check()
    numbers.of("c")
    with pytest.raises(FullError):
        numbers.check()


def test_every_rule_of_a_place_with_every_action_has_a_number_of_its_own():
    """Rule -1 is the end of a tier that the policy is the last of."""
    references = References()
    given = {
        reference(references.of(place, 9), rule, action): _ref(place, rule=rule, action=action)
        for place in (WEB, DB)
        for rule in range(-1, 10)
        for action in ACTIONS
    }
    assert len(given) == 2 * 11 * len(ACTIONS)
    assert {number: references.rule(number) for number in given} == given
    assert min(given) >= FIRST_REFERENCE
    assert references.rule(FIRST_REFERENCE - 1) is references.rule(max(given) + 1) is None


def test_a_policy_that_grows_keeps_what_its_numbers_meant():
    """A packet that is told of may have met the rules as they were."""
    references = References()
    end = reference(references.of(WEB, -1), -1, "deny")
    first = references.of(WEB, 3)
    references.of(DB, 0)
    again = references.of(WEB, 5)
    assert again != first
    assert references.of(WEB, 5) == references.of(WEB, 1) == again  # as long as there is room
    meant = [references.rule(reference(number, 3, "allow")) for number in (first, again)]
    assert meant == [_ref(WEB, rule=3, action="allow")] * 2
    assert references.rule(end) == _ref(WEB, rule=-1, action="deny")

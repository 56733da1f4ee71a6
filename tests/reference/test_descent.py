"""What is told of a change: never less than the change, and nothing that keeps old values alive."""

from __future__ import annotations

import gc
import weakref
from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from immutables import Map

from reference.endpoints import Family
from reference.program.descent import descends, touched_between
from reference.program.matching import Item
from reference.program.membership import SetMembers
from reference.program.sets import address_set
from reference.selectors import parse


def test_it_is_told_in_both_directions() -> None:
    """From the parent to the child and back; of others, and of equal values, nothing is known."""
    parent = Map({"a": 1, "b": 2})
    child = descends(parent.set("a", 3), parent, {"a"})
    assert touched_between(parent, child) == touched_between(child, parent) == {"a"}
    assert touched_between(parent, Map(child)) is None
    assert touched_between(parent.set("a", 3), parent) is None


def test_it_is_told_over_several_generations() -> None:
    """As long as those between are alive; what was touched adds up."""
    first = Map({"a": 1, "b": 2, "c": 3})
    second = descends(first.set("a", 4), first, {"a"})
    third = descends(second.set("b", 5), second, {"b"})
    assert touched_between(first, third) == touched_between(third, first) == {"a", "b"}
    del second
    gc.collect()
    assert touched_between(first, third) is None


def test_nobody_is_kept_alive() -> None:
    """Neither the parent, nor the child, nor what was told outlives its owner's interest."""
    parent, touched = Map({"a": 1}), {"b"}
    child = descends(parent.set("b", 2), parent, touched)
    last = weakref.ref(child)
    watched = weakref.ref(parent)
    del parent
    gc.collect()
    assert watched() is None
    assert touched_between(child, Map({"a": 1})) is None
    del child
    gc.collect()
    assert last() is None


def item(*nets: str) -> Item:
    """Something that contributes nets to a set."""
    found = tuple((cast(Family, 6 if ":" in net else 4), net) for net in nets)
    return Item(key=("shop", "nets"), labels={}, nets=found, is_endpoint=False)


NETS = ("10.0.0.1/32", "10.0.0.2/32", "10.0.0.0/24", "10.0.0.0/8", "fd00::1/128", "fd00::/64")
some_nets = st.lists(st.sampled_from(NETS), max_size=3).map(lambda nets: item(*nets))


@given(stages=st.lists(st.lists(some_nets, max_size=4), min_size=1, max_size=8))
def test_members_tell_what_came_and_went(stages: list[list[Item]]) -> None:
    """After any batch of items moved in and out, what is told is exactly the members that are in one set only."""
    kept = SetMembers(address_set(parse("all()")), lambda _: None)
    there: list[Item] = []
    kept.render()
    for stage in stages:
        before = dict(kept.rendered)
        for old, new in zip([*there, *[None] * len(stage)], [*stage, *[None] * len(there)], strict=True):
            kept.moved(old, new)
        there = stage
        changed = kept.render()
        assert changed == any(kept.rendered[family] is not before[family] for family in before)
        for family, ip_set in kept.rendered.items():
            one, other = before[family].members, ip_set.members
            assert (one is other) == (one == other)
            if one and one is not other:
                assert touched_between(one, other) == one ^ other

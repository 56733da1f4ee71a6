"""Invariants 2, 29 and 30 of the semantics: programs, enforced and pending traces; and the laws of the preview."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from property_tests.properties import edits
from property_tests.strategies.choices import Choices, Drawn, Seeded
from property_tests.strategies.clusters import Cluster, cluster
from property_tests.strategies.packets import has_pods, interest, packet
from property_tests.worlds import built, pinned
from reference.analysis.preview import committed, preview
from reference.naming import packet_between, parse_port
from reference.packet import Packet
from reference.policy import allowed, evaluate
from reference.policy.hits import Hit
from reference.policy.verdict import Side
from reference.program.compile import Compiler
from reference.program.types import encode
from reference.resources.staged import STAGED_KINDS, as_enforced
from reference.state import State

PACKETS = 40


def drawn_cluster(data: st.DataObject) -> tuple[Choices, Cluster]:
    """A cluster with pinned pods."""
    choices = Drawn(data.draw)
    loose = cluster(choices)
    return choices, pinned(loose, built(loose))


def packets_for(choices: Choices, state: State) -> list[Packet]:
    """Packets worth asking a cluster."""
    seeded, about = Seeded(choices.integer(0, 2**32)), interest(state)
    return [packet(seeded, about) for _ in range(PACKETS)] if has_pods(about) else []


def pod_sides(state: State, packets: list[Packet]) -> list[Side]:
    """What pods decide; host endpoints have no pending trace (FL-6)."""
    sides = [side for one in packets for side in evaluate(state, one).trace]
    return [side for side in sides if side.pending_allowed is not None]


def programs(state: State) -> dict[str, bytes]:
    """The canonical bytes of every machine's program."""
    return {name: encode(program) for name, program in Compiler().compile(state).items()}


@given(data=st.data())
def test_staged_policies_change_no_byte_of_a_program(data: st.DataObject) -> None:
    """Invariant 2: adding staged policies leaves every program as it is, to the byte."""
    choices, resources = drawn_cluster(data)

    assert programs(built(edits.with_staged_policies(choices, resources))) == programs(built(resources))


@given(data=st.data())
def test_the_last_hit_is_the_verdict(data: st.DataObject) -> None:
    """Invariant 29: the last enforced hit is the verdict, none before it decides, none is staged, all read back."""
    choices, resources = drawn_cluster(data)
    state = built(edits.with_staged_policies(choices, resources))
    for side in pod_sides(state, packets_for(choices, state)):
        if not side.hits:  # dropped before any policy was asked
            assert not side.allowed
            assert "(CT-6)" in side.reason
            continue
        *passed, last = side.hits
        assert last.action == ("allow" if side.allowed else "deny")
        assert all(hit.action == "pass" for hit in passed)
        assert not any(hit.staged for hit in side.hits)
        for strings, hits in ((side.hit_strings(), side.hits), (side.pending_hit_strings(), side.pending_hits)):
            assert [Hit.parse(text) for text in strings] == list(enumerate(hits))


@given(data=st.data())
def test_the_pending_trace_ends_in_the_pending_verdict(data: st.DataObject) -> None:
    """FL-6: a pending trace that ends in a decision ends in its verdict; one that does not is a denial."""
    choices, resources = drawn_cluster(data)
    state = built(edits.with_staged_policies(choices, resources))
    for side in pod_sides(state, packets_for(choices, state)):
        decided = bool(side.pending_hits) and side.pending_hits[-1].action != "pass"
        assert side.pending_allowed == (decided and side.pending_hits[-1].action == "allow")


@given(data=st.data())
def test_without_staged_policies_both_traces_agree(data: st.DataObject) -> None:
    """Invariant 30: with no staged policy the pending verdict is the enforced one, and only triggers differ (FL-6)."""
    choices, everything = drawn_cluster(data)
    resources = [resource for resource in everything if not isinstance(resource, STAGED_KINDS)]
    state = built(resources)
    for side in pod_sides(state, packets_for(choices, state)):
        assert side.pending_allowed == side.allowed
        assert list(map(_without_trigger, side.pending_hits)) == list(map(_without_trigger, side.hits))


def _without_trigger(hit: Hit) -> tuple[str, str, str, int]:
    return hit.tier, hit.action, "" if hit.rule == -1 else hit.policy, hit.rule


@given(data=st.data())
def test_near_misses_would_have_turned_the_side(data: st.DataObject) -> None:
    """A near miss is a rule that was looked at and missed by the field it names, and would have said otherwise."""
    choices, resources = drawn_cluster(data)
    state = built(resources)
    for side in pod_sides(state, packets_for(choices, state)):
        missed = {(step.policy, step.rule, step.text) for step in side.steps if step.outcome == "miss"}
        for near in side.near_misses:
            assert (near.policy, near.rule, f"rule {near.rule} ({near.action}) misses: {near.reason}") in missed
            assert near.action != ("Allow" if side.allowed else "Deny")


@given(data=st.data())
def test_committing_is_applying_by_hand(data: st.DataObject) -> None:
    """A state after committing answers like one to which the policies were applied, or deleted, by hand."""
    choices, resources = drawn_cluster(data)
    whole = edits.with_staged_policies(choices, resources)
    by_key = {resource.key: resource for resource in whole}
    for key, staged in list(by_key.items()):
        if not isinstance(staged, STAGED_KINDS) or staged.spec.staged_action in ("Learn", "Ignore"):
            continue
        del by_key[key]
        plain = as_enforced(staged)
        if staged.spec.staged_action == "Set":
            by_key[plain.key] = plain
        elif _tier(by_key.get(plain.key)) == _tier(plain):
            by_key.pop(plain.key, None)
    before, by_hand = built(whole), built(list(by_key.values()))
    after = committed(before)

    assert {kind: set(items) for kind, items in after.resources.items()} == {
        kind: set(items) for kind, items in by_hand.resources.items()
    }
    for one in packets_for(choices, before):
        assert allowed(after, one) == allowed(by_hand, one), one


def _tier(policy: object) -> object:
    return getattr(getattr(policy, "spec", None), "tier", "default" if policy is not None else None)


@given(data=st.data())
def test_a_preview_tells_every_change_and_no_other(data: st.DataObject) -> None:
    """The flows a preview tells are those, of all pairs, ports and families, whose verdict committing changes."""
    choices, resources = drawn_cluster(data)
    before = built(edits.with_staged_policies(choices, resources))
    after, answer = committed(before), preview(before)
    told = {(c.source, c.destination, c.port, family) for c in answer.changes for family in c.families}
    pods = sorted(before.endpoints.items())
    for (_, source), (_, destination), port, family in product(pods, pods, answer.ports, (4, 6)):
        ends = [[a for a in end.addresses if (":" in a) == (family == 6)] for end in (source, destination)]
        if not all(ends):
            continue
        number, protocol = parse_port(port)
        one = packet_between(before, ends[0][0], ends[1][0], protocol, number or 1, family)
        changed = allowed(before, one) != allowed(after, one)
        assert ((source.name, destination.name, port, family) in told) == changed, (one, answer.text())

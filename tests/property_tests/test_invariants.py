"""Invariants 2 to 6, 8, 25 and 27: edits of a cluster whose effect is known, judged by oracle and program."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from property_tests.properties import edits, failsafes, ordering, own_host
from property_tests.strategies.choices import Choices, Drawn, Seeded
from property_tests.strategies.clusters import Cluster, cluster
from property_tests.strategies.packets import has_pods, interest, packet
from property_tests.worlds import built, pinned
from reference import policy
from reference.packet import Packet
from reference.policy.verdict import Verdict
from reference.program.compile import Compiler
from reference.program.interpret import decide
from reference.state import State

PACKETS = 60


def drawn_cluster(data: st.DataObject) -> tuple[Choices, Cluster, State, list[Packet]]:
    """A cluster with pinned pods, and packets worth asking it."""
    choices = Drawn(data.draw)
    loose = cluster(choices)
    resources = pinned(loose, built(loose))
    state = built(resources)
    seeded, about = Seeded(choices.integer(0, 2**32)), interest(state)
    packets = [packet(seeded, about) for _ in range(PACKETS)] if has_pods(about) else []
    return choices, resources, state, packets


def by_oracle(state: State, packets: list[Packet]) -> list[bool]:
    """What the oracle allows."""
    return [policy.allowed(state, one) for one in packets]


def by_program(state: State, packets: list[Packet]) -> list[bool]:
    """What the compiled program allows."""
    programs = Compiler().compile(state)
    return [decide(programs, state, one).allowed for one in packets]


READERS = pytest.mark.parametrize("read", [by_oracle, by_program])
Reader = Callable[[State, list[Packet]], list[bool]]


def single_elements(choices: Choices, resources: Cluster) -> Cluster:
    """Splitting needs no choice."""
    del choices
    return edits.with_single_element_rules(resources)


NEUTRAL = [
    pytest.param(edits.with_log_rules, id="2: Log rules anywhere"),
    pytest.param(edits.with_staged_policies, id="2: staged policies"),
    pytest.param(edits.with_staged_tier, id="6: a tier of staged policies"),
    pytest.param(edits.with_idle_policy, id="3: a policy that selects nothing"),
    pytest.param(edits.with_passing_tier, id="6: a tier that passes everything on"),
    pytest.param(single_elements, id="8: one rule per entry of its lists"),
]


@READERS
@pytest.mark.parametrize("edit", NEUTRAL)
@given(data=st.data())
def test_edits_that_change_no_verdict(
    edit: Callable[[Choices, Cluster], Cluster], read: Reader, data: st.DataObject
) -> None:
    """Such an edit leaves every verdict as it was."""
    choices, resources, before, packets = drawn_cluster(data)
    after = built(edit(choices, resources))
    assert read(after, packets) == read(before, packets)


@READERS
@given(data=st.data())
def test_an_appended_allow_denies_nothing(read: Reader, data: st.DataObject) -> None:
    """Invariant 4: an Allow rule at the end of policies never turns an allow into a deny."""
    choices, resources, before, packets = drawn_cluster(data)
    after = built(edits.with_allow_appended(choices, resources))
    for one, was, is_now in zip(packets, read(before, packets), read(after, packets), strict=True):
        assert is_now or not was, one


@READERS
@given(data=st.data())
def test_a_policy_without_rules_allows_nothing(read: Reader, data: st.DataObject) -> None:
    """Invariant 4: one more policy without rules never turns a deny into an allow."""
    choices, resources, before, packets = drawn_cluster(data)
    after = built(edits.with_empty_policy(choices, resources))
    for one, was, is_now in zip(packets, read(before, packets), read(after, packets), strict=True):
        assert was or not is_now, one


def _sides_outside(verdict: Verdict, namespace: str) -> list[tuple[str, bool]]:
    return [(side.endpoint, side.allowed) for side in verdict.trace if not side.endpoint.startswith(f"{namespace}/")]


@given(data=st.data())
def test_a_policy_of_one_namespace_leaves_the_others_alone(data: st.DataObject) -> None:
    """Invariant 3: what an endpoint decides on its own behalf does not change by a policy that cannot select it."""
    choices, resources, before, packets = drawn_cluster(data)
    edited, namespace = edits.with_policy_elsewhere(choices, resources)
    after = built(edited)
    for one in packets:
        was, is_now = policy.evaluate(before, one), policy.evaluate(after, one)
        assert _sides_outside(is_now, namespace) == _sides_outside(was, namespace), one


@READERS
@given(data=st.data())
def test_policies_that_speak_of_different_packets_may_change_places(read: Reader, data: st.DataObject) -> None:
    """Invariant 5: two neighbours of which no packet matches a rule of each decide the same in either order."""
    choices, resources, _, packets = drawn_cluster(data)
    there, back = ordering.with_disjoint_pair(choices, resources)
    assert read(built(there), packets) == read(built(back), packets)


@READERS
@given(data=st.data())
def test_names_decide_nothing_but_ties(read: Reader, data: st.DataObject) -> None:
    """Invariant 5: where no two orders tie, policies under other names give the same verdicts."""
    choices, resources, _, packets = drawn_cluster(data)
    untied = ordering.without_ties(ordering.with_opponents(choices, resources))
    assert read(built(ordering.renamed(choices, untied)), packets) == read(built(untied), packets)


@READERS
@given(data=st.data())
def test_a_host_reaches_its_pods(read: Reader, data: st.DataObject) -> None:
    """Invariant 27: what a node sends to a pod on it passes under any policy, any host endpoint included (CT-1)."""
    _, _, state, _ = drawn_cluster(data)
    packets = list(own_host.to_own_pods(state))
    assert read(state, packets) == [True] * len(packets)


@READERS
@pytest.mark.parametrize("action", ["Drop", "Accept", "Return", None])
@given(data=st.data())
def test_a_pod_reaches_its_host_by_the_host_s_leave(read: Reader, action: str | None, data: st.DataObject) -> None:
    """Invariant 27: egress policy decides, then defaultEndpointToHostAction, by default Drop (HEP-12)."""
    _, resources, _, _ = drawn_cluster(data)
    state = built(own_host.without_host_endpoints(resources, action))
    for one, arrives in zip(packets := list(own_host.to_own_hosts(state)), read(state, packets), strict=True):
        egress = policy.evaluate(state, one).egress
        assert egress is not None
        assert arrives == (egress.allowed and action in {"Accept", "Return"}), one


@READERS
@given(data=st.data())
def test_failsafe_ports_stay_open(read: Reader, data: st.DataObject) -> None:
    """Invariant 25: whatever the policies, untracked ones too, a host endpoint's failsafe ports are reached (HEP-9)."""
    _, resources, _, _ = drawn_cluster(data)
    packets = list(failsafes.to_failsafe_ports())
    assert read(built(failsafes.guarded(resources, failsafes.SOME)), packets) == [True] * len(packets)


@READERS
@given(data=st.data())
def test_failsafe_ports_are_none_of_forward_policy(read: Reader, data: st.DataObject) -> None:
    """Invariant 25: what a machine forwards fares alike with and without failsafe ports (HEP-3)."""
    _, resources, _, _ = drawn_cluster(data)
    plain = failsafes.without_early_policies(resources)
    with_them, without = (built(failsafes.guarded(plain, ports)) for ports in (failsafes.SOME, "none"))
    packets = list(failsafes.through_the_machine(with_them))
    assert read(with_them, packets) == read(without, packets)

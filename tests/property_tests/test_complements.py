"""Invariants 9 and 10: a condition and its negation divide what they should, and only that."""

from hypothesis import assume, given
from hypothesis import strategies as st

from property_tests.properties.complements import allowing_from, allowing_from_in, allowing_to
from property_tests.strategies.addresses import cidr
from property_tests.strategies.choices import Choices, Drawn, Seeded
from property_tests.strategies.clusters import Cluster, surroundings
from property_tests.strategies.packets import has_pods, interest, packet
from property_tests.strategies.vocabulary import ENDPOINT_LABELS, NAMESPACES, selector
from property_tests.worlds import built, pinned
from reference import policy
from reference.endpoints import Family
from reference.packet import Packet
from reference.resources import GlobalNetworkSet, NetworkSet
from reference.resources.calico import EntityRule
from reference.state import State

FAMILIES: tuple[Family, ...] = (4, 6)


def pods_only(choices: Choices) -> Cluster:
    """A cluster without policies and network sets, its pods pinned."""
    resources = [one for one in surroundings(choices) if not isinstance(one, (NetworkSet, GlobalNetworkSet))]
    return pinned(resources, built(resources))


def some_packets(state: State, choices: Choices) -> list[Packet]:
    """Packets about what the state's policies name."""
    seeded, about = Seeded(choices.integer(0, 2**32)), interest(state)
    return [packet(seeded, about) for _ in range(80)] if has_pods(about) else []


def ingress(state: State, one: Packet) -> bool | None:
    """What the destination decides, None where it is not asked."""
    side = policy.evaluate(state, one).ingress
    return None if side is None else side.allowed


def egress(state: State, one: Packet) -> bool | None:
    """What the source decides, None where it is not asked: what is dropped before policy has no hit (CT-6)."""
    side = policy.evaluate(state, one).egress
    return None if side is None or not side.hits else side.allowed


@given(data=st.data())
def test_nets_and_not_nets_complement(data: st.DataObject) -> None:
    """Invariant 9: within one family, exactly one of `nets: N` and `notNets: N` matches; in the other family, none."""
    choices = Drawn(data.draw)
    family = choices.pick(FAMILIES)
    nets = tuple(cidr(choices, family, whole=False) for _ in range(choices.integer(1, 3)))
    pods = pods_only(choices)
    for allowing, side in ((allowing_from, ingress), (allowing_to, egress)):
        positive, negative = (built(allowing(pods, e)) for e in (EntityRule(nets=nets), EntityRule(not_nets=nets)))
        for one in some_packets(positive, choices):
            answers = (side(positive, one), side(negative, one))
            if answers != (None, None):
                assert sum(map(bool, answers)) == (one.family == family), one


@given(data=st.data())
def test_selector_and_not_selector_complement(data: st.DataObject) -> None:
    """Invariant 10: in a global policy exactly one matches any address; a lone notSelector takes strangers (RULE-7)."""
    choices = Drawn(data.draw)
    text = selector(choices, ENDPOINT_LABELS)
    pods = pods_only(choices)
    for allowing, side in ((allowing_from, ingress), (allowing_to, egress)):
        positive, negative = (
            built(allowing(pods, e)) for e in (EntityRule(selector=text), EntityRule(not_selector=text))
        )
        for one in some_packets(positive, choices):
            answers = (side(positive, one), side(negative, one))
            assert answers in ((None, None), (True, False), (False, True)), one


@given(data=st.data())
def test_in_a_namespace_they_complement_among_its_endpoints(data: st.DataObject) -> None:
    """Invariant 10: in a namespaced policy exactly one matches the namespace's endpoints, and neither anybody else."""
    choices = Drawn(data.draw)
    text, namespace = selector(choices, ENDPOINT_LABELS), choices.pick(NAMESPACES)
    pods = pods_only(choices)
    positive, negative = (
        built(allowing_from_in(pods, namespace, e)) for e in (EntityRule(selector=text), EntityRule(not_selector=text))
    )
    asked = [
        one
        for one in some_packets(positive, choices)
        if any(place == namespace for place, _ in positive.addresses.get(one.destination, ()))
    ]
    assume(asked)
    for one in asked:
        answers = (ingress(positive, one), ingress(negative, one))
        if answers != (None, None):
            at_home = any(place == namespace for place, _ in positive.addresses.get(one.source, ()))
            assert sum(map(bool, answers)) == at_home, one

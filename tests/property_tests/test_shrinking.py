"""Shrinking: what is left of a failing cluster is what the failure needs."""

from collections.abc import Sequence

import msgspec
from hypothesis import given

from property_tests.campaigns.shrinking import shrink, variants
from property_tests.strategies.choices import Seeded
from property_tests.strategies.clusters import Cluster, cluster, clusters
from reference.packet import Packet
from reference.resources import AnyResource, GlobalNetworkPolicy, Metadata, NetworkPolicy, Pod
from reference.resources.calico import EntityRule, GlobalNetworkPolicySpec, Rule

PACKET = Packet(source="10.0.0.1", destination="10.0.0.2", protocol=132, destination_port=81)


def never() -> bool:
    """Never enough."""
    return False


def test_only_what_the_failure_needs_is_left() -> None:
    """Out of a whole cluster, one pod is left, and nothing in it but its name."""

    def fails(resources: Sequence[AnyResource], packet: Packet) -> bool:
        return packet.destination_port > 0 and any(isinstance(one, Pod) and one.name == "p1" for one in resources)

    resources = cluster(Seeded(5))
    found, packet = shrink(resources, PACKET, fails, never)
    assert [(type(one), one.name) for one in found] == [(Pod, "p1")]
    assert found[0] == Pod(metadata=Metadata(name="p1"))
    assert packet == Packet(source="10.0.0.1", destination="10.0.0.2", protocol=6, destination_port=80)


def test_rules_and_entries_are_left_out_one_by_one() -> None:
    """A failure that needs one net of one rule keeps that net and that rule."""
    needed = "10.0.0.0/8"
    rules = tuple(
        Rule(action="Deny", protocol="TCP", source=EntityRule(nets=("192.0.2.0/24", net), ports=(80,)))
        for net in ("10.1.0.0/16", needed, "10.2.0.0/16")
    )
    policy = GlobalNetworkPolicy(
        metadata=Metadata(name="g", labels={"x": "y"}), spec=GlobalNetworkPolicySpec(order=5.0, ingress=rules)
    )

    def fails(resources: Sequence[AnyResource], _: Packet) -> bool:
        specs = [one.spec for one in resources if isinstance(one, (GlobalNetworkPolicy, NetworkPolicy))]
        return any(needed in rule.source.nets for spec in specs for rule in spec.ingress)

    found, _ = shrink([policy], PACKET, fails, never)
    smallest = Rule(action="Deny", source=EntityRule(nets=(needed,)))
    assert found == (
        GlobalNetworkPolicy(metadata=Metadata(name="g"), spec=GlobalNetworkPolicySpec(ingress=(smallest,))),
    )


def test_enough_ends_the_search() -> None:
    """When there is no time, what was given is given back, and nothing is asked."""

    def fails(resources: Sequence[AnyResource], packet: Packet) -> bool:
        raise AssertionError("asked")

    resources = cluster(Seeded(5))
    assert shrink(resources, PACKET, fails, lambda: True) == (tuple(resources), PACKET)


@given(resources=clusters())
def test_variants_get_shorter(resources: Cluster) -> None:
    """Every variant is written in fewer bytes than what it came from, so simplifying always ends."""
    for resource in resources:
        length = len(msgspec.json.encode(resource))
        assert all(len(msgspec.json.encode(variant)) < length for variant in variants(resource))


def test_variants_are_one_step_simpler() -> None:
    """A struct's variants reset one field each, leave out one entry each, or simplify one part; none is the struct."""
    rule = Rule(action="Deny", protocol="TCP", source=EntityRule(nets=("10.0.0.0/8", "192.0.2.0/24")))
    assert list(variants(rule)) == [
        Rule(action="Deny", source=rule.source),
        Rule(action="Deny", protocol="TCP"),
        Rule(action="Deny", protocol="TCP"),
        Rule(action="Deny", protocol="TCP", source=EntityRule(nets=("192.0.2.0/24",))),
        Rule(action="Deny", protocol="TCP", source=EntityRule(nets=("10.0.0.0/8",))),
    ]

"""The generators: everything they make is valid, and the interesting things do occur."""

from collections import Counter
from ipaddress import ip_network

import pytest
from hypothesis import given

from property_tests.strategies.addresses import edges
from property_tests.strategies.choices import Choices, Drawn, Seeded, drawn
from property_tests.strategies.clusters import Cluster, cluster, clusters
from property_tests.strategies.packets import has_pods, interest, packet
from property_tests.worlds import built
from reference.resources import GlobalNetworkPolicy, KubernetesNetworkPolicy, NetworkPolicy
from reference.resources.calico import EntityRule, Rule
from reference.resources.defaults import defaulted
from reference.resources.validation import validate


@given(resources=clusters())
def test_generated_clusters_can_be_built(resources: Cluster) -> None:
    """Whatever Hypothesis draws is valid, and is admitted by a new cluster."""
    for resource in resources:
        validate(defaulted(resource))
    state = built(resources)
    assert {resource.key for resource in resources} <= {key for found in state.resources.values() for key in found}


@pytest.mark.parametrize("seed", range(3))
def test_seeded_clusters_can_be_built(seed: int) -> None:
    """Whatever a seeded generator chooses is valid too, and the same seed chooses the same."""
    for number in range(30):
        resources = cluster(Seeded(f"{seed}/{number}"))
        assert resources == cluster(Seeded(f"{seed}/{number}"))
        built(resources)


def _rules(resources: Cluster) -> list[Rule]:
    policies = [one for one in resources if isinstance(one, (NetworkPolicy, GlobalNetworkPolicy))]
    return [rule for policy in policies for rule in (*policy.spec.ingress, *policy.spec.egress)]


def test_every_kind_of_condition_occurs() -> None:
    """A few hundred clusters use every field of a rule, every action and every kind of policy."""
    used: Counter[str] = Counter()
    for seed in range(300):
        resources = cluster(Seeded(seed))
        used.update(type(resource).__name__ for resource in resources)
        for rule in _rules(resources):
            used[rule.action] += 1
            used.update(name for name in Rule.__struct_fields__ if getattr(rule, name) not in (None, EntityRule()))
            for side in (rule.source, rule.destination):
                used.update(f"side.{name}" for name in EntityRule.__struct_fields__ if getattr(side, name))
    expected = {*Rule.__struct_fields__, *(f"side.{name}" for name in EntityRule.__struct_fields__)} - {"metadata"}
    assert expected - set(used) == set()
    kinds = {
        "Node",
        "Namespace",
        "ServiceAccount",
        "Pod",
        "Tier",
        "IPPool",
        "Profile",
        "NetworkSet",
        "GlobalNetworkSet",
    }
    assert kinds | {"Allow", "Deny", "Pass", "Log", KubernetesNetworkPolicy.__name__} <= set(used)


EDGES = [
    ("10.0.0.4/30", {"10.0.0.3", "10.0.0.4", "10.0.0.7", "10.0.0.8"}),
    ("10.0.0.4/32", {"10.0.0.3", "10.0.0.4", "10.0.0.5"}),
    ("10.0.0.4", {"10.0.0.3", "10.0.0.4", "10.0.0.5"}),
    ("10.0.0.6/30", {"10.0.0.3", "10.0.0.4", "10.0.0.7", "10.0.0.8"}),
    ("fd00::/127", {"fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fd00::", "fd00::1", "fd00::2"}),
    ("0.0.0.0/0", set()),
    ("128.0.0.0/1", {"127.255.255.255", "128.0.0.0"}),
]


@pytest.mark.parametrize(("net", "expected"), EDGES)
def test_edges_are_just_inside_and_just_outside(net: str, expected: set[str]) -> None:
    """The edges of a CIDR are its first and last address and their neighbours, as far as they are addresses."""
    assert set(edges(net)) == expected


def test_packets_ask_about_the_edges_of_what_policies_name() -> None:
    """Among the packets of many clusters, the edges of policies' nets and ports come up, from and to pods.

    Only where host endpoints stand do hosts talk to each other.
    """
    seen: Counter[str] = Counter()
    for seed in range(60):
        choices = Seeded(seed)
        state = built(cluster(choices))
        about = interest(state)
        if not has_pods(about):
            continue
        pods = {address for found in about.pods.values() for address in found}
        named = {address for found in about.named.values() for address in found}
        for _ in range(50):
            one = packet(choices, about)
            assert pods & {one.source, one.destination} or about.guarded
            assert ip_network(one.source).version == ip_network(one.destination).version == one.family
            seen["named"] += bool(named & {one.source, one.destination})
            seen["pods"] += {one.source, one.destination} <= pods
            seen["edge port"] += one.destination_port in (79, 81, 83, 8079, 8091)
    assert min(seen.values()) > 50
    assert len(seen) == 3


def _some(choices: Choices) -> list[int]:
    return choices.some([10, 20, 30], 1, 2)


@given(found=drawn(_some))
def test_some_keeps_order_and_bounds(found: list[int]) -> None:
    """A choice of some options has as many as asked for, each at most once, in the options' order."""
    assert 1 <= len(found) <= 2
    assert found == sorted(set(found))


def test_both_sources_offer_the_same_choices() -> None:
    """Hypothesis and seeded generators offer the same methods, so one generator serves both."""
    names = {name for name in vars(Choices) if not name.startswith("_")}
    for source in (Drawn, Seeded):
        assert names <= set(dir(source))

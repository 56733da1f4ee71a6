"""Whole clusters as lists of resources, in an order in which they may be applied."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from property_tests.strategies.choices import Choices, drawn
from property_tests.strategies.hosts import hosts
from property_tests.strategies.kubernetes import kubernetes_policy
from property_tests.strategies.policies import (
    BUILT_IN_TIERS,
    MISSING_TIER,
    OWN_TIERS,
    global_network_policy,
    network_policy,
    profile,
    tier,
)
from property_tests.strategies.policy_api import cluster_policy
from property_tests.strategies.resources import (
    global_network_set,
    machine,
    namespace,
    network_set,
    node,
    pod,
    pools,
    service_account,
)
from property_tests.strategies.services import endpoint_slice, service
from property_tests.strategies.staged import staged_policy
from property_tests.strategies.vocabulary import NAMESPACES, NODES
from reference.resources import AnyResource

Cluster = list[AnyResource]
PolicyGenerator = Callable[[Choices, str, tuple[str, ...]], AnyResource]

_NAMES = ("p", "p-1", "p0", "q")  # shared by all kinds: ties are broken by name/namespace/kind (POL-3), and "-" < "/"


def cluster(choices: Choices) -> Cluster:
    """A cluster: surroundings, pods, tiers and policies; one in three has host endpoints."""
    found = [*surroundings(choices), *policies(choices)]
    return [*found, *hosts(choices, ("default", *OWN_TIERS))] if choices.chance(35) else found


def surroundings(choices: Choices) -> Cluster:
    """Everything policies speak about, and no policy: pods are open to each other."""
    nodes = tuple(choices.some(NODES, 0, 2))
    own_pools = choices.chance(75)
    return [
        *(node(name) for name in nodes),
        *(pools() if own_pools else ()),  # otherwise the default pools come to be
        *(namespace(choices, name) for name in choices.some(NAMESPACES, 0, 2)),  # otherwise implicit
        *(service_account(choices, "bot", place) for place in choices.some(NAMESPACES, 0, 2)),
        *(network_set(choices, f"ns{number}") for number in range(choices.pick((0, 1)))),
        *(global_network_set(choices, f"gns{number}") for number in range(choices.pick((0, 1)))),
        *(service(choices, place) for place in choices.some(NAMESPACES, 0, 2)),
        *(endpoint_slice(choices, number) for number in range(choices.pick((0, 0, 1, 2)))),
        *(pod(choices, number, nodes, pinnable=own_pools) for number in range(choices.integer(2, 5))),
        *([machine(choices, nodes or NODES[:1])] if own_pools and choices.chance(25) else ()),
    ]


def policies(choices: Choices) -> Cluster:
    """Tiers and policies of all kinds."""
    own = tuple(choices.some(OWN_TIERS, 0, 2))
    tiers = ("default", *own, *own, *choices.some((*BUILT_IN_TIERS, MISSING_TIER), 0, 3))
    found: Cluster = [tier(choices, name) for name in own]
    if choices.chance(5):
        found.append(profile(choices, "extra"))
    for _ in range(choices.integer(1, 4)):
        generate = choices.pick(_POLICIES)
        found.append(generate(choices, choices.pick(_NAMES), tiers))
    return list({resource.key: resource for resource in found}.values())


def _kubernetes(choices: Choices, name: str, tiers: tuple[str, ...]) -> AnyResource:
    del tiers  # Kubernetes policies live in tier default (K8S-6)
    return kubernetes_policy(choices, name)


def _of_cluster(choices: Choices, name: str, tiers: tuple[str, ...]) -> AnyResource:
    del tiers  # theirs are built in (K8S-12)
    return cluster_policy(choices, name)


_POLICIES: tuple[PolicyGenerator, ...] = (
    network_policy,
    network_policy,
    global_network_policy,
    global_network_policy,
    _kubernetes,
    staged_policy,  # nothing changes by them
    _of_cluster,
    _of_cluster,
)


def clusters() -> st.SearchStrategy[Cluster]:
    """Lists of resources that make a cluster; `property_tests.strategies.histories` folds them into states."""
    return drawn(cluster)

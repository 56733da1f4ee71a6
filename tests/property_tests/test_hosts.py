"""Invariants 25 and 27: what no policy closes on a host, and what none opens."""

from __future__ import annotations

import pytest
from hypothesis import given
from msgspec.structs import replace

from property_tests.strategies.addresses import HOST_ADDRESSES
from property_tests.strategies.choices import Choices, drawn
from property_tests.strategies.clusters import Cluster, surroundings
from property_tests.strategies.hosts import host_endpoint, host_policy
from property_tests.strategies.policies import OWN_TIERS, tier
from property_tests.strategies.resources import node
from property_tests.strategies.vocabulary import NODES
from property_tests.worlds import built
from reference import policy
from reference.packet import Packet
from reference.program.compile import Compiler
from reference.program.interpret import decide
from reference.resources import FelixConfiguration, GlobalNetworkPolicy, Metadata, Node
from reference.resources.hosts import FelixConfigurationSpec
from reference.state import State

FAMILIES = (4, 6)
SSH, API = 22, 6443


def _guarded(choices: Choices) -> Cluster:
    """Two nodes with pods, host endpoints of their own, and any policy for hosts."""
    found: Cluster = [node(name) for name in NODES]
    found += [resource for resource in surroundings(choices) if not isinstance(resource, Node)]
    found += [tier(choices, name) for name in OWN_TIERS]
    for number, name in enumerate(NODES):
        endpoint = host_endpoint(choices, f"hep-{number}")
        found.append(replace(endpoint, spec=replace(endpoint.spec, node=name)))
    return [*found, *(host_policy(choices, f"host-{n}", ("default", *OWN_TIERS)) for n in range(3))]


def _both(state: State, packet: Packet) -> bool:
    """What oracle and programs say; they agree."""
    allowed = policy.allowed(state, packet)
    assert decide(Compiler().compile(state), state, packet).allowed is allowed
    return allowed


def _to_host(family: int, port: int, source: str) -> Packet:
    destination = HOST_ADDRESSES["node-1"][family]  # type: ignore[index]
    return Packet(source=source, destination=destination, protocol=6, destination_port=port)


@given(resources=drawn(_guarded))
def test_failsafe_ports_stay_open(resources: Cluster) -> None:
    """A failsafe port of a host is reachable under any policy for local traffic, tracked, untracked and preDNAT."""
    state = built(resources)
    for family in FAMILIES:
        for port in (SSH, API):
            source = "192.0.2.1" if family == 4 else "2001:db8::1"
            assert _both(state, _to_host(family, port, source))


@pytest.mark.parametrize("port", [SSH, 80])
def test_but_not_for_forwarded_traffic(port: int) -> None:
    """Under a forward policy that denies, a pod's port is closed whether or not it is a failsafe port."""
    deny = GlobalNetworkPolicy(metadata=Metadata(name="closed"))
    deny = replace(deny, spec=replace(deny.spec, types=("Ingress",), apply_on_forward=True, selector="has(app)"))
    choices = _Fixed()
    endpoint = host_endpoint(choices, "hep")
    labelled = replace(endpoint, metadata=replace(endpoint.metadata, labels={"app": "web"}))
    every = replace(labelled, spec=replace(labelled.spec, node="node-1", interface_name="*"))
    pods = [resource for resource in surroundings(choices) if not isinstance(resource, Node)]
    state = built([*(node(name) for name in NODES), *pods, every])
    shut = built([*(node(name) for name in NODES), *pods, every, deny])
    pod = next(one for one in state.endpoints.values() if one.node == "node-1")
    packet = Packet(source="192.0.2.1", destination=pod.addresses[0], protocol=6, destination_port=port)
    assert _both(state, packet)
    assert not _both(shut, packet)


class _Fixed:
    """The simplest choices: the first of everything, the least of everything."""

    def integer(self, low: int, high: int) -> int:
        """The least."""
        return low

    def pick(self, options):  # type: ignore[no-untyped-def]
        """The first."""
        return options[0]

    def chance(self, percent: int) -> bool:
        """Never."""
        return False

    def some(self, options, low: int, high: int):  # type: ignore[no-untyped-def]
        """As few as may be, from the first on."""
        return list(options[:low])


@given(resources=drawn(_guarded))
def test_a_node_reaches_its_pods(resources: Cluster) -> None:
    """A node's packet to a pod of its own passes under any policy; to a pod of another node it need not (CT-1)."""
    state = built(resources)
    for pod in state.endpoints.values():
        for address in pod.addresses:
            source = HOST_ADDRESSES[pod.node][6 if ":" in address else 4]
            assert _both(state, Packet(source=source, destination=address, protocol=6, destination_port=80))


@pytest.mark.parametrize(("action", "opens"), [("Drop", False), ("Accept", True), ("Return", True)])
@given(resources=drawn(_guarded))
def test_a_pod_reaches_its_node_as_configured(resources: Cluster, action: str, opens: bool) -> None:
    """A pod's packet to its own node meets defaultEndpointToHostAction, and no list for local processes (HEP-12)."""
    spec = FelixConfigurationSpec(default_endpoint_to_host_action=action)
    local = [
        resource
        for resource in resources
        if not (isinstance(resource, GlobalNetworkPolicy) and (resource.spec.pre_dnat or not resource.spec.selector))
    ]
    state = built([*local, FelixConfiguration(metadata=Metadata(name="default"), spec=spec)])
    for pod in state.endpoints.values():
        for address in pod.addresses:
            destination = HOST_ADDRESSES[pod.node][6 if ":" in address else 4]
            packet = Packet(source=address, destination=destination, protocol=6, destination_port=80)
            verdict = policy.evaluate(state, packet)
            selected = verdict.egress is not None and not verdict.egress.allowed  # by a policy of its labels
            assert _both(state, packet) is (opens and not selected)

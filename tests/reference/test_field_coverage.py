"""Every field of every kind is read by both roads to a verdict, or explained here.

Who reads what is recorded while oracle and compiler run over random clusters and `every_field.yaml`, not claimed. A
field that no table explains fails, and so does an explanation that is no longer true. Whoever adds a field makes both
roads read it (and says it in `every_field.yaml`, if random clusters do not), or explains it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from property_tests.properties.field_reads import Field, Recorder, all_fields, structures
from property_tests.strategies.choices import Seeded
from property_tests.strategies.clusters import cluster
from property_tests.strategies.packets import has_pods, interest, packet
from property_tests.worlds import built
from reference.loading import load_state
from reference.packet import Packet
from reference.policy import evaluate
from reference.program.compile import Compiler
from reference.program.interpret import decide
from reference.resources import AnyResource, load
from reference.state import State

EVERY_FIELD = Path(__file__).with_name("every_field.yaml")

# -- read by one road only ---------------------------------------------------------------------------------------------

ORACLE_ONLY: dict[str, str] = {
    "StagedNetworkPolicy.* StagedGlobalNetworkPolicy.* StagedKubernetesNetworkPolicy.*": "never enforced, only traced",
    "StagedNetworkPolicySpec.* StagedGlobalNetworkPolicySpec.* StagedKubernetesNetworkPolicySpec.*": "pending trace",
    "EgressPeer.nodes EgressPeer.domain_names": "fail closed; the trace says why, the program has no peer for them",
}
COMPILER_ONLY: dict[str, str] = {
    "NetworkPolicySpec.performance_hints GlobalNetworkPolicySpec.performance_hints": (
        "AssumeNeededOnEveryNode keeps sets on every node: what is programmed, never what is decided"
    ),
}

# -- read by neither road, but by what both stand on -------------------------------------------------------------------

SHARED: dict[str, str] = {
    "Pod.* PodIP.* Container.ports ContainerPort.container_port ContainerPort.name ContainerPort.protocol": (
        "workload endpoints are derived from pods once, by an event (K8S-3, K8S-5)"
    ),
    "PodSpec.containers PodSpec.init_containers PodSpec.host_network PodSpec.service_account_name": "K8S-3 to K8S-5",
    "PodSpec.node_name PodSpec.node_selector NodeSpec.unschedulable": "scheduling, decided by an event",
    "PodStatus.phase PodStatus.pod_ip PodStatus.pod_ips PodStatus.conditions": "addresses and readiness (K8S-4)",
    "Node.* NodeStatus.addresses NodeAddress.*": "hosts are derived from nodes once, by an event",
    "IPPool.metadata IPPoolSpec.assignment_mode IPPoolSpec.block_size IPPoolSpec.disabled": "IPAM-4: assignment",
    "IPPoolSpec.namespace_selector IPPoolSpec.node_selector": "address assignment (IPAM-4)",
    "Metadata.annotations": "addresses and pools a pod asks for (1.3)",
    "Profile.metadata FelixConfiguration.metadata": "found by name",
    "WorkloadEndpoint.* WorkloadEndpointSpec.ip_networks WorkloadEndpointSpec.interface_name": "endpoints, by an event",
    "WorkloadEndpointSpec.node WorkloadEndpointSpec.orchestrator WorkloadEndpointSpec.workload": "the same",
    "WorkloadEndpointSpec.ports WorkloadEndpointSpec.profiles WorkloadEndpointSpec.service_account_name": "the same",
    "WorkloadEndpointPort.name WorkloadEndpointPort.port WorkloadEndpointPort.protocol": "the same",
    "Service.metadata Service.spec ServiceSpec.* ServicePort.*": "EndpointSlices are made from services (RULE-12)",
    "KubeControllersConfiguration.* KubeControllersConfigurationSpec.controllers Controllers.node": "HEP-8",
    "NodeController.host_endpoint AutoHostEndpoint.auto_create AutoHostEndpoint.create_default_host_endpoint": "HEP-8",
}

# -- read by nobody ----------------------------------------------------------------------------------------------------
# Fields of type Any need no row: what has no structure cannot be interpreted.

INERT: dict[str, str] = {
    "Rule.http HTTPMatch.* HTTPPath.*": "layers 3 and 4 do not see http (RULE-15); validated",
    "Rule.metadata RuleMetadata.annotations": "annotations of a rule: no effect on packets",
    "AdminIngressRule.name AdminEgressRule.name BaselineIngressRule.name BaselineEgressRule.name": "a rule's name",
    "ClusterIngressRule.name ClusterEgressRule.name": "a rule's name (K8S-12)",
    "Backend.conditions EndpointConditions.*": "readiness is ignored (RULE-12, trap 8)",
    "Backend.hostname Backend.node_name Backend.zone": "placement of a backend; policy sees addresses",
    "BackendPort.app_protocol BackendPort.name": "ports of services in rules are numbers and protocols (RULE-12)",
    "ServicePort.node_port ServiceSpec.external_name": "no service NAT",
    "ServiceSpec.external_traffic_policy ServiceSpec.internal_traffic_policy ServiceSpec.session_affinity": "no NAT",
    "ServiceSpec.publish_not_ready_addresses": "readiness is ignored (RULE-12)",
    "Container.image Container.name ContainerPort.host_ip ContainerPort.host_port": "nothing runs in a pod",
    "WorkloadEndpointSpec.endpoint WorkloadEndpointSpec.mac WorkloadEndpointSpec.container_id": "names",
    "WorkloadEndpointSpec.pod WorkloadEndpointSpec.allow_spoofed_source_prefixes": "refused (K8S-3, POL-17)",
    "WorkloadEndpointPort.host_ip WorkloadEndpointPort.host_port": "nothing is published on the host",
    "PodSpec.ephemeral_containers": "they declare no ports (K8S-5)",
    "PodSpec.service_account": "the deprecated alias; defaulting copies it to serviceAccountName",
    "NodeSpec.external_id NodeSpec.pod_cidr NodeSpec.pod_cidrs NodeSpec.provider_id": "addresses come from IP pools",
    "IPPoolSpec.disable_bgp_export IPPoolSpec.ipip_mode IPPoolSpec.vxlan_mode": "the fabric routes pod addresses",
    "ServiceAccount.automount_service_account_token": "no tokens here",
    "Metadata.deletion_grace_period_seconds Metadata.generate_name Metadata.generation": "an API server's books",
    "Metadata.resource_version Metadata.self_link Metadata.uid": "an API server's books",
}

Tables = dict[str, dict[str, str]]
TABLES: Tables = {
    "oracle": ORACLE_ONLY,
    "compiler": COMPILER_ONLY,
    "shared": SHARED,
    "nobody": INERT,
}

# -- recording ---------------------------------------------------------------------------------------------------------


def states() -> Iterator[State]:
    """Random clusters; and every field said at least once, all together and each policy alone."""
    for seed in range(40):
        yield built(cluster(Seeded(seed)))
    everything = load(EVERY_FIELD).resources
    yield load_state(*everything)
    policies = [one for one in everything if "Policy" in one.key.kind]
    surroundings = [one for one in everything if one not in policies]
    for policy in policies:
        yield load_state(*surroundings, policy)
    yield load_state(*without(surroundings, "KubeControllersConfiguration", "Profile"))


def questions(state: State, seed: int) -> Iterator[Packet]:
    """Packets with a pod at one end, and some between the hosts and the world."""
    choices, about = Seeded(seed), interest(state)
    for _ in range(40 if has_pods(about) else 0):
        yield packet(choices, about)
    for address in about.hosts[4]:
        for port in (22, 53, 81):
            yield Packet(source="203.0.113.9", destination=address, protocol=6, destination_port=port)
            yield Packet(source=address, destination="203.0.113.9", protocol=17, destination_port=port)


def without(resources: list[AnyResource], *kinds: str) -> list[AnyResource]:
    """The resources but those of some kinds."""
    return [one for one in resources if one.key.kind not in kinds]


@functools.cache
def recorded() -> dict[Field, str]:
    """For every field who reads it: "both", "oracle", "compiler", "shared" or "nobody"."""
    recorder = Recorder()
    with recorder.recording():
        for number, state in enumerate(states()):
            programs = Compiler().compile(state)
            for question in questions(state, number):
                evaluate(state, question)
                decide(programs, state, question)
    reads = recorder.reads
    return {field: _reader(field in reads["oracle"], field in reads["compiler"], field in reads["shared"])
            for field in all_fields()}  # fmt: skip


def _reader(oracle: bool, compiler: bool, shared: bool) -> str:
    if oracle and compiler:
        return "both"
    return "oracle" if oracle else "compiler" if compiler else "shared" if shared else "nobody"


def rows(table: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The patterns of a table with their reasons."""
    for patterns, reason in table.items():
        for pattern in patterns.split():
            yield pattern, reason


def matches(pattern: str, field: Field) -> bool:
    """Report whether `Class.field` or `Class.*` means a field."""
    owner, _, name = pattern.partition(".")
    return owner == field[0] and name in ("*", field[1])


def is_opaque(field: Field) -> bool:
    """Report whether a field's type is Any: kept as it came."""
    return get_type_hints(structures()[field[0]])[field[1]] is Any


# -- the tests ---------------------------------------------------------------------------------------------------------


def test_recording_sees_reads() -> None:
    """The recorder tells the roads apart, and sees fields of base classes under the class that has them."""
    found = recorded()
    assert found["EntityRule", "not_selector"] == "both"
    assert found["GlobalNetworkPolicySpec", "selector"] == "both"
    assert found["PodSpec", "containers"] == "shared"
    assert found["PodSpec", "volumes"] == "nobody"


@pytest.mark.parametrize("field", sorted(all_fields()), ids=lambda field: ".".join(field))
def test_field_is_covered(field: Field) -> None:
    """Both roads read the field, or a table says why not; a field of type Any that nobody reads is kept as it came."""
    reader = recorded()[field]
    if reader == "both" or (reader == "nobody" and is_opaque(field)):
        return
    explained = any(matches(pattern, field) for pattern, _ in rows(TABLES[reader]))
    assert explained, f"{'.'.join(field)} is read by {reader}: make both roads read it, or explain it in this file"


@pytest.mark.parametrize(
    ("table", "pattern", "reason"),
    [(name, pattern, reason) for name, table in TABLES.items() for pattern, reason in rows(table)],
)
def test_explanation_is_true(table: str, pattern: str, reason: str) -> None:
    """What a table explains is still so: at least one field it means is read by exactly those it says."""
    meant = [reader for field, reader in recorded().items() if matches(pattern, field)]
    assert reason
    assert table in meant, (
        f"{pattern} is in the table of {table}, but is read by {sorted(set(meant)) or 'no such field'}"
    )
    if not pattern.endswith("*"):
        assert meant == [table]

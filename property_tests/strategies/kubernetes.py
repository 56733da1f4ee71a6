"""Kubernetes NetworkPolicies, valid by construction: ipBlock with except, endPort, named ports, every kind of peer."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Literal

from hypothesis import strategies as st

from property_tests.strategies.addresses import anchors, cidr
from property_tests.strategies.choices import Choices, drawn
from property_tests.strategies.vocabulary import NAMESPACE_LABELS, NAMESPACES, POD_LABELS, PORT_NAMES, Vocabulary
from reference.endpoints import Family
from reference.resources import KubernetesNetworkPolicy, Metadata
from reference.resources.kubernetes import (
    EgressRule,
    IngressRule,
    IPBlock,
    KubernetesNetworkPolicySpec,
    LabelRequirement,
    LabelSelector,
    PolicyPeer,
    PolicyPort,
)

_OPERATORS: tuple[Literal["Exists", "DoesNotExist", "In", "NotIn"], ...] = ("Exists", "DoesNotExist", "In", "NotIn")
_PROTOCOLS: tuple[Literal["TCP", "UDP", "SCTP"], ...] = ("TCP", "TCP", "UDP", "SCTP")
NAMESPACE_KEYS: Vocabulary = {**NAMESPACE_LABELS, "kubernetes.io/metadata.name": NAMESPACES}


def kubernetes_policy(choices: Choices, name: str) -> KubernetesNetworkPolicy:
    """A networking.k8s.io/v1 NetworkPolicy; absent and empty lists differ and both occur (K8S-8, K8S-9)."""
    return KubernetesNetworkPolicy(
        metadata=Metadata(name=name, namespace=choices.pick(NAMESPACES)),
        spec=KubernetesNetworkPolicySpec(
            pod_selector=label_selector(choices, POD_LABELS),
            policy_types=choices.pick(((), ("Ingress",), ("Egress",), ("Ingress", "Egress"))),
            ingress=tuple(
                IngressRule(from_=_peers(choices), ports=_ports(choices)) for _ in range(choices.integer(0, 2))
            )
            if choices.chance(70)
            else None,
            egress=tuple(EgressRule(to=_peers(choices), ports=_ports(choices)) for _ in range(choices.integer(0, 2)))
            if choices.chance(50)
            else None,
        ),
    )


def label_selector(choices: Choices, vocabulary: Vocabulary) -> LabelSelector:
    """A Kubernetes label selector over a vocabulary; now and then empty."""
    matched = {key: choices.pick(values) for key, values in vocabulary.items() if choices.chance(30)}
    expressions = tuple(_requirement(choices, vocabulary) for _ in range(choices.pick((0, 0, 0, 1, 2))))
    return LabelSelector(match_labels=matched, match_expressions=expressions)


def _requirement(choices: Choices, vocabulary: Vocabulary) -> LabelRequirement:
    key = choices.pick((*vocabulary, "absent"))
    operator = choices.pick(_OPERATORS)
    if operator in ("Exists", "DoesNotExist"):
        return LabelRequirement(key=key, operator=operator)
    return LabelRequirement(key=key, operator=operator, values=tuple(choices.some(vocabulary.get(key, ("x",)), 1, 2)))


def _peers(choices: Choices) -> tuple[PolicyPeer, ...] | None:
    return tuple(_peer(choices) for _ in range(choices.integer(0, 2))) if choices.chance(75) else None


def _peer(choices: Choices) -> PolicyPeer:
    match choices.pick(("pods", "namespaces", "both", "block", "block")):
        case "pods":
            return PolicyPeer(pod_selector=label_selector(choices, POD_LABELS))
        case "namespaces":
            return PolicyPeer(namespace_selector=label_selector(choices, NAMESPACE_KEYS))
        case "both":
            return PolicyPeer(
                pod_selector=label_selector(choices, POD_LABELS),
                namespace_selector=label_selector(choices, NAMESPACE_KEYS),
            )
        case _:
            return PolicyPeer(ip_block=_ip_block(choices))


def _ip_block(choices: Choices) -> IPBlock:
    """A CIDR with up to two exceptions strictly inside it."""
    family: Family = choices.pick((4, 6))
    network = ip_network(cidr(choices, family), strict=False)
    inside = [address for address in anchors(family) if ip_network(address).subnet_of(network)]  # type: ignore[arg-type]
    if not inside or network.prefixlen == network.max_prefixlen:
        return IPBlock(cidr=str(network))
    exceptions = []
    for _ in range(choices.integer(0, 2)):
        longer = [
            length for length in (24, 30, 31, 32, 120, 127, 128) if network.prefixlen < length <= network.max_prefixlen
        ]
        exceptions.append(str(ip_network(f"{choices.pick(inside)}/{choices.pick(longer)}", strict=False)))
    # A CIDR with host bits set stands for its network (K8S-9).
    text = f"{choices.pick(inside)}/{network.prefixlen}" if choices.chance(10) else str(network)
    return IPBlock(cidr=text, except_=tuple(exceptions))


def _ports(choices: Choices) -> tuple[PolicyPort, ...] | None:
    return tuple(_port(choices) for _ in range(choices.integer(0, 3))) if choices.chance(60) else None


def _port(choices: Choices) -> PolicyPort:
    protocol = choices.pick(_PROTOCOLS)
    match choices.pick(("number", "range", "name", "any")):
        case "number":
            return PolicyPort(protocol=protocol, port=choices.pick((80, 81, 8080, 1, 65535)))
        case "range":
            low = choices.pick((80, 8080, 1, 65535))
            return PolicyPort(protocol=protocol, port=low, end_port=choices.pick((low, min(low + 2, 65535), 65535)))
        case "name":
            return PolicyPort(protocol=protocol, port=choices.pick(PORT_NAMES))
        case _:
            return PolicyPort(protocol=protocol)


def kubernetes_policies(name: str = "knp0") -> st.SearchStrategy[KubernetesNetworkPolicy]:
    """Kubernetes NetworkPolicies of one name."""
    return drawn(kubernetes_policy, name)

"""Kubernetes NetworkPolicies, read from their own definition (K8S-6 … K8S-10): additive, and they only allow.

Nothing is converted into Calico rules here; that road is the compiler's. A rule allows a packet when any of its peers
matches the other end and any of its ports matches the destination port.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_network

from reference.packet import PROTOCOLS, protocol_name
from reference.policy.entities import Asks
from reference.policy.peers import Owner, Party
from reference.policy.question import End, Question
from reference.policy.verdict import SideName
from reference.policy.wording import described
from reference.resources import KubernetesNetworkPolicy
from reference.resources.calico import Action
from reference.resources.kubernetes import IPBlock, LabelSelector, PolicyPeer, PolicyPort
from reference.workloads import is_pod


class KubernetesRule:
    """One ingress or egress rule, prepared. Its miss is "peers" or "ports"."""

    __slots__ = ("_named", "_peers", "_ports", "action", "direction", "index", "namespace")

    def __init__(
        self,
        index: int,
        namespace: str,
        direction: SideName,
        peers: tuple[PolicyPeer, ...] | None,
        ports: tuple[PolicyPort, ...] | None,
    ) -> None:
        self.index = index
        self.action: Action = "Allow"
        self.namespace = namespace
        self.direction = direction
        self._peers = peers or ()  # absent and empty both mean any peer (K8S-9)
        self._ports = ports or ()  # and any port of any protocol (K8S-10)
        self._named = any(isinstance(port.port, str) for port in self._ports)

    def without(self, field: str) -> KubernetesRule:
        """The rule without its "peers" or its "ports"."""
        peers, ports = (None, self._ports) if field == "peers" else (self._peers, None)
        return KubernetesRule(self.index, self.namespace, self.direction, peers, ports)

    @property
    def restrictions(self) -> int:
        """How many of the two narrow the rule down."""
        return bool(self._peers) + bool(self._ports)

    def miss(self, question: Question) -> str | None:
        """The name of what did not match, or None when the rule allows the packet."""
        return (
            self.miss_by_packet(question)
            or self.miss_by_end("source", question.source, question)
            or self.miss_by_end("destination", question.destination, question)
        )

    def miss_by_packet(self, question: Question) -> str | None:
        """Ports by number alone are settled here; a list with a name waits until the destination is known."""
        return None if self._named or self._ports_fit(question, []) else "ports"

    def miss_by_end(self, end: End, party: Party, question: Question) -> str | None:
        """Peers at the far end; named ports at the destination, declared by the pods a peer picks (K8S-10)."""
        far = end == ("source" if self.direction == "ingress" else "destination")
        picked = self._picked(party) if far else [list(party.owners)]
        if not picked:
            return "peers"
        if end == "destination" and self._named and not any(self._ports_fit(question, owners) for owners in picked):
            return "ports"
        return None

    def asks(self, end: End) -> Asks:
        """What of that end decides."""
        if end == "destination" and self._named:
            return "address and port"
        far = end == ("source" if self.direction == "ingress" else "destination")
        return "address" if far and self._peers else "nothing"

    def _picked(self, party: Party) -> list[list[Owner]]:
        """For every peer that matches the address, those there whose port names it can speak of.

        A selector speaks of pods alone; without one a name is any endpoint's that declares it (RULE-6).
        """
        if not self._peers:
            return [list(party.owners)]
        return [owners for peer in self._peers if (owners := self._matched(peer, party)) is not None]

    def _ports_fit(self, question: Question, owners: list[Owner]) -> bool:
        return not self._ports or any(_port_matches(port, question, owners) for port in self._ports)

    def _matched(self, peer: PolicyPeer, party: Party) -> list[Owner] | None:
        """Those at the address whose port names the peer can speak of, or None when it does not match."""
        if peer.ip_block is not None:
            return list(party.owners) if _in_block(peer.ip_block, party) else None
        return [pod for pod in pods_of(party) if self._selects(peer, pod)] or None

    def _selects(self, peer: PolicyPeer, pod: Owner) -> bool:
        """A lone podSelector speaks of this namespace, a lone namespaceSelector of every pod in those it matches."""
        if peer.namespace_selector is None:
            if peer.pod_selector is None or pod.namespace != self.namespace:
                return False
        elif not label_selector_matches(peer.namespace_selector, pod.namespace_labels):
            return False
        return peer.pod_selector is None or label_selector_matches(peer.pod_selector, pod.labels)

    def why(self, field: str, question: Question) -> str:
        """The reason of a miss for people."""
        if field == "ports":
            ports = ", ".join(map(_port_text, self._ports))
            name = protocol_name(question.protocol)
            if question.destination_port:
                return f"destination port {question.destination_port}/{name} is not in {ports}"
            return f"protocol {name} is not in {ports}"
        if self.direction == "ingress":
            return f"source {described(question.source)} is none of the {len(self._peers)} peers in from"
        return f"destination {described(question.destination)} is none of the {len(self._peers)} peers in to"


def kubernetes_rules(policy: KubernetesNetworkPolicy, direction: SideName) -> Iterator[KubernetesRule]:
    """The rules of a policy for one direction, prepared."""
    if direction == "ingress":
        for index, ingress in enumerate(policy.spec.ingress or ()):
            yield KubernetesRule(index, policy.namespace, direction, ingress.from_, ingress.ports)
    else:
        for index, egress in enumerate(policy.spec.egress or ()):
            yield KubernetesRule(index, policy.namespace, direction, egress.to, egress.ports)


def pods_of(party: Party) -> list[Owner]:
    """The pods at an address: Kubernetes policies never see network sets, nor workloads that are no pods (K8S-9)."""
    return [owner for owner in party.owners if owner.endpoint is not None and is_pod(owner.endpoint)]


def label_selector_matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Report whether labels satisfy a Kubernetes label selector; an empty one selects everything (K8S-7)."""
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    return all(_requirement_holds(r.operator, labels.get(r.key), r.values) for r in selector.match_expressions)


def required_labels(selector: LabelSelector) -> Iterator[tuple[str, frozenset[str]]]:
    """Labels without one of whose values nothing is selected, for an index."""
    yield from ((key, frozenset({value})) for key, value in selector.match_labels.items())
    yield from ((r.key, frozenset(r.values)) for r in selector.match_expressions if r.operator == "In")


def _requirement_holds(operator: str, value: str | None, values: tuple[str, ...]) -> bool:
    match operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values  # holds for an absent label too
        case "Exists":
            return value is not None
        case _:
            return value is None


def _in_block(block: IPBlock, party: Party) -> bool:
    return _net_contains(block.cidr, party) and not any(_net_contains(text, party) for text in block.except_)


def _net_contains(text: str, party: Party) -> bool:
    family, first, last = _bounds(text)
    return family == party.family and first <= party.number <= last


@lru_cache(maxsize=4096)
def _bounds(text: str) -> tuple[int, int, int]:
    """The family, the first and the last address of a net."""
    net = ip_network(text, strict=False)
    return net.version, int(net.network_address), int(net.broadcast_address)


def _port_matches(port: PolicyPort, question: Question, owners: list[Owner]) -> bool:
    """An entry without a port means every port of its protocol (K8S-10)."""
    if PROTOCOLS[port.protocol] != question.protocol:
        return False
    if port.port is None:
        return True
    if isinstance(port.port, int):
        return port.port <= question.destination_port <= (port.end_port or port.port)
    return any(
        declared.name == port.port
        and declared.protocol == question.protocol
        and declared.port == question.destination_port
        for owner in owners
        for declared in owner.ports
    )


def _port_text(port: PolicyPort) -> str:
    if port.port is None:
        return f"any {port.protocol} port"
    return f"{port.port}{f'-{port.end_port}' if port.end_port else ''}/{port.protocol}"

"""Cluster-scoped Kubernetes policies, read from their own definition (K8S-12, K8S-13); nothing is converted here.

ClusterNetworkPolicy, AdminNetworkPolicy and BaselineAdminNetworkPolicy say the same things in different words. The
first rule that matches decides: a rule matches when any of its peers is the other end and any of its ports is the
destination port. A rule with a peer that Calico does not know (`nodes`, `domainNames`) fails closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from math import inf
from typing import Literal

from reference.packet import PROTOCOLS, protocol_name
from reference.policy.entities import Asks, Nets
from reference.policy.kubernetes import label_selector_matches, pods_of
from reference.policy.peers import Owner, Party
from reference.policy.question import End, Question
from reference.policy.verdict import SideName
from reference.policy.wording import described
from reference.resources import (
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
    KubernetesClusterNetworkPolicy,
)
from reference.resources.calico import Action
from reference.resources.kubernetes import LabelSelector
from reference.resources.policy_api import (
    ADMIN_TIER,
    BASELINE_TIER,
    AdminEgressRule,
    AdminIngressRule,
    AdminPort,
    ClusterEgressRule,
    ClusterIngressRule,
    EgressPeer,
    IngressPeer,
    NamespacedPod,
    ProtocolMatch,
    Subject,
)
from reference.workloads import is_pod

ClusterPolicy = KubernetesClusterNetworkPolicy | KubernetesAdminNetworkPolicy | KubernetesBaselineAdminNetworkPolicy
CLUSTER_POLICIES = (
    KubernetesClusterNetworkPolicy,
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
)
_AnyRule = ClusterIngressRule | ClusterEgressRule | AdminIngressRule | AdminEgressRule
_ACTIONS: dict[str, Action] = {"Accept": "Allow", "Allow": "Allow", "Deny": "Deny", "Pass": "Pass"}
_SIDES: tuple[SideName, ...] = ("ingress", "egress")


def tier_of(policy: ClusterPolicy) -> str:
    """The tier it lives in: Admin and Baseline are built in (K8S-12)."""
    if isinstance(policy, KubernetesClusterNetworkPolicy):
        return ADMIN_TIER if policy.spec.tier == "Admin" else BASELINE_TIER
    return ADMIN_TIER if isinstance(policy, KubernetesAdminNetworkPolicy) else BASELINE_TIER


def order_of(policy: ClusterPolicy) -> float:
    """Its priority; the baseline of v1alpha1 has none and comes last."""
    return inf if isinstance(policy, KubernetesBaselineAdminNetworkPolicy) else policy.spec.priority


def governed_by(policy: ClusterPolicy) -> frozenset[SideName]:
    """The directions it has rules for; an Accept rule that fails closed is none (K8S-12)."""
    return frozenset(side for side in _SIDES if any(not _is_void(rule) for rule in _rules(policy, side)))


def is_subject(policy: ClusterPolicy, owner: Owner) -> bool:
    """Report whether the policy is about a pod; it is never about anything else."""
    return owner.endpoint is not None and is_pod(owner.endpoint) and _picks(policy.spec.subject, owner)


def cluster_rules(policy: ClusterPolicy, direction: SideName) -> Iterator[ClusterRule]:
    """The rules of a policy for one direction, prepared."""
    only_pods = direction == "egress" or not isinstance(policy, KubernetesClusterNetworkPolicy)
    for index, rule in enumerate(_rules(policy, direction)):
        yield ClusterRule(index, direction, rule, only_pods=only_pods)


def _rules(policy: ClusterPolicy, direction: SideName) -> tuple[_AnyRule, ...]:
    return policy.spec.ingress if direction == "ingress" else policy.spec.egress


class ClusterRule:
    """One rule, prepared. Its miss is "peers", "ports", or "unsupported" for an Accept that fails closed."""

    __slots__ = ("_direction", "_named", "_peers", "_ports", "_total", "_void", "action", "index", "rule")

    def __init__(self, index: int, direction: SideName, rule: _AnyRule, *, only_pods: bool) -> None:
        self.index = index
        self.rule = rule
        self._direction = direction
        self._void = _is_void(rule)
        self._total = bool(_unsupported(rule)) and not self._void  # then the rule denies everything
        self.action: Action = "Deny" if self._total else _ACTIONS[rule.action]
        self._peers: tuple[_Peer | _Anyone, ...] = tuple(_Peer(peer, only_pods=only_pods) for peer in rule.peers)
        self._ports = tuple(_ports(rule))  # none: any port of any protocol
        self._named = any(port.name for port in self._ports)

    @property
    def ports(self) -> tuple[tuple[str | None, int, int, str], ...]:
        """What it names: protocol (None: any), first and last number, or a name and no number."""
        return tuple((port.protocol, port.low, port.high, port.name) for port in self._ports)

    def without(self, field: str) -> ClusterRule | None:
        """The rule without its "peers" or its "ports"; one that fails closed has nothing to be taken away."""
        if field == "unsupported":
            return None
        bare = copy(self)
        if field == "peers":
            bare._peers = (_Anyone(),)
        else:
            bare._ports, bare._named = (), False
        return bare

    @property
    def restrictions(self) -> int:
        """How many of the two narrow the rule down."""
        return bool(self._peers) + bool(self._ports)

    def miss(self, question: Question) -> str | None:
        """The name of what did not match, or None when the rule matches."""
        return (
            self.miss_by_packet(question)
            or self.miss_by_end("source", question.source, question)
            or self.miss_by_end("destination", question.destination, question)
        )

    def miss_by_packet(self, question: Question) -> str | None:
        """Ports by number alone are settled here; a list with a name waits until the destination is known."""
        if self._void:
            return "unsupported"
        return None if self._total or self._named or self._ports_fit(question, []) else "ports"

    def miss_by_end(self, end: End, party: Party, question: Question) -> str | None:
        """Peers at the far end; named ports at the destination, declared by the pods a peer picks."""
        if self._total:
            return None
        picked = self._picked(party) if self._is_far(end) else [pods_of(party)]
        if not picked:
            return "peers"
        if end == "destination" and self._named and not any(self._ports_fit(question, pods) for pods in picked):
            return "ports"
        return None

    def asks(self, end: End) -> Asks:
        """What of that end decides."""
        if self._total or self._void:
            return "nothing"
        if end == "destination" and self._named:
            return "address and port"
        return "address" if self._is_far(end) else "nothing"

    def _is_far(self, end: End) -> bool:
        return end == ("source" if self._direction == "ingress" else "destination")

    def _picked(self, party: Party) -> list[list[Owner]]:
        """For every peer that matches the address, the pods there whose port names it can speak of."""
        return [pods for peer in self._peers if (pods := peer.pick(party)) is not None]

    def _ports_fit(self, question: Question, pods: list[Owner]) -> bool:
        return not self._ports or any(port.fits(question, pods) for port in self._ports)

    def why(self, field: str, question: Question) -> str:
        """The reason of a miss for people."""
        if field == "unsupported":
            names = " and ".join(_unsupported(self.rule))
            return f"its peer {names} is not supported, so the rule fails closed and accepts nothing (K8S-12)"
        if field == "ports":
            ports = ", ".join(map(str, self._ports))
            name = protocol_name(question.protocol)
            if question.destination_port:
                return f"destination port {question.destination_port}/{name} is not in {ports}"
            return f"protocol {name} is not in {ports}"
        if self._direction == "ingress":
            return f"source {described(question.source)} is none of the {len(self._peers)} peers in from"
        return f"destination {described(question.destination)} is none of the {len(self._peers)} peers in to"


class _Peer:
    """One peer, prepared. `only_pods` is false for those of kind `namespaces` that pick whatever lives there."""

    __slots__ = ("_loose", "_nets", "_peer")

    def __init__(self, peer: IngressPeer | EgressPeer, *, only_pods: bool) -> None:
        self._peer = peer
        self._loose = None if only_pods else peer.namespaces
        networks = peer.networks if isinstance(peer, EgressPeer) else None
        self._nets = None if networks is None else Nets(networks)

    def pick(self, party: Party) -> list[Owner] | None:
        """The pods at the address whose port names the peer can speak of, or None when it does not match."""
        if self._nets is not None:
            return pods_of(party) if self._nets.contain(party) else None
        if self._loose is not None:
            owners = [owner for owner in party.owners if lives_in(self._loose, owner)]
            return [owner for owner in owners if owner.endpoint is not None] if owners else None
        return [pod for pod in pods_of(party) if _picks(self._peer, pod)] or None


class _Anyone:
    """In place of the peers, when they do not count."""

    def pick(self, party: Party) -> list[Owner]:
        """The pods at the address, whatever it is."""
        return pods_of(party)


def _picks(picker: Subject | IngressPeer | EgressPeer, pod: Owner) -> bool:
    """Report whether a subject or a peer is about a pod."""
    if picker.namespaces is not None:
        return label_selector_matches(picker.namespaces, pod.namespace_labels)
    return picker.pods is not None and _is_among(picker.pods, pod)


def _is_among(pods: NamespacedPod, pod: Owner) -> bool:
    namespaces = pods.namespace_selector
    if namespaces is not None and not label_selector_matches(namespaces, pod.namespace_labels):
        return False
    return label_selector_matches(pods.pod_selector, pod.labels)


def lives_in(selector: LabelSelector, owner: Owner) -> bool:
    """An ingress peer of kind `namespaces` speaks of everything in them, pods or not (K8S-12).

    What lives in no namespace has no labels of one, so only a selector of nothing but negations holds for it.
    """
    if owner.namespace:
        return label_selector_matches(selector, owner.namespace_labels)
    return selector != LabelSelector() and label_selector_matches(selector, {})


@dataclass(frozen=True, slots=True)
class _Port:
    """One entry of `protocols` or `ports`: numbers of one protocol, or a name of any."""

    protocol: Literal["TCP", "UDP", "SCTP"] | None
    low: int
    high: int
    name: str = ""

    def __str__(self) -> str:
        span = str(self.low) if self.low == self.high else f"{self.low}-{self.high}"
        return self.name or f"{span}/{self.protocol}"

    def fits(self, question: Question, pods: list[Owner]) -> bool:
        """Report whether the packet goes to such a port; a name is what the pods at the destination declare."""
        if self.protocol is not None:
            return PROTOCOLS[self.protocol] == question.protocol and self.low <= question.destination_port <= self.high
        return any(
            (declared.name, declared.protocol, declared.port)
            == (self.name, question.protocol, question.destination_port)
            for pod in pods
            if pod.endpoint is not None
            for declared in pod.endpoint.ports
        )


def _ports(rule: _AnyRule) -> Iterator[_Port]:
    if isinstance(rule, (ClusterIngressRule, ClusterEgressRule)):
        for match in rule.protocols or ():
            yield from _of_protocol(match)
    else:
        for port in rule.ports or ():
            yield from _of_port(port)


def _of_protocol(match: ProtocolMatch) -> Iterator[_Port]:
    transports: tuple[Literal["TCP", "UDP", "SCTP"], ...] = ("TCP", "UDP", "SCTP")
    for protocol, found in zip(transports, (match.tcp, match.udp, match.sctp), strict=True):
        if found is None:
            continue
        port = found.destination_port
        if port.number is not None:
            yield _Port(protocol, port.number, port.number)
        if port.range is not None:
            yield _Port(protocol, port.range.start, port.range.end)
    if match.destination_named_port is not None:
        yield _Port(None, 0, 0, match.destination_named_port)


def _of_port(port: AdminPort) -> Iterator[_Port]:
    if port.port_number is not None:
        yield _Port(port.port_number.protocol, port.port_number.port, port.port_number.port)
    if port.port_range is not None:
        yield _Port(port.port_range.protocol, port.port_range.start, port.port_range.end)
    if port.named_port is not None:
        yield _Port(None, 0, 0, port.named_port)


def _unsupported(rule: _AnyRule) -> list[str]:
    """The kinds of peers in a rule that Calico does not know."""
    peers = [peer for peer in rule.peers if isinstance(peer, EgressPeer)]
    found = {"nodes": any(p.nodes is not None for p in peers), "domainNames": any(p.domain_names for p in peers)}
    return [name for name, there in found.items() if there]


def _is_void(rule: _AnyRule) -> bool:
    """Report whether a rule matches nothing because it would accept and cannot tell what."""
    return bool(_unsupported(rule)) and _ACTIONS[rule.action] == "Allow"

"""The node program: what one node's kernel must be, as plain immutable data.

Parts are shared: a set, policy or walk that did not change between two states is the *same object* in both programs,
so a dataplane compares by identity first and touches only what differs. `encode` gives the canonical bytes.

Both address families live in one program. A set, a net or a rule with `family` None speaks of both.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec
from immutables import Map

from reference.endpoints import Family

SetKind = Literal["nets", "ports"]
RuleAction = Literal["allow", "deny", "pass", "log"]
FlowDirection = Literal["ingress", "egress"]


class Part(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Base of the parts of a program."""


class IPSet(Part, frozen=True):
    """Addresses a selector or a named port stands for, on all nodes, of one family (RULE-6, RULE-8, NS-1).

    `nets` members are canonical CIDR strings ("10.0.0.7/32"), none contained in another;
    `ports` members are "address,protocol number,port" ("10.0.0.7,6,8080").
    Members are changed by membership, never by rewriting rules: the id does not depend on them.
    """

    id: str  # canonical selector id (SEL-8) + kind + family: equal ids mean equal meaning
    kind: SetKind
    family: Family
    members: frozenset[str]


class PortRange(Part, frozen=True):
    """Ports low..high, both included."""

    low: int
    high: int


class Match(Part, frozen=True):
    """All present fields AND; entries of a list OR; a `not_` list means none of these (RULE-1).

    `*_sets` are set *base ids* (without family): the dataplane uses the one of the packet's family, `<id>4` or `<id>6`.
    Each of `source_sets` must contain the address (they AND); none of `not_source_sets` may.
    `source_port_sets` are OR-ed with `source_ports` (RULE-5), and likewise for the others with `_port_sets`.
    """

    family: Family | None = None  # RULE-4, RULE-13: the rule exists for this family only
    protocol: int | None = None
    not_protocol: int | None = None
    icmp: tuple[int, int | None] | None = None  # type, code
    not_icmp: tuple[int, int | None] | None = None
    source_nets: tuple[str, ...] = ()
    not_source_nets: tuple[str, ...] = ()
    destination_nets: tuple[str, ...] = ()
    not_destination_nets: tuple[str, ...] = ()
    source_sets: tuple[str, ...] = ()
    not_source_sets: tuple[str, ...] = ()
    destination_sets: tuple[str, ...] = ()
    not_destination_sets: tuple[str, ...] = ()
    source_ports: tuple[PortRange, ...] = ()
    source_port_sets: tuple[str, ...] = ()
    not_source_ports: tuple[PortRange, ...] = ()
    not_source_port_sets: tuple[str, ...] = ()
    destination_ports: tuple[PortRange, ...] = ()
    destination_port_sets: tuple[str, ...] = ()
    not_destination_ports: tuple[PortRange, ...] = ()
    not_destination_port_sets: tuple[str, ...] = ()


class ProgramRule(Part, frozen=True):
    """One rule. `index` is the index of the user's rule it came from; several may share one (K8S-10)."""

    action: RuleAction
    index: int
    match: Match


class PolicyProgram(Part, frozen=True):
    """The rules of one policy or profile, per direction. `id` is FL-5's `<kind>:[<namespace>/]<name>`."""

    id: str  # "np:shop/web", "gnp:lockdown", "knp:shop/web", "pro:kns.shop"
    tier: str  # "__PROFILE__" for profiles
    ingress: tuple[ProgramRule, ...] = ()
    egress: tuple[ProgramRule, ...] = ()


class TierStep(Part, frozen=True):
    """A tier on an endpoint's way: only the policies that select the endpoint and govern the direction (POL-11)."""

    tier: str
    default_action: Literal["deny", "pass"]
    policies: tuple[str, ...]  # PolicyProgram ids, in order


class Walk(Part, frozen=True):
    """The way of a packet for one direction, shared by every endpoint with the same one (2a.4).

    Tiers in order, then profiles in order, then its end: deny (POL-12 … POL-15), or for a host endpoint's lists other
    than the normal one, on to what comes next (HEP-3).
    """

    id: str  # digest of the content
    direction: FlowDirection
    tiers: tuple[TierStep, ...]
    profiles: tuple[str, ...]  # PolicyProgram ids
    end: Literal["deny", "continue"] = "deny"


class EndpointProgram(Part, frozen=True):
    """A local workload endpoint: its interface, its addresses (for anti-spoofing, CT-5) and its two walks."""

    name: str  # "namespace/pod"
    interface: str
    addresses: tuple[str, ...]
    ingress: str  # Walk id
    egress: str  # Walk id


class HostEndpointProgram(Part, frozen=True):
    """What guards an interface of the machine itself, or with `*` all that have no guard of their own (HEP-1, HEP-3).

    All but name and interface are walk ids; "" is a list in which nothing governs the direction.
    """

    name: str
    interface: str
    ingress: str
    egress: str
    untracked_ingress: str = ""
    untracked_egress: str = ""
    pre_dnat: str = ""
    forward_ingress: str = ""
    forward_egress: str = ""

    @property
    def walks(self) -> tuple[str, ...]:
        """The ids of the walks there are."""
        found = (
            self.untracked_ingress,
            self.untracked_egress,
            self.pre_dnat,
            self.forward_ingress,
            self.forward_egress,
        )
        return (self.ingress, self.egress, *filter(None, found))


class Failsafe(Part, frozen=True):
    """A port no policy on local processes closes (HEP-9). `net` limits it to peers of a CIDR, of that family."""

    protocol: int
    port: int
    net: str = ""


class Failsafes(Part, frozen=True):
    """Inbound ones match the destination port and the source's address; outbound ones both of the destination."""

    inbound: tuple[Failsafe, ...] = ()
    outbound: tuple[Failsafe, ...] = ()


HostAction = Literal["drop", "accept"]


class Encapsulation(Part, frozen=True):
    """What no workload may send, whatever policy says (CT-6)."""

    ipip: bool = True  # protocol 4
    vxlan_port: int = 4789  # of UDP; 0 where VXLAN is let through


class NodeProgram(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one machine enforces, a node or a host outside. Only parts it needs are in it."""

    node: str
    seq: int  # the state it was compiled from
    sets: Map[str, IPSet]  # by id, which ends in the family digit
    policies: Map[str, PolicyProgram]  # by id; profiles too
    walks: Map[str, Walk]
    endpoints: Map[str, EndpointProgram]  # by interface
    nat_sources: frozenset[str] = frozenset()  # CIDRs of natOutgoing pools (NAT-1)
    pools: frozenset[str] = frozenset()  # CIDRs of all pools: never masqueraded towards (NAT-1)
    host_endpoints: Map[str, HostEndpointProgram] = Map()  # by interface, "*" for the rest
    failsafes: Failsafes = Failsafes()  # of the host endpoints; none where there are no host endpoints
    open_ports: tuple[int, ...] = ()  # UDP ports between nodes that no host endpoint closes (HEP-13)
    to_host: HostAction = "drop"  # what becomes of a pod's packet to the machine itself (HEP-12)
    encapsulation: Encapsulation = Encapsulation()


class CanonicalProgram(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The shape of the canonical bytes: every collection sorted; the sequence number left out."""

    node: str
    sets: list[tuple[str, str, int, list[str]]]
    policies: list[PolicyProgram]
    walks: list[Walk]
    endpoints: list[EndpointProgram]
    nat_sources: list[str]
    pools: list[str]
    host_endpoints: list[HostEndpointProgram] = []
    failsafes: Failsafes = Failsafes()
    open_ports: tuple[int, ...] = ()
    to_host: HostAction = "drop"
    encapsulation: Encapsulation = Encapsulation()


def encode(program: NodeProgram) -> bytes:
    """The canonical bytes of a program: equal programs give equal bytes, whatever `seq` they came from."""
    return msgspec.json.encode(
        CanonicalProgram(
            node=program.node,
            sets=[(s.id, s.kind, s.family, sorted(s.members)) for _, s in sorted(program.sets.items())],
            policies=[policy for _, policy in sorted(program.policies.items())],
            walks=[walk for _, walk in sorted(program.walks.items())],
            endpoints=[endpoint for _, endpoint in sorted(program.endpoints.items())],
            nat_sources=sorted(program.nat_sources),
            pools=sorted(program.pools),
            host_endpoints=[endpoint for _, endpoint in sorted(program.host_endpoints.items())],
            failsafes=program.failsafes,
            open_ports=program.open_ports,
            to_host=program.to_host,
            encapsulation=program.encapsulation,
        )
    )


def digest(program: NodeProgram) -> str:
    """SHA-256 of the canonical bytes, in hex."""
    return hashlib.sha256(encode(program)).hexdigest()


def same_parts(one: NodeProgram, other: NodeProgram) -> bool:
    """Report whether two programs are made of the same objects, and so the same bytes. Cheap; errs towards no."""
    return all(
        getattr(one, name) is getattr(other, name) for name in one.__struct_fields__ if name not in ("node", "seq")
    )

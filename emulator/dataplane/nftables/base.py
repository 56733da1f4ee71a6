"""The fixed part of the table: base chains, dispatch and guards, the same on every node. Pure.

Whatever neither comes from nor goes to a workload interface is left alone, and so is traffic from the host to its own
pods, for which no rule is needed (CT-1).
"""

from __future__ import annotations

from emulator.dataplane.nftables import expressions as e
from emulator.dataplane.nftables.chains import guard_rule
from emulator.dataplane.nftables.names import WORKLOAD_PREFIX
from emulator.dataplane.nftables.parts import Chain, Hook, Rule, SetSpec
from reference.endpoints import Family
from reference.program.types import Encapsulation, HostAction

FROM_WORKLOAD = SetSpec("from-workload", "verdicts")
TO_WORKLOAD = SetSpec("to-workload", "verdicts")
WORKLOADS = SetSpec("workloads", "interfaces")
SOURCES: dict[Family, SetSpec] = {
    4: SetSpec("workload-sources4", "sources4"),
    6: SetSpec("workload-sources6", "sources6"),
}
NAT_SOURCES: dict[Family, SetSpec] = {4: SetSpec("nat-sources4", "nets4"), 6: SetSpec("nat-sources6", "nets6")}
POOLS: dict[Family, SetSpec] = {4: SetSpec("pools4", "nets4"), 6: SetSpec("pools6", "nets6")}
STATIC_SETS: tuple[SetSpec, ...] = (
    FROM_WORKLOAD,
    TO_WORKLOAD,
    WORKLOADS,
    *SOURCES.values(),
    *NAT_SOURCES.values(),
    *POOLS.values(),
)

_PREROUTING, _INPUT, _FORWARD, _POSTROUTING = 0, 1, 2, 4
_RAW, _FILTER, _AFTER_SOURCE_NAT = -300, 0, 110
_FROM_POD = e.interface_is("in", WORKLOAD_PREFIX)
_TO_POD = e.interface_is("out", WORKLOAD_PREFIX)
_NOT_FROM_POD = e.interface_is("in", WORKLOAD_PREFIX, equal=False)
_NOT_TO_POD = e.interface_is("out", WORKLOAD_PREFIX, equal=False)
_ACCEPT = e.verdict(e.ACCEPT)
_ICMPV6 = e.family_is(6) + e.protocol_is(58)
_LINK_LOCAL = e.address_in_prefix(6, True, b"\xfe\x80" + bytes(14), 10, True)
_UNSPECIFIED = e.address_in_prefix(6, True, bytes(16), 128, True)
ESTABLISHED = Rule(
    e.connection_is(e.CT_ESTABLISHED | e.CT_RELATED) + e.counter() + _ACCEPT, "established and related (CT-2)"
)
INVALID = e.connection_is(e.CT_INVALID)
INPUT = "input"
_TO_DISPATCH, FROM_DISPATCH = "dispatch-to-workload", "dispatch-from-workload"


def static_chains() -> tuple[Chain, ...]:
    """The base chains and the dispatch chains, those jumped to first, as they are unless a program says otherwise."""
    return (
        dispatch_from(Encapsulation()),
        _dispatch_to(),
        _prerouting(),
        _forward(),
        input_chain("drop"),
        _postrouting(),
    )


def dispatch_from(refused: Encapsulation) -> Chain:
    """What no workload may send (CT-6), then the egress walks."""
    vxlan = e.protocol_is(17) + e.port_in_range(False, refused.vxlan_port, refused.vxlan_port, True)
    rules = (
        *([guard_rule(e.protocol_is(4), "encapsulated", "egress")] if refused.ipip else []),
        *([guard_rule(vxlan, "encapsulated", "egress")] if refused.vxlan_port else []),
        Rule(e.dispatch("in", FROM_WORKLOAD.name), "to the egress walk of the interface"),
        guard_rule(b"", "unknown interface", "egress"),
    )
    return Chain(name=FROM_DISPATCH, rules=rules)


def _dispatch_to() -> Chain:
    rules = (
        Rule(e.dispatch("out", TO_WORKLOAD.name), "to the ingress walk of the interface"),
        guard_rule(b"", "unknown interface", "ingress"),
    )
    return Chain(name=_TO_DISPATCH, rules=rules)


def _prerouting() -> Chain:
    """CT-5: a pod sends from its own addresses only; link-local ones never leave the link."""
    rules = (
        Rule(_NOT_FROM_POD + _ACCEPT, "not from a pod"),
        *(
            Rule(e.family_is(family) + e.interface_and_source_in_set(family, spec.name) + _ACCEPT, "its own address")
            for family, spec in SOURCES.items()
        ),
        Rule(e.family_is(6) + _LINK_LOCAL + _ACCEPT, "link-local"),
        Rule(_ICMPV6 + _UNSPECIFIED + e.icmp_is(135, None) + _ACCEPT, "duplicate address detection"),
        guard_rule(e.interface_in_set("in", WORKLOADS.name), "spoofed", "egress"),
        guard_rule(b"", "unknown interface", "egress"),
    )
    return Chain(name="prerouting", rules=rules, hook=Hook("filter", _PREROUTING, _RAW))


def _forward() -> Chain:
    """POL-18: out of the source's interface, then into the destination's; both must accept."""
    rules = (
        Rule(_NOT_FROM_POD + _NOT_TO_POD + _ACCEPT, "none of ours"),
        ESTABLISHED,
        guard_rule(_FROM_POD + INVALID, "invalid", "egress"),
        guard_rule(INVALID, "invalid", "ingress"),
        Rule(_FROM_POD + e.verdict(e.JUMP, FROM_DISPATCH), "egress of the source"),
        Rule(_TO_POD + e.verdict(e.JUMP, _TO_DISPATCH), "ingress of the destination"),
    )
    return Chain(name="forward", rules=rules, hook=Hook("filter", _FORWARD, _FILTER))


def input_chain(action: HostAction) -> Chain:
    """HEP-12: neighbour discovery, replies, then egress policy, then defaultEndpointToHostAction."""
    rules = (
        Rule(_NOT_FROM_POD + _ACCEPT, "not from a pod"),
        Rule(_ICMPV6 + e.icmp_type_between(130, 133) + _ACCEPT, "multicast listeners, router solicitation"),
        Rule(_ICMPV6 + e.icmp_type_between(135, 136) + _ACCEPT, "neighbour discovery"),
        ESTABLISHED,
        guard_rule(INVALID, "invalid", "egress"),
        Rule(e.verdict(e.JUMP, FROM_DISPATCH), "egress of the source"),
        guard_rule(b"", "to host", "egress") if action == "drop" else Rule(_ACCEPT, "to the host itself"),
    )
    return Chain(name=INPUT, rules=rules, hook=Hook("filter", _INPUT, _FILTER))


def _postrouting() -> Chain:
    """NAT-1: from a natOutgoing pool to no pool at all."""
    rules = tuple(
        Rule(
            e.family_is(family)
            + e.address_in_set(family, True, NAT_SOURCES[family].name, True)
            + e.address_in_set(family, False, POOLS[family].name, False)
            + e.counter()
            + e.masquerade(),
            "natOutgoing",
        )
        for family in NAT_SOURCES
    )
    return Chain(name="nat-outgoing", rules=rules, hook=Hook("nat", _POSTROUTING, _AFTER_SOURCE_NAT))

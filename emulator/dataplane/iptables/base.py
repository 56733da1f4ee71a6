"""The fixed chains and the dispatch from interfaces to walks. Pure.

Whatever neither comes from nor goes to a workload interface goes on to other software's rules, and so does traffic from
the host to its own pods, for which no rule is needed (CT-1).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from emulator.dataplane.iptables.chains import guard_rules
from emulator.dataplane.iptables.hosts import FROM_FORWARD, FROM_HOST, FROM_UNTRACKED, TO_FORWARD, link_rules
from emulator.dataplane.iptables.names import WORKLOAD_PREFIX, chain_name, set_name, walk_chain
from emulator.dataplane.iptables.parts import Chain, Rule, SetSpec, Table
from reference.endpoints import Family
from reference.program.types import Encapsulation, EndpointProgram, FlowDirection, HostAction

HOOKS: tuple[tuple[Table, str, str], ...] = (
    ("raw", "PREROUTING", "cali-PREROUTING"),
    ("raw", "OUTPUT", "cali-OUTPUT"),
    ("mangle", "PREROUTING", "cali-PREROUTING"),
    ("filter", "FORWARD", "cali-FORWARD"),
    ("filter", "INPUT", "cali-INPUT"),
    ("filter", "OUTPUT", "cali-OUTPUT"),
    ("nat", "POSTROUTING", "cali-POSTROUTING"),
)
"""(table, kernel chain, our chain): a jump is the first rule of each kernel chain (IPT-7)."""

_FROM_POD, _TO_POD = f"-i {WORKLOAD_PREFIX}+", f"-o {WORKLOAD_PREFIX}+"
_FROM_DISPATCH, _TO_DISPATCH = "cali-from-wl-dispatch", "cali-to-wl-dispatch"
_FROM_WORKLOAD = "cali-from-workload"
_SPOOF_DISPATCH, _SPOOFED = "cali-spoof-dispatch", "cali-spoofed"
_ESTABLISHED = Rule("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "established and related (CT-2)")
_INVALID = "-m conntrack --ctstate INVALID"


def sources_set(family: Family) -> SetSpec:
    """Which addresses may come from which workload interface (CT-5)."""
    return SetSpec(set_name("workload-sources", family), "hash:net,iface")


def nat_sources_set(family: Family) -> SetSpec:
    """The natOutgoing pools (IPT-8)."""
    return SetSpec(set_name("masq-ipam-pools", family), "hash:net")


def pools_set(family: Family) -> SetSpec:
    """All pools (IPT-8)."""
    return SetSpec(set_name("all-ipam-pools", family), "hash:net")


def static_chains(family: Family, to_host: HostAction, refused: Encapsulation) -> tuple[Chain, ...]:
    """The chains the kernel's own jump to, and those every node has."""
    return (
        _prerouting(family),
        _spoofed(),
        _from_workload(refused),
        _forward(),
        _input(),
        _workload_to_host(family, to_host),
        *_nat(family),
    )


def _from_workload(refused: Encapsulation) -> Chain:
    """What no workload may send (CT-6), then the egress walks."""
    rules: list[Rule] = []
    if refused.ipip:
        rules += guard_rules("-p 4", "encapsulated", "egress")
    if refused.vxlan_port:
        rules += guard_rules(f"-p 17 -m multiport --dports {refused.vxlan_port}", "encapsulated", "egress")
    return Chain(name=_FROM_WORKLOAD, rules=(*rules, Rule(f"-g {_FROM_DISPATCH}", "egress of the source")))


def _prerouting(family: Family) -> Chain:
    """CT-5: a pod sends from its own addresses only; link-local ones never leave the link."""
    sources = sources_set(family)
    rules = [
        Rule(f"! {_FROM_POD} -g {FROM_UNTRACKED}", "not from a pod (HEP-14)"),
        Rule(f"-m set --match-set {sources.name} src,src -j RETURN", "its own address"),
    ]
    if family == 6:
        detection = "-s ::/128 -p 58 -m icmp6 --icmpv6-type 135 -j RETURN"
        rules += [Rule("-s fe80::/10 -j RETURN", "link-local"), Rule(detection, "duplicate address detection")]
    rules.append(Rule(f"-g {_SPOOF_DISPATCH}", "spoofed, or from an interface nobody knows"))
    return Chain(name="cali-PREROUTING", table="raw", rules=tuple(rules), lookups=frozenset({(sources, "src")}))


def _spoofed() -> Chain:
    return Chain(name=_SPOOFED, table="raw", rules=guard_rules("", "spoofed", "egress"))


def _forward() -> Chain:
    """POL-18: out of the source's interface, then into the destination's; both must accept."""
    rules = (
        Rule(f"-j {FROM_FORWARD}", "forward policy of host endpoints"),
        Rule(f"! {_FROM_POD} ! {_TO_POD} -g {TO_FORWARD}", "none of ours"),
        _ESTABLISHED,
        *guard_rules(f"{_FROM_POD} {_INVALID}", "invalid", "egress"),
        *guard_rules(_INVALID, "invalid", "ingress"),
        Rule(f"{_FROM_POD} -j {_FROM_WORKLOAD}", "what pods send"),
        Rule(f"{_TO_POD} -j {_TO_DISPATCH}", "ingress of the destination"),
        Rule(f"-j {TO_FORWARD}", "forward policy of host endpoints"),
        Rule("-j ACCEPT", "accepted by policy"),
    )
    return Chain(name="cali-FORWARD", rules=rules)


def _input() -> Chain:
    rules = (
        Rule(f"{_FROM_POD} -g cali-wl-to-host", "from a pod to the node itself"),
        Rule(f"-j {FROM_HOST}", "host endpoints"),
    )
    return Chain(name="cali-INPUT", rules=rules)


def _workload_to_host(family: Family, to_host: HostAction) -> Chain:
    """HEP-12: neighbour discovery, replies, then egress policy, then defaultEndpointToHostAction."""
    rules = [
        *link_rules(family, "ACCEPT"),
        _ESTABLISHED,
        *guard_rules(_INVALID, "invalid", "egress"),
        Rule(f"-j {_FROM_WORKLOAD}", "what pods send"),
    ]
    rules += guard_rules("", "to host", "egress") if to_host == "drop" else [Rule("-j ACCEPT", "to host")]
    return Chain(name="cali-wl-to-host", rules=tuple(rules))


def _nat(family: Family) -> tuple[Chain, Chain]:
    """NAT-1: from a natOutgoing pool to no pool at all."""
    sources, pools = nat_sources_set(family), pools_set(family)
    masquerade = f"-m set --match-set {sources.name} src -m set ! --match-set {pools.name} dst -j MASQUERADE"
    return (
        Chain(
            name="cali-nat-outgoing",
            table="nat",
            rules=(Rule(masquerade, "natOutgoing"),),
            lookups=frozenset({(sources, "src"), (pools, "dst")}),
        ),
        Chain(name="cali-POSTROUTING", table="nat", rules=(Rule("-j cali-nat-outgoing", "natOutgoing"),)),
    )


@lru_cache(maxsize=4)  # both families ask
def dispatch_chains(endpoints: tuple[EndpointProgram, ...]) -> tuple[Chain, ...]:
    """From interfaces to walks, and from interfaces to the guard against spoofing."""
    known = sorted(endpoints, key=lambda endpoint: endpoint.interface)
    from_walks = {e.interface: walk_chain(e.egress, "egress") for e in known}
    to_walks = {e.interface: walk_chain(e.ingress, "ingress") for e in known}
    return (
        *_tree("filter", _FROM_DISPATCH, "-i", from_walks, "egress"),
        *_tree("filter", _TO_DISPATCH, "-o", to_walks, "ingress"),
        *_tree("raw", _SPOOF_DISPATCH, "-i", dict.fromkeys(from_walks, _SPOOFED), "egress"),
    )


def _tree(table: Table, root: str, option: str, targets: dict[str, str], direction: FlowDirection) -> Iterator[Chain]:
    """Interfaces are told apart by the character after what all their names begin with, then by the whole name."""
    shared = _shared_length(list(targets))
    branches: dict[str, dict[str, str]] = {}
    for name, target in targets.items():
        branches.setdefault(name[shared : shared + 1], {})[name] = target
    rules: list[Rule] = []
    unknown = guard_rules("", "unknown interface", direction)
    for letter, some in branches.items():
        if len(some) == 1:
            rules.extend(_leaves(option, some))
            continue
        branch = chain_name(f"{root}-", letter)
        begins = next(iter(some))[: shared + 1]
        rules.append(Rule(f"{option} {begins}+ -g {branch}", f"{len(some)} interfaces"))
        yield Chain(name=branch, table=table, rules=(*_leaves(option, some), *unknown))
    yield Chain(name=root, table=table, rules=(*rules, *unknown))


def _shared_length(names: list[str]) -> int:
    """How many characters all of these sorted names begin with."""
    if not names:
        return 0
    first, last = names[0], names[-1]
    return next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))


def _leaves(option: str, targets: dict[str, str]) -> list[Rule]:
    return [Rule(f"{option} {name} -g {target}", f"the walk of {name}") for name, target in targets.items()]

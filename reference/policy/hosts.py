"""Host endpoints as the oracle reads them: which guards an interface, and what it has to say (2d).

A host endpoint has four lists of policies, each with its own place on a packet's way (HEP-3, POL-9).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from reference.packet import protocol_number
from reference.policy.entities import Nets
from reference.policy.ordering import OrderedTier, Policy, ordered_tiers
from reference.policy.peers import Owner, Party, host_owner
from reference.policy.question import Question
from reference.policy.selection import selects
from reference.policy.verdict import SideName, Variant
from reference.policy.view import ProfileOnWay, TierOnWay, Way
from reference.resources import FelixConfiguration, GlobalNetworkPolicy, HostEndpoint, IPPool
from reference.resources.hosts import ALL_INTERFACES, FailsafePorts, ProtoPort

if TYPE_CHECKING:
    from reference.policy.view import View

FABRIC, LOOPBACK = "eth0", "lo"
WORKLOAD = "cali"  # what the names of pods' interfaces begin with
_LOCAL_ADDRESSES = frozenset({"127.0.0.1", "::1"})
_TUNNELS = {4: "wireguard.cali", 6: "wg-v6.cali"}
_IPIP, _UDP, _VXLAN_PORT = 4, 17, 4789  # CT-6
_WIREGUARD_PORTS = (51820, 51821)  # HEP-13, WG-7
_INBOUND: tuple[ProtoPort, ...] = (  # HEP-9
    *(ProtoPort(port=port) for port in (22, 179, 2379, 2380, 5473, 6443, 6666, 6667)),
    ProtoPort(port=68, protocol="udp"),
)
_OUTBOUND: tuple[ProtoPort, ...] = (
    *(ProtoPort(port=port) for port in (179, 2379, 2380, 5473, 6443, 6666, 6667)),
    *(ProtoPort(port=port, protocol="udp") for port in (53, 67)),
)


@dataclass(frozen=True, slots=True, eq=False)
class Guard:
    """A host endpoint, with how policies see it."""

    endpoint: HostEndpoint
    owner: Owner

    @property
    def is_for_all(self) -> bool:
        """Report whether it guards every interface that has no endpoint of its own (`*`)."""
        return self.endpoint.spec.interface_name == ALL_INTERFACES


class Hosts:
    """The guards of all machines of one state."""

    def __init__(self, view: View) -> None:
        state = view.state
        self._view = view
        self._state = state
        self._guards: dict[str, list[Guard]] = {}  # by machine, in the order of their names (HEP-1)
        for endpoint in state.all(HostEndpoint):
            self._guards.setdefault(endpoint.spec.node, []).append(Guard(endpoint, host_owner(state, endpoint)))
        self._policies = list(_policies(view)) if self._guards else []
        self._tiers = ordered_tiers(state, self._policies)
        self._passing = tuple(OrderedTier(tier.name, "Pass", exists=tier.exists) for tier in self._tiers)
        self._at: dict[tuple[str, str], tuple[Guard | None, Guard | None]] = {}
        self._ways: dict[tuple[Guard, Variant, SideName], Way | None] = {}
        pools = [pool.spec for pool in state.all(IPPool) if "LoadBalancer" not in pool.spec.allowed_uses]
        self._pools = Nets(tuple(pool.cidr for pool in pools))
        self._translated = Nets(tuple(pool.cidr for pool in pools if pool.nat_outgoing))

    def __bool__(self) -> bool:
        return bool(self._guards)

    def tiers(self, variant: Variant) -> tuple[OrderedTier, ...]:
        """Every tier, as it ends in one list: doNotTrack and preDNAT policies leave the rest to others (POL-9)."""
        return self._passing if variant in ("doNotTrack", "preDNAT") else self._tiers

    # -- who guards what -------------------------------------------------------------------------------------------

    def guard(self, machine: str, interface: str, *, own_only: bool = False) -> Guard | None:
        """The endpoint of an interface: its own, or that of all interfaces unless `own_only` (HEP-1, HEP-4)."""
        if machine not in self._guards:
            return None
        found = self._at.get((machine, interface))
        if found is None:
            found = self._at[machine, interface] = self._look_up(machine, interface)
        own, for_all = found
        return own if own is not None or own_only else for_all

    def _look_up(self, machine: str, interface: str) -> tuple[Guard | None, Guard | None]:
        guards = self._guards[machine]
        own = None
        if not interface.startswith(WORKLOAD):
            addresses = self._addresses(machine, interface)
            own = next((guard for guard in guards if _stands_at(guard, interface, addresses)), None)
        return own, next((guard for guard in guards if guard.is_for_all), None)

    def _addresses(self, machine: str, interface: str) -> frozenset[str]:
        if interface == LOOPBACK:
            return _LOCAL_ADDRESSES
        host = self._state.hosts.get(machine)
        return frozenset(host.addresses) if host is not None and interface == FABRIC else frozenset()

    def like(self, guard: Guard) -> Guard:
        """The guard that stands here for the same host endpoint, of a reading of the same state."""
        mine = self._guards[guard.endpoint.spec.node]
        return next(one for one in mine if one.endpoint is guard.endpoint)

    def way(self, guard: Guard, variant: Variant, direction: SideName) -> Way | None:
        """One of a guard's lists; None when nothing in it governs the direction, and it has no profiles to ask."""
        key = (guard, variant, direction)
        if key not in self._ways:
            self._ways[key] = self._find_way(guard, variant, direction)
        return self._ways[key]

    def _find_way(self, guard: Guard, variant: Variant, direction: SideName) -> Way | None:
        chosen = [
            policy
            for policy in self._policies
            if direction in policy.governs and _is_listed(policy, variant) and selects(policy, guard.owner)
        ]
        if not chosen and variant != "normal":
            return None
        tiers = (
            TierOnWay(tier, tuple(sorted((p for p in chosen if p.tier == tier.name), key=lambda p: p.sort_key)))
            for tier in self.tiers(variant)
        )
        names = guard.endpoint.spec.profiles if variant == "normal" else ()
        profiles = tuple(ProfileOnWay(self._state, name, direction) for name in names)
        return Way(direction, tuple(tier for tier in tiers if tier.policies), profiles)

    # -- settings of machines --------------------------------------------------------------------------------------

    def drops_own_pods(self, machine: str) -> bool:
        """What becomes of a pod's packet to its own node after egress policy (HEP-12).

        Return hands it to the administrator's own rules, of which there are none.
        """
        action = self._setting(machine, "default_endpoint_to_host_action") or "Drop"
        return str(action).lower() == "drop"

    def encapsulation(self, machine: str, question: Question) -> str:
        """Why a machine takes no such packet from a workload, whatever policy says; "" where it does (CT-6)."""
        if question.protocol == _IPIP and not self._setting(machine, "allow_ipip_packets_from_workloads"):
            return "IPIP from a workload is dropped before policy, unless allowIPIPPacketsFromWorkloads is set (CT-6)"
        port = self._setting(machine, "vxlan_port") or _VXLAN_PORT
        if question.protocol != _UDP or question.destination_port != port:
            return ""
        if self._setting(machine, "allow_vxlan_packets_from_workloads"):
            return ""
        return "VXLAN from a workload is dropped before policy, unless allowVXLANPacketsFromWorkloads is set (CT-6)"

    def failsafe(self, machine: str, direction: SideName, question: Question, *, untracked: bool) -> str:
        """The failsafe port a packet falls under, in words; "" when it is under none (HEP-9).

        `untracked`: there is no connection tracking, so answers are let through by name too (HEP-3).
        """
        way, against = ("inbound", "outbound") if direction == "ingress" else ("outbound", "inbound")
        peer = question.source if direction == "ingress" else question.destination
        for entry in self._failsafes(machine, way):
            if _covers(entry, question, question.destination_port, peer):
                return f"{way} failsafe port {entry.protocol}/{entry.port}"
        if untracked:
            for entry in self._failsafes(machine, against):
                if _covers(entry, question, question.source_port, peer):
                    return f"answer from {against} failsafe port {entry.protocol}/{entry.port}"
        return ""

    def _failsafes(self, machine: str, way: str) -> tuple[ProtoPort, ...]:
        ports: FailsafePorts = self._setting(machine, f"failsafe_{way}_host_ports")  # type: ignore[assignment]
        if ports is None:
            return _INBOUND if way == "inbound" else _OUTBOUND
        return () if isinstance(ports, str) else ports

    def _setting(self, machine: str, field: str) -> object:
        """A setting of Felix: the machine's own, or else everybody's; None if neither makes it."""
        for name in (f"node.{machine}", "default"):
            configuration = self._state.get(FelixConfiguration, name)
            value = None if configuration is None else getattr(configuration.spec, field)
            if value is not None:
                return value
        return None

    # -- the network between machines ------------------------------------------------------------------------------

    def tunnel(self, one: str, other: str, question: Question) -> str:
        """The device that pods' traffic between two nodes takes when it is encrypted, else "" (WG-2, WG-8)."""
        nodes = self._encrypting(question)
        return _TUNNELS[question.family] if one in nodes and other in nodes else ""

    def _encrypting(self, question: Question) -> set[str]:
        state = self._state
        if not state.encryption:
            return set()
        keys = list(state.public_keys.values())
        return {
            node
            for node, key in state.public_keys.items()
            if keys.count(key) == 1 and self.address(node, question.family)
        }

    def address(self, machine: str, family: int) -> str:
        """A machine's first address of a family, or ""."""
        host = self._state.hosts.get(machine)
        mine = () if host is None else host.addresses
        return next((address for address in mine if (":" in address) == (family == 6)), "")

    def is_infrastructure(self, machine: str, question: Question) -> bool:
        """Report whether a packet is WireGuard's own, which no host endpoint stops (HEP-13)."""
        host = self._state.hosts.get(machine)
        return (
            bool(self._state.encryption)
            and host is not None
            and host.is_node
            and question.protocol == _UDP
            and question.destination_port in _WIREGUARD_PORTS
        )

    def seen_source(self, question: Question, node: str) -> Party:
        """The source that another machine sees of a pod's packet, for itself or for a workload of its.

        natOutgoing gives a packet to an address in no pool the node's address (NAT-1, RULE-17).
        """
        if not (self.translates_to(question.destination) and self._translated.contain(question.source)):
            return question.source
        address = self.address(node, question.family)
        return self._view.peers.at(address) if address else question.source

    def translates_to(self, destination: Party) -> bool:
        """Report whether packets to an address may come to bear the address of the node they left."""
        return self._translated.speak_of(destination.family) and not self._pools.contain(destination)


def _policies(view: View) -> Iterator[Policy]:
    """Every policy that may select a host endpoint: the view's global ones, and those that speak to hosts alone."""
    yield from (policy for policy in view.policies if isinstance(policy.resource, GlobalNetworkPolicy))
    for resource in view.state.all(GlobalNetworkPolicy):
        if resource.spec.do_not_track or resource.spec.pre_dnat:
            yield Policy(resource)


def is_upkeep(question: Question) -> bool:
    """Report whether a packet only keeps the link going: multicast listeners, neighbour discovery (HEP-12)."""
    return question.protocol == 58 and question.icmp_type in (130, 131, 132, 133, 135, 136)


def _stands_at(guard: Guard, interface: str, addresses: frozenset[str]) -> bool:
    """HEP-1: by name, or without one by an address the interface carries."""
    spec = guard.endpoint.spec
    return spec.interface_name == interface if spec.interface_name else not addresses.isdisjoint(spec.expected_ips)


def _is_listed(policy: Policy, variant: Variant) -> bool:
    """POL-9: a policy is in one list, or with applyOnForward in two."""
    return variant in _lists(policy)


def _lists(policy: Policy) -> Iterator[Variant]:
    spec = policy.resource.spec
    if getattr(spec, "do_not_track", False):
        yield "doNotTrack"
    elif getattr(spec, "pre_dnat", False):
        yield "preDNAT"
    else:
        yield "normal"
        if getattr(spec, "apply_on_forward", False):
            yield "applyOnForward"


def _covers(entry: ProtoPort, question: Question, port: int, peer: Party) -> bool:
    if question.protocol != protocol_number(entry.protocol) or port != entry.port:
        return False
    if not entry.net:
        return True
    net = ip_network(entry.net, strict=False)
    return net.version == question.family and ip_address(peer.address) in net

"""The programs of host endpoints: who guards which interface, with which walks and settings (HEP-1 to HEP-4, HEP-9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from immutables import Map

from reference.endpoints import Host
from reference.packet import protocol_number
from reference.program.labels import resources
from reference.program.matching import ItemKey
from reference.program.nets import net
from reference.program.nodes import NodeParts
from reference.program.types import Encapsulation, Failsafe, Failsafes, HostAction, HostEndpointProgram
from reference.program.walks import NOBODY, Company, WalkBook
from reference.resources import AnyResource, FelixConfiguration, HostEndpoint, Key
from reference.resources.hosts import ALL_INTERFACES, FailsafePorts
from reference.state import State

KIND = "HostEndpoint"
FABRIC, LOOPBACK = "eth0", "lo"  # the interfaces a machine has, beside those of pods and tunnels
_WORKLOAD_PREFIX = "cali"
_LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")
_TCP, _UDP = 6, 17
_EVERYBODY_IN = (22, 179, 2379, 2380, 5473, 6443, 6666, 6667)
_EVERYBODY_OUT = (179, 2379, 2380, 5473, 6443, 6666, 6667)
_WIREGUARD = (51820, 51821)
_NONE: tuple[int, ...] = ()
_DEFAULTS = Failsafes(  # HEP-9
    inbound=(*(Failsafe(protocol=_TCP, port=port) for port in _EVERYBODY_IN), Failsafe(protocol=_UDP, port=68)),
    outbound=(
        *(Failsafe(protocol=_TCP, port=port) for port in _EVERYBODY_OUT),
        *(Failsafe(protocol=_UDP, port=port) for port in (53, 67)),
    ),
)


class HostEndpoints:
    """Keeps every machine's guards, and their programs."""

    def __init__(self, book: WalkBook, companies: Mapping[ItemKey, Company]) -> None:
        self._book = book
        self._companies = companies
        self._by_machine: dict[str, dict[Key, HostEndpoint]] = {}
        self._programs: dict[str, dict[str, HostEndpointProgram]] = {}

    def move(
        self,
        before: State,
        state: State,
        changed: Iterable[Key],
        moved: Iterable[ItemKey],
        node: Callable[[str], NodeParts],
        *,
        all_walks: bool,
    ) -> None:
        """Take a new state: the host endpoints that changed in it, and those that policies began or ceased to select.

        A machine without host endpoints costs nothing.
        """
        endpoints = resources(state, KIND)
        touched: set[str] = set()
        for key in changed:
            for old in (resources(before, KIND).get(key), endpoints.get(key)):
                if isinstance(old, HostEndpoint):
                    touched.add(old.spec.node)
                    self._by_machine.setdefault(old.spec.node, {}).pop(key, None)
            new = endpoints.get(key)
            if isinstance(new, HostEndpoint):
                self._by_machine[new.spec.node][key] = new
        if all_walks or before.hosts is not state.hosts:
            touched.update(self._by_machine)
        else:
            found = (endpoints.get(key) for key in moved if isinstance(key, Key))
            touched.update(endpoint.spec.node for endpoint in found if isinstance(endpoint, HostEndpoint))
        for machine in touched:
            self._place(machine, state.hosts.get(machine), node)

    def used_walks(self) -> set[str]:
        """The ids of the walks in use."""
        return {id_ for programs in self._programs.values() for one in programs.values() for id_ in one.walks}

    def _place(self, machine: str, host: Host | None, node: Callable[[str], NodeParts]) -> None:
        old = self._programs.pop(machine, {})
        new = {} if host is None else self._machine(machine, host)
        for interface, program in new.items():
            known = old.get(interface)
            if known == program:
                new[interface] = known
        if new:
            self._programs[machine] = new
        if new or old:
            node(machine).put_host_endpoints(new)

    def _machine(self, machine: str, host: Host) -> dict[str, HostEndpointProgram]:
        """One endpoint an interface, the first by name where several want it (HEP-1)."""
        chosen: dict[str, HostEndpoint] = {}
        for _, endpoint in sorted(self._by_machine.get(machine, {}).items()):
            for interface in _interfaces(endpoint, host):
                chosen.setdefault(interface, endpoint)
        return {interface: self._program(interface, endpoint) for interface, endpoint in chosen.items()}

    def _program(self, interface: str, endpoint: HostEndpoint) -> HostEndpointProgram:
        company = self._companies.get(endpoint.key, NOBODY)
        walks = self._book.host_walks(company, tuple(f"pro:{name}" for name in endpoint.spec.profiles))
        untracked = interface != ALL_INTERFACES  # HEP-4
        return HostEndpointProgram(
            name=endpoint.name,
            interface=interface,
            ingress=walks.ingress,
            egress=walks.egress,
            untracked_ingress=walks.untracked_ingress if untracked else "",
            untracked_egress=walks.untracked_egress if untracked else "",
            pre_dnat=walks.pre_dnat,
            forward_ingress=walks.forward_ingress,
            forward_egress=walks.forward_egress,
        )


def _interfaces(endpoint: HostEndpoint, host: Host) -> tuple[str, ...]:
    name = endpoint.spec.interface_name
    if name:
        return () if name.startswith(_WORKLOAD_PREFIX) else (name,)
    carried = ((FABRIC, host.addresses), (LOOPBACK, _LOOPBACK_ADDRESSES))
    return tuple(interface for interface, mine in carried if set(mine) & set(endpoint.spec.expected_ips))


class HostSettings(NamedTuple):
    """What Felix is told about one machine."""

    to_host: HostAction
    failsafes: Failsafes
    encapsulation: Encapsulation


class SettingsBook:
    """Reads FelixConfigurations, each machine's once until one of them changes."""

    def __init__(self) -> None:
        self._configurations: Map[Key, AnyResource] | None = None
        self._known: dict[str, HostSettings] = {}

    def of(self, state: State, machine: str) -> HostSettings:
        """The settings of a machine: its own, field by field, over everybody's."""
        configurations = resources(state, "FelixConfiguration")
        if configurations is not self._configurations:
            self._configurations, self._known = configurations, {}
        if not configurations:
            return _UNTOLD
        known = self._known.get(machine)
        if known is None:
            known = self._known[machine] = _settings(state, machine)
        return known


_UNTOLD = HostSettings("drop", _DEFAULTS, Encapsulation())


def _settings(state: State, machine: str) -> HostSettings:
    action, inbound, outbound = None, None, None
    ipip, vxlan, port = None, None, None
    for name in (f"node.{machine}", "default"):
        found = state.get(FelixConfiguration, name)
        if found is not None:
            spec = found.spec
            action = spec.default_endpoint_to_host_action if action is None else action
            inbound = spec.failsafe_inbound_host_ports if inbound is None else inbound
            outbound = spec.failsafe_outbound_host_ports if outbound is None else outbound
            ipip = spec.allow_ipip_packets_from_workloads if ipip is None else ipip
            vxlan = spec.allow_vxlan_packets_from_workloads if vxlan is None else vxlan
            port = spec.vxlan_port if port is None else port
    drops = action is None or action.lower() in ("", "drop")
    return HostSettings(
        "drop" if drops else "accept",  # Return leaves it to the administrator's rules: there are none
        Failsafes(inbound=_failsafes(inbound, _DEFAULTS.inbound), outbound=_failsafes(outbound, _DEFAULTS.outbound)),
        Encapsulation(ipip=not ipip, vxlan_port=0 if vxlan else port or Encapsulation().vxlan_port),
    )


def _failsafes(ports: FailsafePorts, default: tuple[Failsafe, ...]) -> tuple[Failsafe, ...]:
    if ports is None:
        return default
    if isinstance(ports, str):
        return ()
    return tuple(
        Failsafe(
            protocol=protocol_number(entry.protocol), port=entry.port, net=net(entry.net).text if entry.net else ""
        )
        for entry in ports
    )


@lru_cache(maxsize=2)
def open_ports(*, encrypted: bool) -> tuple[int, ...]:
    """The UDP ports between nodes that no host endpoint closes (HEP-13)."""
    return _WIREGUARD if encrypted else _NONE

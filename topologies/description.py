"""What a fabric is, as data: subnets, the machines on them, and the router between them. No Linux here."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from itertools import islice

from reference.endpoints import Family, Host
from reference.errors import InvalidInputError

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Subnet:
    """One broadcast domain: a switch. The router holds the first address of each prefix."""

    name: str
    prefixes: tuple[str, ...]  # CIDRs, IPv4 first

    def interfaces(self, ordinal: int) -> tuple[str, ...]:
        """The addresses at a place in the subnet, with prefix length: `172.30.1.11/24` for 11.

        The ordinal is written in decimal digits in both families, so that node 11 is `::11`.
        """
        found = []
        for prefix in map(ip_network, self.prefixes):
            offset = ordinal if prefix.version == 4 else int(str(ordinal), 16)
            found.append(f"{prefix.network_address + offset}/{prefix.prefixlen}")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Place:
    """A machine on the fabric: a cluster node, or a host outside the cluster."""

    name: str
    subnet: str
    interfaces: tuple[str, ...]  # addresses with prefix length, IPv4 first
    is_node: bool

    @property
    def addresses(self) -> tuple[str, ...]:
        """Bare addresses, IPv4 first."""
        return tuple(str(ip_interface(interface).ip) for interface in self.interfaces)


@dataclass(frozen=True, slots=True)
class Router:
    """The router every subnet hangs on: its own addresses, by subnet."""

    name: str
    interfaces: dict[str, tuple[str, ...]]

    def gateways(self, subnet: str) -> tuple[str, ...]:
        """The bare addresses the machines of a subnet use as gateway, IPv4 first."""
        return tuple(str(ip_interface(interface).ip) for interface in self.interfaces[subnet])


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole fabric."""

    name: str
    subnets: tuple[Subnet, ...]
    places: tuple[Place, ...]  # nodes first
    router: Router

    @property
    def nodes(self) -> tuple[Place, ...]:
        """The cluster's nodes, in order."""
        return tuple(place for place in self.places if place.is_node)

    def place(self, name: str) -> Place:
        """A machine by name.

        Raises:
            InvalidInputError: there is none of that name.
        """
        for place in self.places:
            if place.name == name:
                return place
        known = ", ".join(place.name for place in self.places)
        raise InvalidInputError(f"there is no node or host {name!r} on the fabric; there are {known}")

    def address(self, name: str, family: Family) -> str | None:
        """A machine's address of one family, or None."""
        return next((one for one in self.place(name).addresses if ip_address(one).version == family), None)


def hosts(topology: Topology) -> tuple[Host, ...]:
    """Nodes and outside hosts as the reference knows them."""
    return tuple(
        Host(name=place.name, addresses=place.addresses, subnet=place.subnet, is_node=place.is_node)
        for place in topology.places
    )


def build(name: str, node_subnets: tuple[Subnet, ...], nodes: int) -> Topology:
    """A fabric whose nodes take turns on the given subnets, with the two outside hosts every topology has.

    Raises:
        InvalidInputError: fewer than one node, or more than the subnets hold.
    """
    most = 200 * len(node_subnets)
    if not 1 <= nodes <= most:
        raise InvalidInputError(f"topology {name!r} holds 1 to {most} nodes, not {nodes}")
    places = []
    for number in range(nodes):
        subnet = node_subnets[number % len(node_subnets)]
        ordinal = _FIRST_NODE + number // len(node_subnets)
        places.append(Place(f"node-{number + 1}", subnet.name, subnet.interfaces(ordinal), is_node=True))
    for subnet in _OUTSIDE:
        places.append(Place(subnet.name, subnet.name, subnet.interfaces(_OUTSIDE_HOST), is_node=False))
    subnets = (*islice(node_subnets, nodes), *_OUTSIDE)
    router = Router("router", {subnet.name: subnet.interfaces(1) for subnet in subnets})
    return Topology(name, subnets, tuple(places), router)


_FIRST_NODE = 11
_OUTSIDE_HOST = 10
# Documentation prefixes (RFC 5737, RFC 3849): no manifest of a real cluster claims them.
_OUTSIDE = (
    Subnet("internet", ("203.0.113.0/24", "2001:db8:113::/64")),
    Subnet("office", ("198.51.100.0/24", "2001:db8:51::/64")),
)

"""A list of changes to a network namespace, packed for the kernel. Pure: nothing is sent here.

Each change keeps a sentence that says what it is, in the words of `ip`; an error of the kernel is told with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from emulator.netlink import messages as m
from emulator.netlink.messages import Address, Network, RouteKind


class Change(NamedTuple):
    """One packed message, without its sequence number. `tolerated` holds error numbers that are as good as success."""

    kind: int
    flags: int
    body: bytes
    text: Callable[[], str]
    tolerated: frozenset[int]


class Batch:
    """Collects changes, in order. Methods are named after what `ip` calls them and never touch the kernel."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def __len__(self) -> int:
        return len(self.changes)

    def _add(
        self, kind: int, flags: int, body: bytes, text: Callable[[], str], tolerated: frozenset[int] = frozenset()
    ) -> None:
        self.changes.append(Change(kind, flags | m.NLM_F_REQUEST, body, text, tolerated))

    def add(self, kind: int, flags: int, body: bytes, text: str, tolerated: frozenset[int] = frozenset()) -> None:
        """A change of a kind that has no method here."""
        self._add(kind, flags, body, lambda: text, tolerated)

    # -- links -----------------------------------------------------------------------------------------------------

    def veth_add(
        self,
        name: str,
        index: int,
        mac: str,
        peer_name: str,
        peer_index: int,
        peer_mac: str,
        peer_namespace: int,
        *,
        mtu: int = 1500,
    ) -> None:
        """A veth pair, both ends down; the peer is born in the namespace behind the descriptor `peer_namespace`.

        Both indices are the caller's choice, so that no answer is needed before the next change names them.
        """
        peer = (
            m.link(peer_index)
            + m.text(m.IFLA_IFNAME, peer_name)
            + m.attribute(m.IFLA_ADDRESS, m.mac(peer_mac))
            + m.number(m.IFLA_MTU, mtu)
            + m.number(m.IFLA_NET_NS_FD, peer_namespace)
        )
        info = m.attribute(m.IFLA_INFO_KIND, b"veth") + m.attribute(
            m.IFLA_INFO_DATA, m.attribute(m.VETH_INFO_PEER, peer)
        )
        body = (
            m.link(index)
            + m.text(m.IFLA_IFNAME, name)
            + m.attribute(m.IFLA_ADDRESS, m.mac(mac))
            + m.number(m.IFLA_MTU, mtu)
            + m.attribute(m.IFLA_LINKINFO, info)
        )
        create = m.NLM_F_CREATE | m.NLM_F_EXCL
        self._add(m.RTM_NEWLINK, create, body, lambda: f"link add {name} type veth peer {peer_name}")

    def link_add(self, name: str, kind: str, index: int) -> None:
        """A link of some kind that needs no further words: `bridge`, `wireguard`, `dummy`. It is down."""
        body = m.link(index) + m.text(m.IFLA_IFNAME, name)
        body += m.attribute(m.IFLA_LINKINFO, m.attribute(m.IFLA_INFO_KIND, kind.encode()))
        self._add(m.RTM_NEWLINK, m.NLM_F_CREATE | m.NLM_F_EXCL, body, lambda: f"link add {name} type {kind}")

    def link_up(self, index: int) -> None:
        """Set a link up."""
        self._add(m.RTM_NEWLINK, 0, m.link(index, up=True), lambda: f"link set {index} up")

    def link_down(self, index: int) -> None:
        """Set a link down."""
        self._add(m.RTM_NEWLINK, 0, m.link(index, up=False), lambda: f"link set {index} down")

    def clsact_add(self, index: int, *, tolerated: frozenset[int] = frozenset()) -> None:
        """A place for programs at what a link receives and sends. A link that is up is stopped for a moment by it."""
        body = m.TRAFFIC.pack(0, index, m.TC_H_OF_CLSACT, m.TC_H_CLSACT, 0) + m.text(m.TCA_KIND, "clsact")
        self._add(
            m.RTM_NEWQDISC, m.NLM_F_CREATE | m.NLM_F_EXCL, body, lambda: f"qdisc add dev {index} clsact", tolerated
        )

    def link_group(self, index: int, group: int, *, tolerated: frozenset[int] = frozenset()) -> None:
        """Put a link into a group; links of a group can be deleted at once."""
        body = m.link(index) + m.number(m.IFLA_GROUP, group)
        self._add(m.RTM_NEWLINK, 0, body, lambda: f"link set {index} group {group}", tolerated)

    def link_delete(self, index: int, *, tolerated: frozenset[int] = frozenset()) -> None:
        """Delete a link, and its peer with it."""
        self._add(m.RTM_DELLINK, 0, m.link(index), lambda: f"link delete {index}", tolerated)

    def group_delete(self, group: int, *, tolerated: frozenset[int] = frozenset()) -> None:
        """Delete every link of a group in one go: the kernel waits for its readers once, not once per link."""
        body = m.link() + m.number(m.IFLA_GROUP, group)
        self._add(m.RTM_DELLINK, 0, body, lambda: f"link delete group {group}", tolerated)

    # -- addresses and neighbours ----------------------------------------------------------------------------------

    def address_add(self, index: int, address: Address, prefix: int) -> None:
        """An address on a link, IPv6 ones without duplicate address detection."""
        flags = m.IFA_F_NODAD if address.version == 6 else 0
        body = m.ADDRESS.pack(m.af(address), prefix, flags, 0, index)
        body += m.attribute(m.IFA_LOCAL, address.packed) + m.attribute(m.IFA_ADDRESS, address.packed)
        self._add(
            m.RTM_NEWADDR, m.NLM_F_CREATE | m.NLM_F_EXCL, body, lambda: f"addr add {address}/{prefix} dev {index}"
        )

    def neighbour_add(self, index: int, address: Address, mac: str) -> None:
        """A permanent neighbour: never asked for, never forgotten, never counted against the kernel's table limits."""
        body = m.NEIGHBOUR.pack(m.af(address), index, m.NUD_PERMANENT, 0, 0)
        body += m.attribute(m.NDA_DST, address.packed) + m.attribute(m.NDA_LLADDR, m.mac(mac))
        create = m.NLM_F_CREATE | m.NLM_F_REPLACE
        self._add(m.RTM_NEWNEIGH, create, body, lambda: f"neigh replace {address} lladdr {mac} dev {index} permanent")

    def proxy_arp_at_once(self, index: int) -> None:
        """Answer proxied ARP on a link without the customary random delay (WL-2)."""
        parameters = m.number(m.NDTPA_IFINDEX, index) + m.attribute(m.NDTPA_PROXY_DELAY, bytes(8))
        body = m.TABLE.pack(m.AF_INET) + m.text(m.NDTA_NAME, "arp_cache")
        body += m.attribute(m.NDTA_PARMS, parameters)
        self._add(m.RTM_SETNEIGHTBL, 0, body, lambda: f"ntable change name arp_cache dev {index} proxy_delay 0")

    # -- routes and rules ------------------------------------------------------------------------------------------

    def route_add(
        self,
        destination: Network,
        *,
        kind: RouteKind = "unicast",
        via: Address | None = None,
        index: int = 0,
        onlink: bool = False,
        table: int = m.RT_TABLE_MAIN,
        protocol: int = 3,
        replace: bool = False,
    ) -> None:
        """A route. `link` and `local` have a device and no gateway; `blackhole` and `throw` have neither."""
        body = _route(destination, kind, via, index, onlink, table, protocol)
        flags = m.NLM_F_CREATE | (m.NLM_F_REPLACE if replace else m.NLM_F_EXCL)
        self._add(m.RTM_NEWROUTE, flags, body, lambda: f"route add {_words(destination, kind, via, index, table)}")

    def route_delete(
        self,
        destination: Network,
        *,
        kind: RouteKind = "unicast",
        via: Address | None = None,
        index: int = 0,
        table: int = m.RT_TABLE_MAIN,
        protocol: int = 3,
        tolerated: frozenset[int] = frozenset(),
    ) -> None:
        """Delete the route that looks like this."""
        body = _route(destination, kind, via, index, False, table, protocol)
        self._add(
            m.RTM_DELROUTE, 0, body, lambda: f"route del {_words(destination, kind, via, index, table)}", tolerated
        )

    def rule_add(self, family: int, priority: int, table: int, *, mark: int, mask: int, invert: bool = False) -> None:
        """A policy routing rule on the packet mark (WG-4). `family` is 4 or 6."""
        flags = m.NLM_F_CREATE | m.NLM_F_EXCL
        body = _rule(family, priority, table, mark, mask, invert)
        self._add(m.RTM_NEWRULE, flags, body, lambda: f"rule add pref {priority} lookup {table}")

    def rule_delete(
        self, family: int, priority: int, table: int, *, mark: int, mask: int, invert: bool = False
    ) -> None:
        """Delete the rule that looks like this."""
        body = _rule(family, priority, table, mark, mask, invert)
        self._add(m.RTM_DELRULE, 0, body, lambda: f"rule del pref {priority} lookup {table}")


def _route(
    destination: Network, kind: RouteKind, via: Address | None, index: int, onlink: bool, table: int, protocol: int
) -> bytes:
    scope = m.RT_SCOPE_LINK if kind == "link" and destination.version == 4 else m.RT_SCOPE_UNIVERSE
    short_table = table if table < 256 else 0
    flags = m.RTNH_F_ONLINK if onlink else 0
    body = m.ROUTE.pack(
        m.af(destination), destination.prefixlen, 0, 0, short_table, protocol, scope, m.ROUTE_TYPES[kind], flags
    )
    if destination.prefixlen:
        body += m.attribute(m.RTA_DST, destination.network_address.packed)
    if via is not None:
        body += m.attribute(m.RTA_GATEWAY, via.packed)
    if index:
        body += m.number(m.RTA_OIF, index)
    if table >= 256:
        body += m.number(m.RTA_TABLE, table)
    return body


def _rule(family: int, priority: int, table: int, mark: int, mask: int, invert: bool) -> bytes:
    number = m.AF_INET if family == 4 else m.AF_INET6
    short_table = table if table < 256 else 0
    flags = m.FIB_RULE_INVERT if invert else 0
    body = m.RULE.pack(number, 0, 0, 0, short_table, 0, 0, m.FR_ACT_TO_TBL, flags)
    body += m.number(m.FRA_PRIORITY, priority) + m.number(m.FRA_TABLE, table)
    return body + m.number(m.FRA_FWMARK, mark) + m.number(m.FRA_FWMASK, mask)


def _words(destination: Network, kind: RouteKind, via: Address | None, index: int, table: int) -> str:
    words = [str(destination)] if kind in ("unicast", "link") else [kind, str(destination)]
    if via is not None:
        words += ["via", str(via)]
    if index:
        words += ["dev", str(index)]
    if table != m.RT_TABLE_MAIN:
        words += ["table", str(table)]
    return " ".join(words)

"""The routing that leads pod traffic into a WireGuard device: its table, and the rules before it (WG-4, WG-5).

Written by netlink in the calling thread's network namespace, by difference with what is there.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from errno import ENOENT, ESRCH

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from encryption.peers import FWMARK, LOCAL_RULE_PRIORITY, RULE_PRIORITY, DeviceSpec, TableRoute
from reference.endpoints import Family

MAIN = 254
_INVERT = 2  # FIB_RULE_INVERT: the rule is for packets that do not match
_UNICAST, _THROW = 1, 9  # RTN_UNICAST, RTN_THROW
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


def _rules(spec: DeviceSpec) -> dict[int, dict[str, object]]:
    return {
        LOCAL_RULE_PRIORITY: {"iifname": "lo", "table": MAIN},
        RULE_PRIORITY: {"fwmark": FWMARK, "fwmask": FWMARK, "flags": _INVERT, "table": spec.table},
    }


def _installed(netlink: IPRoute, family: Family) -> set[int]:
    rules = netlink.get_rules(family=_FAMILY[family])
    return {rule.get("FRA_PRIORITY") or 0 for rule in rules} & {RULE_PRIORITY, LOCAL_RULE_PRIORITY}


def add_rules(netlink: IPRoute, spec: DeviceSpec) -> int:
    """Send packets from others to the device's table; the node's own, and the device's, stay in main."""
    missing = sorted(_rules(spec).keys() - _installed(netlink, spec.family))
    for priority in missing:
        netlink.rule("add", family=_FAMILY[spec.family], priority=priority, **_rules(spec)[priority])
    return len(missing)


def remove_rules(netlink: IPRoute, spec: DeviceSpec) -> int:
    """Send all packets to main again."""
    present = sorted(_installed(netlink, spec.family), reverse=True)
    for priority in present:
        netlink.rule("del", family=_FAMILY[spec.family], priority=priority, **_rules(spec)[priority])
    return len(present)


def table(netlink: IPRoute, spec: DeviceSpec, index: int) -> set[TableRoute]:
    """What is in a device's table; a route by another device counts as none."""
    found = set()
    for route in netlink.get_routes(family=_FAMILY[spec.family], table=spec.table):
        default = "0.0.0.0" if spec.family == 4 else "::"  # noqa: S104 - a route's destination, not a socket's
        cidr = f"{route.get('RTA_DST') or default}/{route['dst_len']}"
        if route["type"] == _THROW:
            found.add(TableRoute(cidr, "throw"))
        elif route["type"] == _UNICAST and route.get("RTA_OIF") == index:
            found.add(TableRoute(cidr, "device"))
    return found


def set_table(netlink: IPRoute, spec: DeviceSpec, index: int, wanted: Iterable[TableRoute]) -> int:
    """Make a device's table be `wanted`; returns how many routes were written or removed.

    A route that changes its kind is replaced in one step, so that no packet finds neither.
    """
    now, wanted = table(netlink, spec, index), set(wanted)
    kept = {route.cidr for route in wanted}
    for route in sorted(wanted - now, key=lambda r: r.cidr):
        if route.kind == "throw":
            _write(netlink, spec, route, type="throw")
        else:
            _write(netlink, spec, route, oif=index, scope="link")
    gone = [route for route in now if route.cidr not in kept]
    for route in gone:
        _delete(netlink, spec, route)
    return len(wanted - now) + len(gone)


def _write(netlink: IPRoute, spec: DeviceSpec, route: TableRoute, **how: object) -> None:
    family = _FAMILY[spec.family]
    netlink.route("replace", family=family, dst=route.cidr, table=spec.table, proto="static", **how)


def _delete(netlink: IPRoute, spec: DeviceSpec, route: TableRoute) -> None:
    try:
        kind = {"type": "throw"} if route.kind == "throw" else {}
        netlink.route("del", family=_FAMILY[spec.family], dst=route.cidr, table=spec.table, **kind)
    except NetlinkError as error:
        if error.code not in {ESRCH, ENOENT}:  # went away with its device
            raise


def fabric_mtu(netlink: IPRoute, address: str) -> int:
    """The MTU of the link that has an address; 1500 if none has."""
    family = _FAMILY[6 if ":" in address else 4]
    for found in netlink.get_addr(family=family):
        if found.get("IFA_ADDRESS") == address or found.get("IFA_LOCAL") == address:
            (link,) = netlink.get_links(found["index"])
            return int(link.get("IFLA_MTU"))
    return 1500

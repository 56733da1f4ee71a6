"""The routes of one node, made to be what the reference says (RT-1 to RT-5), sending only what differs.

Ours carry protocol 80, so that a route somebody else made is never touched, and so that what an agent that died has
programmed is found again: the kernel's own table is the memory that survives.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from emulator import sysctl
from emulator.netlink import Batch, RouteKind, RouteSocket
from emulator.netlink.messages import RT_TABLE_MAIN, Address, Network
from reference.errors import EnvironmentLacksError
from reference.routes import Route

PROTOCOL = 80  # what the field uses for routes of the policy agent
_GONE = frozenset({errno.ESRCH, errno.ENODEV})  # a route leaves the kernel with its interface
_KINDS: dict[str, RouteKind] = {"via": "unicast", "link": "link", "blackhole": "blackhole", "throw": "throw"}


class Programmed(NamedTuple):
    """A route in the kernel's own terms. Interfaces by index: one made anew under an old name is another one."""

    destination: Network
    kind: RouteKind
    via: Address | None
    device: int  # 0 for `via` routes, whose device follows from the gateway


class RouteTable:
    """The protocol-80 routes of the network namespace the calling thread lives in, in one table."""

    def __init__(self, table: int = RT_TABLE_MAIN) -> None:
        """Nothing is read or written before the first `apply`."""
        self.table = table
        self._held: dict[Route, Programmed] | None = None  # None: only the kernel knows
        self._next_hops: dict[str, Address] = {}
        self._kernel: RouteSocket | None = None

    def apply(self, wanted: Iterable[Route]) -> int:
        """Make the table hold these routes and no other of ours; the number of changes sent.

        Raises:
            EnvironmentLacksError: the kernel refused a route, or an interface is missing. What was programmed is read
                anew at the next call.
        """
        kernel = self._open()
        routes = {route for route in wanted if ":" not in route.destination or sysctl.has_ipv6()}
        devices = _devices() if any(route.kind == "link" for route in routes) else {}
        if self._held is None:
            kept: dict[Route, Programmed] = {}
            gone = self._read(kernel)
        else:
            kept = {
                route: held for route, held in self._held.items() if route in routes and _is_there(route, held, devices)
            }
            gone = {held for route, held in self._held.items() if route not in kept}
        fresh = {route: self._in_kernel_terms(kernel, route, devices) for route in routes - kept.keys()}
        batch = self._difference(gone, set(fresh.values()))
        if len(batch):
            self._held = None
            kernel.send(batch)
        self._held = kept | fresh
        return len(batch)

    def forget(self) -> None:
        """Read the kernel's table at the next `apply`, as after a link went down: it may have dropped routes."""
        self._held = None
        self._next_hops.clear()

    def clean(self) -> None:
        """Remove every route of ours and close the socket."""
        self.forget()
        self.apply(())
        self._open().close()
        self._kernel = None

    def _open(self) -> RouteSocket:
        if self._kernel is None:
            self._kernel = RouteSocket()
        return self._kernel

    def _read(self, kernel: RouteSocket) -> set[Programmed]:
        return {
            Programmed(route.destination, route.kind, route.via, route.device if route.kind == "link" else 0)
            for route in kernel.routes(PROTOCOL, self.table)
        }

    def _in_kernel_terms(self, kernel: RouteSocket, route: Route, devices: Mapping[str, int]) -> Programmed:
        device = 0
        if route.kind == "link":
            if route.interface not in devices:
                raise EnvironmentLacksError(
                    f"route {route.destination} dev {route.interface}: there is no such interface on the node"
                )
            device = devices[route.interface]
        via = self._next_hop(kernel, route.via) if route.kind == "via" else None
        return Programmed(ip_network(route.destination), _KINDS[route.kind], via, device)

    def _next_hop(self, kernel: RouteSocket, gateway: str) -> Address:
        """Where packets for a node go first: the node itself on the same subnet, else the router on the way to it.

        The kernel takes only gateways it can reach directly; a routing daemon resolves the others in the same way.
        """
        if gateway not in self._next_hops:
            address = ip_address(gateway)
            self._next_hops[gateway] = kernel.next_hop(address) or address
        return self._next_hops[gateway]

    def _difference(self, gone: set[Programmed], fresh: set[Programmed]) -> Batch:
        """Changes from one to the other. New IPv4 routes replace in place, so a moved destination is never missing."""
        batch = Batch()
        replaced = {route.destination for route in fresh if route.destination.version == 4}
        for route in sorted(gone - fresh, key=str):
            if route.destination not in replaced:
                batch.route_delete(
                    route.destination,
                    kind=route.kind,
                    via=route.via,
                    index=route.device,
                    table=self.table,
                    protocol=PROTOCOL,
                    tolerated=_GONE,
                )
        for route in sorted(fresh - gone, key=str):
            batch.route_add(
                route.destination,
                kind=route.kind,
                via=route.via,
                index=route.device,
                table=self.table,
                protocol=PROTOCOL,
                replace=True,
            )
        return batch


def _devices() -> dict[str, int]:
    return {name: index for index, name in socket.if_nameindex()}


def _is_there(route: Route, held: Programmed, devices: Mapping[str, int]) -> bool:
    return route.kind != "link" or devices.get(route.interface) == held.device

"""The routes of one node, made to be what the reference says (RT-1 to RT-5), sending only what differs.

Ours carry protocol 80, so that a route somebody else made is never touched, and so that what an agent that died has
programmed is found again: the kernel's own table is the memory that survives.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import NamedTuple, Protocol

from emulator import sysctl
from emulator.netlink import Batch, NetlinkError, RouteKind, RouteSocket
from emulator.netlink.messages import RT_TABLE_MAIN, Address, Network

PROTOCOL = 80  # what the field uses for routes of the policy agent
_GONE = frozenset({errno.ESRCH, errno.ENODEV})  # a route leaves the kernel with its interface
_KINDS: dict[str, RouteKind] = {"via": "unicast", "link": "link", "blackhole": "blackhole", "throw": "throw"}


class WantedRoute(Protocol):
    """A route as the reference describes it; `reference.routes.Route` is one."""

    @property
    def destination(self) -> str:
        """A CIDR."""

    @property
    def kind(self) -> str:
        """`via`, `link`, `blackhole` or `throw`."""

    @property
    def via(self) -> str | None:
        """The gateway's address, for `via`."""

    @property
    def interface(self) -> str | None:
        """The interface's name, for `link`; otherwise the kernel's to find."""


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
        self._programmed: set[Programmed] | None = None
        self._kernel: RouteSocket | None = None

    def apply(self, wanted: Iterable[WantedRoute]) -> int:
        """Make the table hold these routes and no other of ours; the number of changes sent.

        Raises:
            NetlinkError: the kernel refused a route. What was programmed is read anew at the next call.
            KeyError: a link route names an interface that does not exist here.
        """
        kernel = self._open()
        held = self._read(kernel) if self._programmed is None else self._programmed
        target = _in_kernel_terms(wanted)
        batch = self._difference(held, target)
        if len(batch):
            self._programmed = None
            kernel.send(batch)
        self._programmed = target
        return len(batch)

    def forget(self) -> None:
        """Read the kernel's table at the next `apply`, as after a link went down: it may have dropped routes."""
        self._programmed = None

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

    def _difference(self, held: set[Programmed], target: set[Programmed]) -> Batch:
        """Changes from one to the other. New IPv4 routes replace in place, so a moved destination is never missing."""
        batch = Batch()
        replaced = {route.destination for route in target - held if route.destination.version == 4}
        for route in sorted(held - target, key=str):
            if route.destination not in replaced:
                self._delete(batch, route)
        for route in sorted(target - held, key=str):
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

    def _delete(self, batch: Batch, route: Programmed) -> None:
        batch.route_delete(
            route.destination,
            kind=route.kind,
            via=route.via,
            index=route.device,
            table=self.table,
            protocol=PROTOCOL,
            tolerated=_GONE,
        )


def _in_kernel_terms(wanted: Iterable[WantedRoute]) -> set[Programmed]:
    indices: dict[str, int] | None = None
    target = set()
    for route in wanted:
        destination = ip_network(route.destination)
        if destination.version == 6 and not sysctl.has_ipv6():
            continue
        kind = _KINDS[route.kind]
        device = 0
        if kind == "link":
            if indices is None:
                indices = {name: index for index, name in socket.if_nameindex()}
            device = indices[route.interface or ""]
        via = ip_address(route.via) if kind == "unicast" and route.via else None
        target.add(Programmed(destination, kind, via, device))
    return target


__all__ = ["PROTOCOL", "NetlinkError", "RouteTable", "WantedRoute"]

"""rtnetlink, hand-packed: many changes to links, addresses, routes and neighbours in one system call.

General netlink libraries spend a millisecond on a message; bringing up a pod takes a dozen. `Batch` packs,
`RouteSocket` sends and turns the kernel's answers into errors that name the operation.
"""

from emulator.netlink.batch import Batch
from emulator.netlink.messages import RouteKind
from emulator.netlink.socket import NetlinkError, RouteSocket

__all__ = ["Batch", "NetlinkError", "RouteKind", "RouteSocket"]

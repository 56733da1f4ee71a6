"""ipset's part of netlink: members that come and go one by one, and whether anybody changed any set.

The ipset program makes and fills sets. A single member, though, is there in a tenth of a millisecond by a socket that
stays open; the program needs some, and at its end waits for whatever nf_tables is letting go of.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable
from ipaddress import ip_address
from threading import Lock

from emulator.dataplane.iptables.restorer import CommandError
from emulator.nfnetlink import (
    AF_INET,
    Message,
    NetfilterSocket,
    NetlinkError,
    attribute,
    attributes,
    nested,
    string,
    text,
    u32,
)

SUBSYS_IPSET = 6
_LIST, _ADD, _DELETE, _INDEX_OF = 7, 9, 10, 14
_VERBS = {"add": _ADD, "del": _DELETE}
_PROTOCOL = attribute(1, bytes([6]))
_NETWORK_ORDER = 0x4000
_FLAGS, _NAMES_ONLY = 6 | _NETWORK_ORDER, 2
_STRICT = 0x200  # adding what is there, or deleting what is not, is an error (NLM_F_EXCL)
_KNOWN_ERRORS = {4103: "it is there already, or it is not there"}


class IpSets:
    """The sets of the network namespace of the thread that makes it; any thread may ask."""

    def __init__(self) -> None:
        """Open the socket."""
        self._socket = NetfilterSocket()
        self._one_at_a_time = Lock()

    def change(self, lines: Iterable[str]) -> None:
        """Add and delete members: "add NAME MEMBER" and "del NAME MEMBER", as `ipset restore` reads them.

        Raises:
            CommandError: the kernel refused one; those before it are in force.
        """
        for line in lines:
            verb, name, member = line.split(" ")
            body = _PROTOCOL + text(2, name) + nested(7, _data(member)) + u32(9 | _NETWORK_ORDER, 0)
            try:
                with self._one_at_a_time:
                    self._socket.request(Message(SUBSYS_IPSET << 8 | _VERBS[verb], body, _STRICT, family=AF_INET))
            except NetlinkError as error:
                words = _KNOWN_ERRORS.get(error.code, os.strerror(error.code))
                raise CommandError(f"the kernel refused `{line}`: {words}") from error

    def state(self) -> bytes:
        """A digest of all sets with all members, equal as long as nobody changes one."""
        seen = hashlib.blake2b(digest_size=16)
        with self._one_at_a_time:
            for body in self._socket.dump(Message(SUBSYS_IPSET << 8 | _LIST, _PROTOCOL, family=AF_INET)):
                seen.update(body)
        return seen.digest()

    def index(self, name: str) -> int:
        """The kernel's own number of a set.

        Raises:
            NetlinkError: there is none of this name.
        """
        asked = Message(SUBSYS_IPSET << 8 | _INDEX_OF, attribute(1, bytes([7])) + text(2, name), family=AF_INET)
        with self._one_at_a_time:
            return int.from_bytes(attributes(self._socket.ask(asked))[11], "big")

    def names(self) -> list[str]:
        """The names of all sets, without their members."""
        asked = Message(
            SUBSYS_IPSET << 8 | _LIST, _PROTOCOL + u32(_FLAGS | _NETWORK_ORDER, _NAMES_ONLY), family=AF_INET
        )
        with self._one_at_a_time:
            return [string(attributes(body)[2]) for body in self._socket.dump(asked)]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _data(member: str) -> bytes:
    """A member: "10.0.0.0/24", "10.0.0.7,6:80" or "10.0.0.7,cali0123"."""
    net, comma, rest = member.partition(",")
    bare, slash, length = net.partition("/")
    address = ip_address(bare)
    data = nested(1, attribute((1 if address.version == 4 else 2) | _NETWORK_ORDER, address.packed))
    if slash:
        data += attribute(3, bytes([int(length)]))
    if comma and ":" in rest:
        protocol, _, port = rest.partition(":")
        data += attribute(4 | _NETWORK_ORDER, struct.pack("!H", int(port))) + attribute(7, bytes([int(protocol)]))
    elif comma:
        data += text(23, rest)
    return data

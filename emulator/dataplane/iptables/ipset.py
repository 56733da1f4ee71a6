"""ipset's part of netlink: sets that come, change and go, and whether anybody changed any.

The ipset program would do the same, as `ipset restore`. But what takes it five milliseconds, most of them for its
beginning and its end, is there in a tenth of one by a socket that stays open.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import struct
from collections.abc import Iterable
from threading import Lock

from emulator.dataplane.iptables.restorer import CommandError
from emulator.nfnetlink import (
    AF_INET,
    AF_INET6,
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
_LIST, _INDEX_OF = 7, 14
_VERBS = {"create": 2, "destroy": 3, "swap": 6, "add": 9, "del": 10}
_REVISIONS = {"hash:net": 6, "hash:ip,port": 5, "hash:net,iface": 6}  # of 2014: kernels and programs since know them
_SIZES = {"hashsize": 18, "maxelem": 19}
_PROTOCOL = attribute(1, bytes([6]))
_NETWORK_ORDER = 0x4000
_NO_LINE = u32(9 | _NETWORK_ORDER, 0)
_FLAGS, _NAMES_ONLY = 6 | _NETWORK_ORDER, 2
_STRICT = 0x200  # adding what is there, or deleting what is not, is an error (NLM_F_EXCL)
_KNOWN_ERRORS = {
    errno.ENOENT: "there is no such set",
    errno.EEXIST: "there is such a set already",
    4098: "the kernel has no such type of set",
    4100: "rules read it",
    4103: "it is there already, or it is not there",
}


class IpSets:
    """The sets of the network namespace of the thread that makes it; any thread may ask."""

    def __init__(self) -> None:
        """Open the socket."""
        self._socket = NetfilterSocket()
        self._one_at_a_time = Lock()

    def run(self, lines: Iterable[str]) -> None:
        """Do what lines say, as `ipset restore` reads them: create, add, del, swap and destroy.

        Raises:
            CommandError: the kernel refused one; the others, also those after it, are in force.
        """
        given = list(lines)
        with self._one_at_a_time:
            try:
                self._socket.request_all([self._message(line) for line in given])
            except NetlinkError as error:
                words = _KNOWN_ERRORS.get(error.code, os.strerror(error.code))
                raise CommandError(f"the kernel refused `{given[error.index]}`: {words}") from error

    def _message(self, line: str) -> Message:
        verb, name, *words = line.split(" ")
        body = _PROTOCOL + text(2, name)
        match verb:
            case "add" | "del":
                body += nested(7, _data(words[0])) + _NO_LINE
            case "create":
                body += _made_of(*words)
            case "swap":
                body += text(3, words[0])
        return Message(SUBSYS_IPSET << 8 | _VERBS[verb], body, _STRICT, family=AF_INET)

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


def _made_of(kind: str, _: str, family: str, *options: str) -> bytes:
    """The type of a set: "hash:net family inet hashsize 4096 maxelem 65536"."""
    pairs = zip(options[::2], options[1::2], strict=True)
    sizes = [u32(_SIZES[name] | _NETWORK_ORDER, int(size)) for name, size in pairs]
    protocol = AF_INET if family == "inet" else AF_INET6
    return text(3, kind) + attribute(4, bytes([_REVISIONS[kind]])) + attribute(5, bytes([protocol])) + nested(7, *sizes)


def _data(member: str) -> bytes:
    """A member: "10.0.0.0/24", "10.0.0.7,6:80" or "10.0.0.7,cali0123"."""
    net, comma, rest = member.partition(",")
    bare, slash, length = net.partition("/")
    if ":" in bare:
        data = nested(1, attribute(2 | _NETWORK_ORDER, socket.inet_pton(AF_INET6, bare)))
    else:
        data = nested(1, attribute(1 | _NETWORK_ORDER, socket.inet_pton(AF_INET, bare)))
    if slash:
        data += attribute(3, bytes([int(length)]))
    if comma and ":" in rest:
        protocol, _, port = rest.partition(":")
        data += attribute(4 | _NETWORK_ORDER, struct.pack("!H", int(port))) + attribute(7, bytes([int(protocol)]))
    elif comma:
        data += text(23, rest)
    return data

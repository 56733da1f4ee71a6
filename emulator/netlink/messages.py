"""The shapes of rtnetlink: headers, attributes and the numbers of linux/rtnetlink.h that we use. Pure packing."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
RouteKind = Literal["unicast", "link", "local", "blackhole", "throw"]

AF_INET = int(socket.AF_INET)
AF_INET6 = int(socket.AF_INET6)

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP = 0x300
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH = 28
RTM_NEWRULE, RTM_DELRULE = 32, 33
RTM_SETNEIGHTBL = 67
RTM_NEWQDISC = 36

IFF_UP = 1
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_GROUP, IFLA_NET_NS_FD = 1, 3, 4, 10, 18, 27, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFA_F_NODAD = 0x02
TCA_KIND = 1
TC_H_CLSACT, TC_H_OF_CLSACT = 0xFFFFFFF1, 0xFFFF0000
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_TABLE = 1, 4, 5, 6, 15
RTNH_F_ONLINK = 4
RT_TABLE_MAIN = 254
RT_TABLE_LOCAL = 255
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253
ROUTE_TYPES: dict[RouteKind, int] = {"unicast": 1, "link": 1, "local": 2, "blackhole": 6, "throw": 9}
NDA_DST, NDA_LLADDR = 1, 2
NUD_PERMANENT = 0x80
NDTA_NAME, NDTA_PARMS, NDTPA_IFINDEX, NDTPA_PROXY_DELAY = 1, 6, 1, 13
FRA_PRIORITY, FRA_FWMARK, FRA_TABLE, FRA_FWMASK = 6, 10, 15, 16
FR_ACT_TO_TBL = 1
FIB_RULE_INVERT = 0x02

HEADER = struct.Struct("=IHHII")
LINK = struct.Struct("=BxHiII")
ADDRESS = struct.Struct("=BBBBI")
ROUTE = struct.Struct("=BBBBBBBBI")
NEIGHBOUR = struct.Struct("=BxxxiHBB")
TABLE = struct.Struct("=Bxxx")
TRAFFIC = struct.Struct("=BxxxiIII")
RULE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(data), kind) + data + _PADDING[len(data) & 3]


def number(kind: int, value: int) -> bytes:
    """A 32-bit attribute."""
    return _ATTRIBUTE.pack(8, kind) + _U32.pack(value)


def text(kind: int, value: str) -> bytes:
    """A zero-terminated string attribute."""
    return attribute(kind, value.encode() + b"\0")


def mac(value: str) -> bytes:
    """`ee:ee:ee:ee:ee:ee` as six bytes."""
    return bytes.fromhex(value.replace(":", ""))


def af(address: Address | Network) -> int:
    """The address family's number."""
    return AF_INET if address.version == 4 else AF_INET6


def link(index: int = 0, *, up: bool | None = None) -> bytes:
    """An ifinfomsg; `up` None leaves the flag alone."""
    return LINK.pack(socket.AF_UNSPEC, 0, index, int(bool(up)), int(up is not None))


def attributes(data: bytes, start: int, end: int, kinds: frozenset[int] | None = None) -> Iterator[tuple[int, bytes]]:
    """The attributes between two offsets, nesting flags taken off; of these kinds only, where there are very many."""
    while start + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            return
        if kinds is None or kind & 0x3FFF in kinds:
            yield kind & 0x3FFF, data[start + 4 : start + length]
        start += (length + 3) & ~3


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """The messages of a datagram: type, flags, sequence, offset of the body, offset of the end."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, sequence, _port = HEADER.unpack_from(data, offset)
        if length < HEADER.size:
            return
        yield kind, flags, sequence, offset + HEADER.size, offset + length
        offset += (length + 3) & ~3

"""Addresses and CIDRs as manifests may spell them: stricter than Python, which takes netmasks and scopes too."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface

from reference.resources.faults import shown

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def parse_address(text: str) -> Address:
    """An IPv4 or IPv6 address.

    Raises:
        ValueError: it is none, or carries a scope or an embedded IPv4 address.
    """
    _refuse_scope(text)
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not an IP address") from None
    _refuse_mapped(address, text)
    return address


@lru_cache(maxsize=4096)
def parse_cidr(text: str, *, host_bits: bool = False, bare: bool = False) -> Network:
    """A CIDR; a bare address when `bare`; with bits set outside the mask when `host_bits`, which are dropped.

    Raises:
        ValueError: it is none of these; the message says what to write.
    """
    _, slash, prefix = text.partition("/")
    if not slash and not bare:
        _refuse_bare(text)
    if slash and not (prefix.isascii() and prefix.isdecimal()):
        raise ValueError(f"{shown(text)} is not a CIDR such as 10.0.0.0/8 or fd00::/64")
    _refuse_scope(text)
    try:
        interface = ip_interface(text)
    except ValueError:
        what = "a CIDR such as 10.0.0.0/8 or fd00::/64" if slash else "an IP address or a CIDR"
        raise ValueError(f"{shown(text)} is not {what}") from None
    _refuse_mapped(interface.ip, text)
    network = interface.network
    if interface.ip != network.network_address and not host_bits:
        raise ValueError(f"{text} has bits set outside its mask; write {network}")
    return network


def _refuse_bare(text: str) -> None:
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not a CIDR such as 10.0.0.0/8 or fd00::/64") from None
    raise ValueError(f"{text} is an address, not a CIDR; write {text}/{address.max_prefixlen}")


def _refuse_scope(text: str) -> None:
    if "%" in text:
        raise ValueError(f"{shown(text)} has a scope; write it without")


def _refuse_mapped(address: Address, text: str) -> None:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError(f"{shown(text)} is an IPv4 address inside an IPv6 one; write it as IPv4")


def canonical_net(text: str) -> str:
    """A CIDR with the bits outside its mask dropped (K8S-9); anything else as it is."""
    try:
        network = parse_cidr(text, host_bits=True)
    except ValueError:
        return text
    address = text.partition("/")[0]
    return text if ip_address(address) == network.network_address else str(network)

"""Names and ports as people write them."""

from __future__ import annotations

import pytest
import yaml

from reference.endpoints import Family
from reference.errors import InvalidInputError
from reference.loading import load_state
from reference.naming import addresses_of, name_of, packet_between, parse_port
from reference.state import State

CLUSTER = """
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [
  {type: InternalIP, address: 172.30.1.11}, {type: InternalIP, address: "fd00:30::11"}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: both}, status: {addresses: [{type: InternalIP, address: 172.30.1.12}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop},
 spec: {nodeName: n1, containers: [{name: c, image: i}]},
 status: {podIPs: [{ip: 10.244.0.1}, {ip: "fd00:10:244::1"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: solo}, spec: {nodeName: n1, containers: [{name: c, image: i}]},
 status: {podIP: 10.244.0.2}}
---
{apiVersion: v1, kind: Pod, metadata: {name: both}, spec: {nodeName: n1, containers: [{name: c, image: i}]},
 status: {podIP: 10.244.0.3}}
---
{apiVersion: v1, kind: Pod, metadata: {name: six}, spec: {nodeName: n1, containers: [{name: c, image: i}]},
 status: {podIP: "fd00:10:244::4"}}
"""


@pytest.fixture(scope="module")
def state() -> State:
    """Pods of one and of both families, and nodes."""
    return load_state(*yaml.safe_load_all(CLUSTER))


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("shop/web", ("10.244.0.1", "fd00:10:244::1")),
        ("solo", ("10.244.0.2",)),
        ("default/both", ("10.244.0.3",)),
        ("n1", ("172.30.1.11", "fd00:30::11")),
        ("node/both", ("172.30.1.12",)),
        ("9.9.9.9", ("9.9.9.9",)),
        ("FD00:0::9", ("fd00::9",)),
    ],
)
def test_addresses_of(state: State, name: str, addresses: tuple[str, ...]) -> None:
    """A name is a pod, a pod of default, a node or host, or an address."""
    assert addresses == addresses_of(state, name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("web", "no pod, node, host or address 'web'; did you mean shop/web?"),
        ("shop/wbe", "no pod, node, host or address 'shop/wbe'; did you mean shop/web?"),
        ("both", "'both' is both a pod and a host; write default/both, or node/both"),
        ("z", "no pod, node, host or address 'z'; there is default/both, default/six, default/solo, shop/web, both, n1"),  # noqa: E501
    ],
)  # fmt: skip
def test_unknown_name_says_what_exists(state: State, name: str, message: str) -> None:
    """A name nothing has, or two things have, is refused with what exists."""
    with pytest.raises(InvalidInputError) as caught:
        addresses_of(state, name)
    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.244.0.1", "shop/web"),
        ("fd00:10:244:0::1", "shop/web"),
        ("172.30.1.11", "node/n1"),
        ("9.9.9.9", "9.9.9.9"),
    ],
)
def test_name_of(state: State, address: str, name: str) -> None:
    """An address is named for what holds it."""
    assert name == name_of(state, address)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", (80, "TCP")),
        ("80/tcp", (80, "TCP")),
        ("53/UDP", (53, "UDP")),
        ("132/sctp", (132, "SCTP")),
        ("icmp", (0, "ICMP")),
        ("ICMPv6", (0, "ICMPv6")),
        (" 443/TCP ", (443, "TCP")),
    ],
)
def test_parse_port(text: str, expected: tuple[int, str]) -> None:
    """A port is a number, with a protocol if it is not TCP; ICMP has none."""
    assert expected == parse_port(text)


@pytest.mark.parametrize(
    "text", ["", "tcp", "0", "0/TCP", "65536", "80/ICMP", "80/", "x/TCP", "-1", "80/tpc", "80/TCP/1", "1.5"]
)
def test_impossible_port_is_refused(text: str) -> None:
    """What names no port is refused, in words."""
    with pytest.raises(InvalidInputError):
        parse_port(text)


@pytest.mark.parametrize(
    ("source", "destination", "protocol", "family", "text"),
    [
        ("shop/web", "solo", "tcp", None, "TCP 10.244.0.1:40000 -> 10.244.0.2:80"),
        ("shop/web", "n1", "TCP", 6, "TCP [fd00:10:244::1]:40000 -> [fd00:30::11]:80"),
        ("shop/web", "six", "UDP", None, "UDP [fd00:10:244::1]:40000 -> [fd00:10:244::4]:80"),
        ("shop/web", "solo", "ICMP", None, "ICMP 10.244.0.1 -> 10.244.0.2 type 8 code 0"),
        ("shop/web", "six", "ICMP", None, "ICMPv6 [fd00:10:244::1] -> [fd00:10:244::4] type 128 code 0"),
        ("shop/web", "n1", "ICMPv6", None, "ICMPv6 [fd00:10:244::1] -> [fd00:30::11] type 128 code 0"),
        ("shop/web", "solo", 47, None, "47 10.244.0.1 -> 10.244.0.2"),
    ],
)
def test_packet_between(
    state: State, source: str, destination: str, protocol: str | int, family: Family | None, text: str
) -> None:
    """IPv4 if both ends have it, else IPv6; ICMP is of the family's own kind."""
    assert text == str(packet_between(state, source, destination, protocol, 80, family))


@pytest.mark.parametrize(
    ("source", "destination", "protocol", "port", "family", "message"),
    [
        ("solo", "six", "TCP", 80, None, "no IPv4 or IPv6 between solo (10.244.0.2) and six (fd00:10:244::4)"),
        ("shop/web", "solo", "TCP", 80, 6, "no IPv6 between shop/web"),
        ("shop/web", "solo", "TCP", 70000, None, "port 70000 does not exist"),
        ("shop/web", "solo", "tpc", 80, None, "protocol 'tpc' is not known"),
    ],
)
def test_impossible_packet_is_refused(
    state: State, source: str, destination: str, protocol: str, port: int, family: Family | None, message: str
) -> None:
    """No common family, no such port, no such protocol: refused, in words."""
    with pytest.raises(InvalidInputError) as caught:
        packet_between(state, source, destination, protocol, port, family)
    assert message in str(caught.value)

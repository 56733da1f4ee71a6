"""rtnetlink: batches against a kernel, and the words of its refusals."""

import json
import subprocess
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.namespaces import create, entered
from emulator.netlink import Batch, NetlinkError, RouteSocket
from emulator.netlink import messages as m

V4, V6 = ip_network("10.1.0.0/26"), ip_network("fd00:1::/122")


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40))))
@settings(deadline=None)
def test_attributes_come_back(attributes):
    """Whatever attributes are packed, the same are read, in order."""
    packed = b"".join(m.attribute(kind, value) for kind, value in attributes)
    assert list(m.attributes(packed, 0, len(packed))) == attributes
    odd = frozenset(kind for kind, _ in attributes if kind % 2)
    assert list(m.attributes(packed, 0, len(packed), odd)) == [each for each in attributes if each[0] in odd]
    assert len(packed) % 4 == 0


def test_truncated_attributes_end_the_reading():
    """An attribute that claims less than its header ends the walk instead of looping."""
    assert list(m.attributes(b"\0\0\1\0" + b"\4\0\2\0", 0, 8)) == []
    assert list(m.attributes(b"\0\0\1\0" + b"\4\0\2\0", 0, 8, frozenset({1, 2}))) == []


def veth_pair():
    """A batch of everything, as `ip` sees its result."""
    pod = create("pod")
    batch = Batch()
    batch.veth_add("cali1", 1000, "ee:ee:ee:ee:ee:ee", "eth0", 100, "02:00:00:00:00:01", pod.fd, mtu=1400)
    batch.link_up(1000)
    batch.address_add(1000, ip_address("10.1.0.1"), 24)
    batch.address_add(1000, ip_address("fd00:1::1"), 64)
    batch.neighbour_add(1000, ip_address("10.1.0.9"), "02:00:00:00:00:09")
    batch.route_add(ip_network("10.2.0.0/16"), via=ip_address("10.1.0.9"), protocol=80)
    batch.route_add(ip_network("10.3.0.1/32"), kind="link", index=1000, table=1000, protocol=80)
    batch.route_add(ip_network("10.4.0.0/26"), kind="blackhole", protocol=80)
    batch.route_add(ip_network("fd00:4::/122"), kind="blackhole", protocol=80)
    batch.route_add(ip_network("10.5.0.0/26"), kind="throw", table=77, protocol=80)
    batch.route_add(ip_network("10.6.0.0/26"), via=ip_address("192.0.2.1"), index=1000, onlink=True, protocol=80)
    batch.rule_add(4, 99, 77, mark=0x100000, mask=0x100000, invert=True)
    with RouteSocket() as kernel:
        kernel.send(batch)
        main = {str(route.destination): (route.kind, str(route.via), route.device) for route in kernel.routes(80)}
        wide = [str(route.destination) for route in kernel.routes(80, 1000)]
        hops = [str(kernel.next_hop(ip_address(one))) for one in ("10.2.3.4", "10.1.0.7", "fd00:1::7", "192.0.2.77")]
        links = kernel.links()
    ip = ["ip", "-json", "-n", "pod", "link", "show", "eth0"]
    eth0 = json.loads(subprocess.run(ip, capture_output=True, text=True, check=True).stdout)[0]
    rules = subprocess.run(["ip", "rule"], capture_output=True, text=True, check=True).stdout
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    return [main, wide, hops, links, [eth0["ifindex"], eth0["address"], eth0["mtu"]], rules, routes]


@pytest.mark.live
def test_a_batch_does_what_ip_does(sandboxed):
    """Links, addresses, neighbours, routes of every kind and rules are there after one batch, and are read back."""
    main, wide, hops, links, eth0, rules, routes = sandboxed(veth_pair)
    assert main == {
        "10.2.0.0/16": ["unicast", "10.1.0.9", 1000],
        "10.4.0.0/26": ["blackhole", "None", 0],
        "10.6.0.0/26": ["unicast", "192.0.2.1", 1000],
        "fd00:4::/122": ["blackhole", "None", 0],
    }
    assert wide == ["10.3.0.1/32"]
    assert hops == ["10.1.0.9", "None", "None", "None"]
    assert links == {"lo": 1, "cali1": 1000}
    assert eth0 == [100, "02:00:00:00:00:01", 1400]
    assert "99:\tnot from all fwmark 0x100000/0x100000 lookup 77" in rules
    assert "10.6.0.0/26 via 192.0.2.1 dev cali1 proto 80 onlink" in routes


def refusals():
    """A refused change between two good ones; a tolerated one."""
    batch = Batch()
    batch.route_add(V4, kind="blackhole", protocol=80)
    batch.route_add(ip_network("10.9.0.0/24"), via=ip_address("192.0.2.1"))
    batch.route_add(V6, kind="blackhole", protocol=80)
    gone = Batch()
    gone.route_delete(ip_network("10.8.0.0/24"), kind="blackhole", tolerated=frozenset({3}))
    with RouteSocket() as kernel:
        try:
            kernel.send(batch)
        except NetlinkError as error:
            words, operation = str(error), error.operation
        kernel.send(gone)
        return [words, operation, sorted(str(route.destination) for route in kernel.routes(80))]


@pytest.mark.live
def test_a_refusal_names_the_operation_and_the_kernels_reason(sandboxed):
    """The error gives the change in the words of `ip` and the kernel's own message; the socket stays in step."""
    words, operation, routes = sandboxed(refusals)
    assert operation == "route add 10.9.0.0/24 via 192.0.2.1"
    assert operation in words
    assert "Nexthop has invalid gateway" in words
    assert routes == [str(V4), str(V6)]


def many():
    """Far more changes than one send takes, each with its own answer."""
    batch = Batch()
    for number in range(2000):
        batch.route_add(ip_network(f"10.{number >> 8}.{number & 255}.0/24"), kind="blackhole", protocol=80)
    with entered(create()), RouteSocket() as kernel:
        kernel.send(batch)
        return len(kernel.routes(80))


@pytest.mark.live
def test_large_batches_fit_an_ordinary_users_buffers(sandboxed):
    """Two thousand changes go through in portions, and all of them can be dumped again."""
    assert sandboxed(many) == 2000

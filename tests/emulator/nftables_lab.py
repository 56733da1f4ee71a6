"""A node with three pods and an outside host, made by hand, for live tests of dataplanes.

The sandbox's own network namespace is the node. Real sockets send; an outcome is "allowed", when the destination got
the packet, or the words of the rule that dropped it.
"""

import itertools
import select
import socket
import struct
import subprocess
import time

from immutables import Map

from emulator import sysctl
from emulator.dataplane import DATAPLANES
from emulator.namespaces import create, entered, here
from reference.program.types import (
    EndpointProgram,
    IPSet,
    Match,
    NodeProgram,
    PolicyProgram,
    PortRange,
    ProgramRule,
    TierStep,
    Walk,
)

MAC = "ee:ee:ee:ee:ee:ee"
PATIENCE = 3.0


def ip(*lines):
    """Run `ip` commands in the calling thread's network namespace."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True, capture_output=True)


def rule(action, index=0, **match):
    """A rule; ports may be given as numbers or (low, high)."""
    for key, value in match.items():
        if key.endswith("_ports"):
            match[key] = tuple(PortRange(*([p, p] if isinstance(p, int) else p)) for p in value)
    return ProgramRule(action=action, index=index, match=Match(**match))


def policy(name, ingress=(), egress=(), tier="default"):
    """A policy or profile."""
    return PolicyProgram(id=name, tier=tier, ingress=tuple(ingress), egress=tuple(egress))


ALLOW_ALL = policy("pro:kns.shop", [rule("allow")], [rule("allow")], tier="__PROFILE__")


def program(*, ingress=(), egress=(), policies=(), sets=(), pods=(1, 2), profiles=("pro:kns.shop",), **more):
    """A program in which every pod has the same walks; tiers are (name, default action, policy ids)."""
    walks = [
        Walk(
            id=f"{direction}-{'.'.join('-'.join((name, action, *ids)) for name, action, ids in tiers)}-{len(profiles)}",
            direction=direction,
            tiers=tuple(TierStep(tier=name, default_action=action, policies=tuple(ids)) for name, action, ids in tiers),
            profiles=tuple(profiles),
        )
        for direction, tiers in (("ingress", ingress), ("egress", egress))
    ]
    endpoints = [
        EndpointProgram(
            name=f"shop/p{n}",
            interface=f"cali{n}",
            addresses=(f"10.0.0.{n}", f"fd00::{n}"),
            ingress=walks[0].id,
            egress=walks[1].id,
        )
        for n in pods
    ]
    return NodeProgram(
        node="node-1",
        seq=1,
        sets=Map({s.id: s for s in sets}),
        policies=Map({p.id: p for p in (ALLOW_ALL, *policies)}),
        walks=Map({w.id: w for w in walks}),
        endpoints=Map({e.interface: e for e in endpoints}),
        **more,
    )


def nets(base, *members):
    """An address set for each family from CIDRs of both."""
    return [
        IPSet(
            id=f"{base}{family}",
            kind="nets",
            family=family,
            members=frozenset(m for m in members if (":" in m) == (family == 6)),
        )
        for family in (4, 6)
    ]


def ports(base, *members):
    """A named port set for each family."""
    return [
        IPSet(
            id=f"{base}{family}",
            kind="ports",
            family=family,
            members=frozenset(m for m in members if (":" in m) == (family == 6)),
        )
        for family in (4, 6)
    ]


class Lab:
    """The node and what hangs on it. `hosts`: 1, 2, 3 the pods, "out" the host outside, "node" the node."""

    def __init__(self, dataplane="nftables"):
        self.hosts = {"node": here()}
        self.echoes = itertools.count(1)  # a flow of its own for each message
        sysctl.write(
            {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1", "net/ipv4/conf/all/rp_filter": "0"}
        )
        sysctl.write({"net/ipv6/conf/default/accept_dad": "0"})
        ip("link set lo up")
        for number in (1, 2, 3):
            self._pod(number)
        self._outside()
        self.dataplane = DATAPLANES[dataplane]()
        self.drops = self.dataplane.drops("node-1")

    def _pod(self, n):
        pod = self.hosts[n] = create(f"pod{n}")
        with entered(pod):
            sysctl.write({"net/ipv6/conf/default/accept_dad": "0"})
        ip(f"link add cali{n} address {MAC} type veth peer name eth0 netns pod{n}", f"link set cali{n} up")
        ip(f"addr add fe80::1/64 dev cali{n} nodad", f"route add 10.0.0.{n} dev cali{n}")
        ip(f"route add fd00::{n} dev cali{n}")
        with entered(pod):
            ip("link set lo up", "link set eth0 up", f"addr add 10.0.0.{n}/32 dev eth0")
            ip(f"addr add fd00::{n}/128 dev eth0 nodad", f"neigh add 169.254.1.1 lladdr {MAC} dev eth0")
            ip("route add 169.254.1.1 dev eth0", "route add default via 169.254.1.1 dev eth0")
            ip("route add default via fe80::1 dev eth0")

    def _outside(self):
        outside = self.hosts["out"] = create("outside")
        ip("link add up0 type veth peer name eth0 netns outside", "link set up0 up", "addr add 192.0.2.1/24 dev up0")
        ip("addr add 2001:db8::1/64 dev up0 nodad")
        with entered(outside):
            ip("link set lo up", "link set eth0 up", "addr add 192.0.2.2/24 dev eth0")
            ip("addr add 2001:db8::2/64 dev eth0 nodad", "route add default via 192.0.2.1")
            ip("route add default via 2001:db8::1")

    def address(self, host, family=4):
        """An address of a host."""
        if host == "node":
            return "192.0.2.1" if family == 4 else "2001:db8::1"
        if host == "out":
            return "192.0.2.2" if family == 4 else "2001:db8::2"
        return f"10.0.0.{host}" if family == 4 else f"fd00::{host}"

    def apply(self, wanted):
        """Apply, and forget drops seen before."""
        applied = self.dataplane.apply(wanted)
        self.drops.drain()
        return applied

    def socket_in(self, host, *arguments):
        """A socket in a host's network namespace; this test's raw packets never block it."""
        with entered(self.hosts[host]):
            return socket.socket(*arguments)

    def tcp(self, source, target, port, family=4):
        """Open a connection."""
        return self.flow(source, target, family, socket.SOCK_STREAM, port)

    def udp(self, source, target, port, family=4, bind=""):
        """Send a datagram, from another address or port if asked."""
        return self.flow(source, target, family, socket.SOCK_DGRAM, port, bind)

    def flow(self, source, target, family, kind, port, bind=""):
        """Send from one host to another; an address to bind makes it come from there."""
        kinds = (socket.AF_INET if family == 4 else socket.AF_INET6, kind)
        with self.socket_in(target, *kinds) as server, self.socket_in(source, *kinds) as client:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((self.address(target, family), port))
            if kind == socket.SOCK_STREAM:
                server.listen()
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if bind:
                client.bind(bind if isinstance(bind, tuple) else (bind, 0))
            client.connect_ex((self.address(target, family), port))
            if kind == socket.SOCK_DGRAM:
                client.send(b"?")
            return self.outcome(server)

    def icmp(self, source, target, icmp_type, code=0, family=4):
        """Send an ICMP or ICMPv6 message of any type."""
        protocol = socket.IPPROTO_ICMP if family == 4 else socket.IPPROTO_ICMPV6
        kinds = (socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_RAW, protocol)
        with self.socket_in(target, *kinds) as server, self.socket_in(source, *kinds) as client:
            message = struct.pack("!BBHHH", icmp_type, code, 0, next(self.echoes), 1)
            total = sum(struct.unpack("!4H", message))
            checksum = ~(total + (total >> 16)) & 0xFFFF
            client.sendto(message[:2] + struct.pack("!H", checksum) + message[4:], (self.address(target, family), 0))
            return self.outcome(server, lambda data: icmp_type in (data[0], data[20] if len(data) > 20 else -1))

    def outcome(self, server, is_it=lambda data: True):
        """Wait for the packet at its destination, or for a drop."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            ready, _, _ = select.select([server, self.drops], [], [], 0.2)
            if self.drops in ready and (said := [d for d in self.drops.drain() if not self.is_noise(d)]):
                return f"{said[0].rule} at {said[0].interface}"
            if server in ready and (server.type != socket.SOCK_RAW or is_it(server.recv(2000))):
                return "allowed"
        return "nothing"

    @staticmethod
    def is_noise(drop):
        """Multicast listener reports and router solicitations of new links."""
        return drop.packet.destination.startswith("ff02::")

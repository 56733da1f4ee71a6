"""Pods brought up: a whole `apply` until enforced, against the bare kernel work, and against Mininet hosts.

The bare work and Mininet's run in sandboxes of their own: `python -m benchmarks.bring_up bare 200` is one of them.
"""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.clusters import NAMESPACES, namespace, pod
from benchmarks.measure import Result, interleaved

PODS = 200
MININET_HOSTS = 50


def run() -> list[Result]:
    """Side by side: Muslin, the bare kernel work, Mininet."""
    figures = interleaved(
        {
            "muslin: apply of 200 pods until every node enforces it": (PODS, _muslin),
            "bare kernel work: unshare, veth, addresses, routes": (PODS, lambda: _sandboxed("bare", PODS)),
            "Mininet hosts on a LinuxBridge": (MININET_HOSTS, lambda: _sandboxed("mininet", MININET_HOSTS)),
        },
        floor="bare kernel work: unshare, veth, addresses, routes",
        rounds=5,
    )
    per_host, per_pod = (figure.seconds / figure.count for figure in (figures[2], figures[0]))
    note = f"Per pod, Muslin is {per_host / per_pod:.1f} times as fast as Mininet is per host."
    target = "at most 3 times the bare kernel work, at least 5 times faster per pod than Mininet"
    return [Result("Bringing up 200 pods on 2 nodes", target, figures, [note])]


def _muslin() -> float:
    import muslin

    with muslin.Cluster(nodes=2) as cluster:
        cluster.apply([namespace(number) for number in range(NAMESPACES)])
        cluster.wait()
        manifests = [pod(number) for number in range(PODS)]
        start = time.perf_counter()
        cluster.apply(manifests)
        cluster.wait()
        return time.perf_counter() - start


def _sandboxed(what: str, count: int) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bring_up", what, str(count)], capture_output=True, text=True, check=False
    )
    if not done.stdout.strip():
        raise RuntimeError(done.stderr)
    return float(done.stdout.split()[-1])


def bare(count: int) -> float:
    """A namespace, a veth pair, two addresses and the routes for each pod, and nothing else; in batches of 50."""
    from ipaddress import ip_address, ip_network

    from emulator import namespaces, sysctl
    from emulator.netlink import Batch, RouteSocket

    sysctl.write(sysctl.NODE)
    node = RouteSocket()
    gateway, link = ip_address("169.254.1.1"), ip_network("169.254.1.1/32")
    start = time.perf_counter()
    inside = []
    with namespaces.home_afterwards():
        for _ in range(count):
            inside.append((namespaces.move_into_new(), RouteSocket()))
    for first in range(0, count, 50):
        batch = Batch()
        for number in range(first, min(first + 50, count)):
            index = 1000 + number
            batch.veth_add(f"cali{number}", index, "ee:ee:ee:ee:ee:ee", "eth0", 2, _mac(number), inside[number][0].fd)
            batch.link_up(index)
            for address in _addresses(number):
                batch.route_add(ip_network(address), kind="link", index=index)
        node.send(batch)
    for number, (_, sock) in enumerate(inside):
        batch = Batch()
        batch.link_up(1)
        batch.link_up(2)
        for address in _addresses(number):
            batch.address_add(2, ip_address(address), ip_address(address).max_prefixlen)
        batch.route_add(link, kind="link", index=2)
        batch.route_add(ip_network("0.0.0.0/0"), via=gateway, index=2)
        batch.route_add(ip_network("::/0"), via=ip_address("fe80::ecee:eeff:feee:eeee"), index=2)
        sock.send(batch)
    return time.perf_counter() - start


def _mac(number: int) -> str:
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


def _addresses(number: int) -> tuple[str, str]:
    return f"10.9.{number >> 8}.{number & 255}", f"fd00:9::{number + 1:x}"


def mininet(count: int) -> float:
    """Mininet's own way: addHost and addLink to a LinuxBridge."""
    from mininet.log import setLogLevel
    from mininet.net import Mininet
    from mininet.nodelib import LinuxBridge

    setLogLevel("critical")
    network = Mininet(controller=None, switch=LinuxBridge)
    Mininet.inited = True  # leave the machine's limits alone
    switch = network.addSwitch("s1")
    start = time.perf_counter()
    for number in range(count):
        network.addLink(network.addHost(f"h{number}"), switch)
    network.start()
    return time.perf_counter() - start


if __name__ == "__main__":
    from emulator import sandbox

    sandbox.enter("benchmark")
    print({"bare": bare, "mininet": mininet}[sys.argv[1]](int(sys.argv[2])), flush=True)
    import os

    os._exit(0)

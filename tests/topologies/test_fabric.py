"""Fabrics built for real, in a sandbox: machines, switches, router, and pods across nodes."""

import os
import subprocess
import time
from itertools import permutations
from pathlib import Path

import pytest

from emulator.namespaces import Worker, of_pid
from emulator.pods import PodNetwork
from emulator.routes import RouteTable
from reference.endpoints import WorkloadEndpoint
from reference.errors import EnvironmentLacksError, InvalidInputError
from reference.routes import Route
from topologies import TOPOLOGIES
from topologies.fabric import Fabric

pytestmark = pytest.mark.live


def at(fabric, machine, command):
    """What a command says in a machine's network namespace."""
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{fabric.pid(machine)}/ns/net", "sh", "-c", command],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def pings(fabric, source, address):
    """Whether one echo is answered within a second."""
    return " 0% packet loss" in at(fabric, source, f"ping -c1 -W1 {address}")


def everyone_pings(name):
    """All pairs of machines, both families, first packet; what the machines' sysctls and the switches' look like."""
    topology = TOPOLOGIES[name](3)
    fabric = Fabric(topology)
    started = time.perf_counter()
    fabric.start()
    seconds = time.perf_counter() - started
    silent = [
        f"{one.name} to {address}"
        for one, other in permutations(topology.places, 2)
        for address in other.addresses
        if not pings(fabric, one.name, address)
    ]
    both = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/eth0/rp_filter"
    settings = [*at(fabric, "node-1", both).split(), *at(fabric, "internet", both).split()]
    bridged = [file.read_text().strip() for file in Path("/proc/sys/net/bridge").glob("bridge-nf-call-*")]
    mtus = {file.read_text().strip() for file in Path("/sys/class/net").glob("p-*/mtu")}
    return [silent, settings, bridged, sorted(mtus), seconds]


@pytest.mark.parametrize("name", sorted(TOPOLOGIES))
def test_every_machine_reaches_every_other_at_once(sandboxed, name):
    """When `start` returns the first packet between any two machines arrives, in both families, with known settings."""
    silent, settings, bridged, mtus, seconds = sandboxed(everyone_pings, name)
    assert silent == []
    assert settings == ["1", "0", "0", "0"]
    assert set(bridged) <= {"0"}
    assert mtus == ["1500"]
    assert seconds < 20


def across():
    """A dual-stack pod on each of three nodes; which pods and outside hosts reach which."""
    topology = TOPOLOGIES["subnets"](3)
    fabric = Fabric(topology)
    fabric.start()
    blocks, networks = {}, {}
    for number, node in enumerate(topology.nodes):
        blocks |= {f"10.244.{number}.0/26": node.name, f"fd00:10:244:{number}::/122": node.name}
        networks[node.name] = PodNetwork(node.name)
    fabric.set_block_routes(blocks)
    for number, node in enumerate(topology.nodes):
        endpoint = WorkloadEndpoint(
            namespace="d",
            pod=f"p{number}",
            node=node.name,
            interface=f"cali{number}",
            addresses=(f"10.244.{number}.1", f"fd00:10:244:{number}::1"),
            labels={},
            profiles=(),
        )
        routes = {
            Route(block, "via", via=topology.address(owner, 6 if ":" in block else 4))
            for block, owner in blocks.items()
            if owner != node.name
        }
        routes |= {Route(block, "blackhole") for block, owner in blocks.items() if owner == node.name}
        routes |= {
            Route(f"10.244.{number}.1/32", "link", interface=f"cali{number}"),
            Route(f"fd00:10:244:{number}::1/128", "link", interface=f"cali{number}"),
        }
        worker = Worker(of_pid(fabric.pid(node.name)))
        worker.call(networks[node.name].create, [endpoint])
        worker.call(RouteTable().apply, routes)

    def from_pod(number, address):
        command = ["ip", "netns", "exec", f"d_p{number}", "ping", "-c1", "-W1", address]
        return " 0% packet loss" in subprocess.run(command, capture_output=True, text=True, check=False).stdout

    silent = [
        f"p{one} to {address}"
        for one, other in permutations(range(3), 2)
        for address in (f"10.244.{other}.1", f"fd00:10:244:{other}::1")
        if not from_pod(one, address)
    ]
    outside = [pings(fabric, "office", "10.244.1.1"), pings(fabric, "internet", "fd00:10:244:2::1")]
    fabric.fail("node-2")
    cut = [from_pod(0, "10.244.1.1"), from_pod(0, "10.244.2.1")]
    fabric.recover("node-2")
    back = [from_pod(0, "10.244.1.1"), from_pod(0, "fd00:10:244:1::1"), from_pod(1, "10.244.0.1")]
    return [silent, outside, cut, back]


def test_pods_reach_each_other_across_nodes_and_subnets(sandboxed):
    """Pods reach pods on any node, and are reached from outside; a failed node is cut off and comes back whole."""
    silent, outside, cut, back = sandboxed(across)
    assert silent == []
    assert outside == [True, True]
    assert cut == [False, True]
    assert back == [True, True, True]


def block_routes():
    """Block routes added, moved and removed, as the router shows them."""
    fabric = Fabric(TOPOLOGIES["subnets"](2))
    fabric.start()
    shown = []
    for owners in (
        {"10.244.0.0/26": "node-1", "fd00:10:244::/122": "node-1"},
        {"10.244.0.0/26": "172.30.2.11", "10.244.0.64/26": "node-1"},
        {"10.244.0.128/26": "192.0.2.1", "10.244.0.64/26": "node-1"},
        {"10.244.0.0/26": "node-2"},
        {},
    ):
        try:
            fabric.set_block_routes(owners)
        except EnvironmentLacksError as error:
            shown.append(str(error))
            continue
        lines = at(fabric, "router", "ip route show proto 80; ip -6 route show proto 80").strip().split("\n")
        shown.append(sorted(" ".join(line.split()[:5]) for line in lines))
    return shown


def test_block_routes_follow_their_owners(sandboxed):
    """The router holds exactly the routes of the last call, also after a call that was refused."""
    *first, refused, moved, none = sandboxed(block_routes)
    assert first == [
        ["10.244.0.0/26 via 172.30.1.11 dev to-rack-1", "fd00:10:244::/122 via fd00:30:1::11 dev to-rack-1"],
        ["10.244.0.0/26 via 172.30.2.11 dev to-rack-2", "10.244.0.64/26 via 172.30.1.11 dev to-rack-1"],
    ]
    assert "configuring router failed" in refused
    assert moved == ["10.244.0.0/26 via 172.30.2.11 dev to-rack-2"]
    assert none == [""]


def end():
    """Stop a fabric and start another; the devices and processes after each, and the error of asking for nobody."""
    seen = []
    for _ in range(2):
        fabric = Fabric(TOPOLOGIES["single"](2))
        fabric.start()
        try:
            fabric.pid("node-7")
        except InvalidInputError as error:
            words = str(error)
        fabric.stop()
        fabric.stop()
        deadline = time.monotonic() + 10
        while len(os.listdir("/sys/class/net")) > 1 and time.monotonic() < deadline:  # noqa: PTH208
            time.sleep(0.01)
        processes = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
        seen.append([os.listdir("/sys/class/net"), processes])  # noqa: PTH208
    return [seen, words]


def test_stop_leaves_nothing_behind(sandboxed):
    """After `stop` there is no shell and no interface of the fabric, and another one can be started."""
    seen, words = sandboxed(end)
    assert seen == [[["lo"], ["1"]], [["lo"], ["1"]]]
    assert "there are node-1, node-2, internet, office, router" in words


def no_mnexec():
    """Build a fabric where Mininet's helper program is not installed."""
    Path("/run/bin").mkdir()
    for program in ("ip", "bash", "sh", "which", "grep"):
        for folder in ("/usr/bin", "/usr/sbin", "/bin", "/sbin"):
            if Path(folder, program).exists() and not Path("/run/bin", program).exists():
                Path("/run/bin", program).symlink_to(Path(folder, program))
    os.environ["PATH"] = "/run/bin"
    try:
        Fabric(TOPOLOGIES["single"](1)).start()
    except EnvironmentLacksError as error:
        return str(error)
    return "started"


def test_missing_program_is_one_clear_error(sandboxed):
    """Without mnexec the error names it and the package; Mininet does not end the process."""
    assert sandboxed(no_mnexec) == "the program mnexec is missing; on Debian and Ubuntu: apt install mininet iproute2"

"""WireGuard between three nodes on a bridge, in a sandbox: what crosses the fabric, and what the pods notice of it.

The tests start this file again inside a sandbox of its own; what fails there fails here, with its output.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from immutables import Map

from emulator.namespaces import NetworkNamespace, Worker, create, entered
from emulator.probe.capture import Capture, Frame, contains, count
from emulator.probe.sockets import Prober
from emulator.probe.types import Outcome, Probe
from encryption.available import available, why_not
from encryption.keys import PrivateKey
from encryption.node import NodeEncryption
from encryption.peers import DEVICES
from reference.endpoints import Host, WorkloadEndpoint
from reference.errors import RefusedError
from reference.ipam.blocks import Block
from reference.packet import Packet, protocol_number
from reference.state import State

ROOT = Path(__file__).parents[2]
SANDBOX = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
NODES = (1, 2, 3)


def in_sandbox(name: str) -> None:
    """Run a function of this file in a sandbox of its own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, *SANDBOX, sys.executable, __file__, name]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def ip(*lines: str) -> None:
    """Several `ip` commands."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def pod_address(node: int, family: int, pod: int = 1) -> str:
    """The address of a pod."""
    return f"10.244.{node}.{pod}" if family == 4 else f"fd00:10:244:{node}::{pod}"


def block(node: int, family: int) -> str:
    """The block of a node."""
    return f"10.244.{node}.0/26" if family == 4 else f"fd00:10:244:{node}::/122"


def node_address(node: int, family: int) -> str:
    """The address of a node on the fabric."""
    return f"172.30.1.{10 + node}" if family == 4 else f"fd30::{10 + node}"


class Lab:
    """Three nodes on a bridge, with two pods behind each, and a state that says the same."""

    def __init__(self, encrypted: tuple[int, ...] = NODES) -> None:
        ip("link set lo up", "link add br0 type bridge mcast_snooping 0", "link set br0 up")
        Path("/proc/sys/net/ipv6/conf/br0/disable_ipv6").write_text("1")
        self.nodes = {number: self._node(number) for number in NODES}
        self.pods = {(node, pod): self._pod(node, pod) for node in NODES for pod in (1, 2)}
        self._await_bridge()
        self.workers = {number: Worker(space) for number, space in self.nodes.items()}
        self.keys = {number: PrivateKey.generate() for number in NODES}
        self.wireguard = {number: NodeEncryption(f"node-{number}", self.keys[number]) for number in NODES}
        self.state = self._state(encrypted)
        self.prober = Prober(self._namespace, [])

    def _wire(self, space: NetworkNamespace, inside: str, outside: str) -> None:
        ip(f"link add {outside} type veth peer name {inside} netns /proc/{os.getpid()}/fd/{space.fd}")

    def _node(self, number: int) -> NetworkNamespace:
        space = create()
        self._wire(space, "eth0", f"node{number}")
        ip(f"link set node{number} master br0", f"link set node{number} up")
        with entered(space):
            for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/all/rp_filter"):
                Path("/proc/sys/net", switch).write_text("0" if "rp_filter" in switch else "1")
            lines = ["link set lo up", "link set eth0 up"]
            lines += [
                f"addr add {node_address(number, 4)}/24 dev eth0",
                f"addr add {node_address(number, 6)}/64 dev eth0 nodad",
            ]
            for other in NODES:
                if other != number:
                    lines += [f"route add {block(other, f)} via {node_address(other, f)}" for f in (4, 6)]
            ip(*lines)
        return space

    def _pod(self, node: int, pod: int) -> NetworkNamespace:
        space = create()
        with entered(self.nodes[node]):
            self._wire(space, "eth0", f"cali{pod}")
            ip(f"link set cali{pod} address ee:ee:ee:ee:ee:ee up", f"addr add fe80::{pod}/128 dev cali{pod} nodad")
            Path(f"/proc/sys/net/ipv4/conf/cali{pod}/proxy_arp").write_text("1")
            ip(*(f"route add {pod_address(node, family, pod)} dev cali{pod}" for family in (4, 6)))
        with entered(space):
            lines = ["link set lo up", "link set eth0 up"]
            lines += [
                f"addr add {pod_address(node, family, pod)} dev eth0 {'nodad' * (family == 6)}" for family in (4, 6)
            ]
            for everything, gateway in (("0.0.0.0/0", "169.254.1.1"), ("::/0", "fe80::ee")):
                lines += [f"neigh add {gateway} lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent"]
                lines += [f"route add {everything} via {gateway} dev eth0 onlink"]
            ip(*lines)
        return space

    @staticmethod
    def _await_bridge() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            states = {Path(f"/sys/class/net/br0/brif/node{n}/state") for n in NODES}
            shown = subprocess.run(["ip", "-d", "link", "show", "master", "br0"], capture_output=True, text=True).stdout
            if shown.count("state forwarding") == len(states):
                return
            time.sleep(0.01)
        raise AssertionError("the bridge does not forward")

    def _state(self, encrypted: tuple[int, ...]) -> State:
        hosts, blocks, endpoints = {}, {}, {}
        for node in NODES:
            name = f"node-{node}"
            both = (node_address(node, 4), node_address(node, 6))
            hosts[name] = Host(name=name, addresses=both, subnet="a", is_node=True)
            for family in (4, 6):
                cidr = block(node, family)
                blocks[cidr] = Block(cidr=cidr, pool="p", affinity=f"host:{name}", claimed_at=0.0)
            for pod in (1, 2):
                endpoints["default", f"pod-{node}-{pod}"] = WorkloadEndpoint(
                    namespace="default",
                    pod=f"pod-{node}-{pod}",
                    node=name,
                    interface=f"cali{pod}",
                    addresses=(pod_address(node, 4, pod), pod_address(node, 6, pod)),
                    labels={},
                    profiles=(),
                )
        return State(
            hosts=Map(hosts),
            blocks=Map(blocks),
            endpoints=Map(endpoints),
            encryption="wireguard",
            public_keys=Map({f"node-{n}": self.keys[n].public for n in encrypted}),
        )

    def _namespace(self, name: str) -> NetworkNamespace:
        if name.startswith("node-"):
            return self.nodes[int(name[5:])]
        return self.pods[tuple(map(int, name.removeprefix("default/pod-").split("-")))]

    def apply(self, *nodes: int, state: State | None = None) -> int:
        """Apply on some nodes, or on all, each prepared before any routes."""
        for step in (NodeEncryption.prepare, NodeEncryption.apply):
            results = [
                self.workers[n].submit(step, self.wireguard[n], self.state if state is None else state)
                for n in nodes or NODES
            ]
            done = sum(result.result() for result in results)
        return done

    def clean(self) -> None:
        """Remove WireGuard from every node."""
        for number, worker in self.workers.items():
            worker.call(self.wireguard[number].clean)

    def ask(self, *pairs, family=4, protocols=("TCP", "UDP", "ICMP"), deadline=3.0) -> list[Outcome]:
        """Probe between pods, given as (node, pod), or from a node, given as its number."""
        probes, packets = [], []
        for a, b in pairs:
            for protocol in protocols:
                names = [f"node-{x}" if isinstance(x, int) else "default/pod-{}-{}".format(*x) for x in (a, b)]
                ends = [
                    node_address(x, family) if isinstance(x, int) else pod_address(x[0], family, x[1]) for x in (a, b)
                ]
                number = 58 if (protocol, family) == ("ICMP", 6) else protocol_number(protocol)
                probes.append(Probe(source=names[0], destination=names[1], protocol=protocol))
                packets.append(Packet(source=ends[0], destination=ends[1], protocol=number, destination_port=80))
        return self.prober.probe_many(probes, packets, 1, deadline)

    def watch(self, node: int) -> Capture:
        """Capture a node's fabric link."""
        return Capture(self.nodes[node], "eth0")


REMOTE = [((a, 1), (b, 2)) for a in NODES for b in NODES if a != b]


def all_allowed(outcomes: list[Outcome]) -> None:
    """Fail unless every probe was answered."""
    bad = [f"{o.packet}: {o.result}, {o.evidence}" for o in outcomes if not o.allowed]
    assert not bad, "\n".join(bad[:10])


def in_clear(frames: list[Frame]) -> int:
    """How many frames show the address of a pod."""
    addresses = [pod_address(node, family, pod) for node in NODES for family in (4, 6) for pod in (1, 2)]
    return sum(count(frames, contains(address)) for address in addresses)


def encrypted(frames: list[Frame], family: int) -> int:
    """How many frames are UDP between the ports of the devices of a family, over that family."""
    port = DEVICES[family].port.to_bytes(2, "big")
    kind, protocol, ports = (b"\x08\x00", 23, 34) if family == 4 else (b"\x86\xdd", 20, 54)
    return count(
        frames,
        lambda data: data[12:14] == kind and data[protocol] == 17 and data[ports : ports + 4] == port + port,
    )


def neighbours(frames: list[Frame]) -> int:
    """How many frames only look for neighbours: ARP, and ICMPv6 that is no echo."""
    return count(
        frames,
        lambda d: d[12:14] == b"\x08\x06" or (d[12:14] == b"\x86\xdd" and d[20] in {0, 58} and 128 not in d[54:55]),
    )


def pod_traffic_crosses_the_fabric_encrypted_and_only_so() -> None:
    """Every frame on a node's link is WireGuard's or a neighbour's, and no pod's address is in any of them."""
    lab = Lab()
    lab.apply()
    for family in (4, 6):
        with lab.watch(1) as one, lab.watch(2) as two:
            all_allowed(lab.ask(*REMOTE, family=family))
        for capture in (one, two):
            frames = capture.frames
            assert encrypted(frames, family) >= 20
            assert in_clear(frames) == 0
            assert encrypted(frames, family) + neighbours(frames) == len(frames)
            assert capture.lost == 0
    counters = lab.workers[1].call(lab.wireguard[1].status)
    for family in (4, 6):
        assert set(counters[family].peers) == {lab.keys[2].public, lab.keys[3].public}
        assert all(p.last_handshake > 0 and p.received > 0 and p.sent > 0 for p in counters[family].peers.values())


def without_encryption_the_capture_sees_the_pods() -> None:
    """The same capture of the same traffic in clear shows it: the check above can fail."""
    lab = Lab()
    for family in (4, 6):
        with lab.watch(1) as capture:
            all_allowed(lab.ask(*REMOTE, family=family))
        assert in_clear(capture.frames) >= 20
        assert encrypted(capture.frames, family) == 0


def a_node_without_a_key_is_reached_in_clear() -> None:
    """Traffic to and from the node with no key passes in clear, that between the others encrypted (WG-5)."""
    lab = Lab(encrypted=(1, 2))
    lab.apply()
    for family in (4, 6):
        with lab.watch(3) as third:
            all_allowed(lab.ask(*[pair for pair in REMOTE if 3 in {pair[0][0], pair[1][0]}], family=family))
        assert in_clear(third.frames) >= 20
        assert encrypted(third.frames, family) == 0
        with lab.watch(1) as first:
            all_allowed(lab.ask(((1, 1), (2, 1)), ((2, 1), (1, 2)), family=family))
        assert in_clear(first.frames) == 0
        assert encrypted(first.frames, family) >= 8


def only_pods_of_different_nodes_are_encrypted() -> None:
    """Pods of one node, and a node and a remote pod, talk as before, outside the tunnel (WG-8)."""
    lab = Lab()
    lab.apply()
    for family in (4, 6):
        with lab.watch(1) as capture:
            all_allowed(lab.ask(((1, 1), (1, 2)), ((1, 2), (1, 1)), (1, (1, 1)), family=family))
            assert in_clear(capture.frames) == encrypted(capture.frames, family) == 0
            all_allowed(lab.ask((1, (2, 1)), (2, (1, 1)), (1, 2), family=family))
        assert in_clear(capture.frames) >= 4
        assert encrypted(capture.frames, family) == 0


def a_second_apply_changes_nothing_and_clean_leaves_nothing() -> None:
    """Applying the same state sends nothing; a change sends that change; clean removes every trace (WG-9)."""
    lab = Lab()

    def traces():
        shown = [
            subprocess.run(["ip", *rest], capture_output=True, text=True, check=True).stdout
            for rest in (["-4", "rule"], ["-6", "rule"], ["-4", "route", "show", "table", "all"], ["-br", "link"])
        ]
        return shown[:2], shown[2], shown[3].count("\n")

    before = [worker.call(traces) for worker in lab.workers.values()]
    assert lab.apply() > 0
    assert lab.apply() == 0
    borrowed = lab.state.endpoints["default", "pod-1-1"]
    moved = replace(
        lab.state,
        endpoints=lab.state.endpoints.set(
            ("default", "x"),
            WorkloadEndpoint(
                **{f: getattr(borrowed, f) for f in borrowed.__struct_fields__}
                | {"pod": "x", "addresses": (pod_address(2, 4, 9),)}
            ),
        ),
    )
    assert sum(lab.workers[n].call(lab.wireguard[n].apply, moved) for n in NODES) == 5  # two peers, three tables
    assert lab.apply(state=moved) == 0
    processes = len([p for p in Path("/proc").iterdir() if p.name.isdigit()])
    lab.clean()
    assert processes - 6 * (available() == "wireguard-go") == len(
        [p for p in Path("/proc").iterdir() if p.name.isdigit()]
    )
    assert before == [worker.call(traces) for worker in lab.workers.values()]
    all_allowed(lab.ask(*REMOTE))


def switching_off_by_the_state_removes_everything_too() -> None:
    """A state without encryption leads to the same place as clean, and back again."""
    lab = Lab()
    lab.apply()
    off = replace(lab.state, encryption="", public_keys=Map())
    assert lab.apply(state=off) > 0
    assert lab.apply(state=off) == 0
    with lab.watch(1) as capture:
        all_allowed(lab.ask(*REMOTE))
    assert in_clear(capture.frames) > 0
    lab.apply()
    with lab.watch(1) as capture:
        all_allowed(lab.ask(*REMOTE))
    assert in_clear(capture.frames) == 0


def a_new_key_keeps_the_traffic() -> None:
    """A node that publishes a new key is a peer under the new one, and pods hardly notice; the old key is gone."""
    lab = Lab()
    lab.apply()
    all_allowed(lab.ask(*REMOTE))
    fresh = PrivateKey.generate()
    lab.wireguard[1].add_key(fresh)
    lab.state = replace(lab.state, public_keys=lab.state.public_keys.set("node-1", fresh.public))
    lab.apply(2, 3)
    lab.apply(1)
    for family in (4, 6):
        with lab.watch(1) as capture:
            all_allowed(lab.ask(*REMOTE, family=family))
        assert in_clear(capture.frames) == 0
    status = lab.workers[2].call(lab.wireguard[2].status)
    assert all(set(status[family].peers) == {fresh.public, lab.keys[3].public} for family in (4, 6))


def a_key_that_is_not_ours_is_refused() -> None:
    """A node that is said to have published a key nobody gave it refuses, and says what to do."""
    lab = Lab()
    lost = replace(lab.state, public_keys=lab.state.public_keys.set("node-1", PrivateKey.generate().public))
    with pytest.raises(RefusedError, match="have the node publish a new key"):
        lab.workers[1].call(lab.wireguard[1].apply, lost)


def a_dead_device_is_made_again() -> None:
    """When the process of a device dies, the next apply brings the same device back."""
    lab = Lab()
    lab.apply()
    all_allowed(lab.ask(*REMOTE))
    device = lab.wireguard[1]._devices[4]
    if available() == "wireguard-go":
        device._process.kill()
        device._process.wait()
        lab.apply()
        all_allowed(lab.ask(*REMOTE))


def large_transfers_find_the_smaller_mtu() -> None:
    """A pod with the fabric's MTU gets a megabyte through the tunnel, whose MTU is smaller (WG-7)."""
    lab = Lab()
    lab.apply()
    for family, kind in ((4, socket.AF_INET), (6, socket.AF_INET6)):
        with entered(lab.pods[2, 1]):
            server = socket.create_server((pod_address(2, family), 5000), family=kind)
        with entered(lab.pods[1, 1]):
            client = socket.socket(kind)
        with lab.watch(1) as capture, server, client:
            client.settimeout(5)
            client.connect((pod_address(2, family), 5000))
            connection, _ = server.accept()
            threading.Thread(target=client.sendall, args=(bytes(1 << 20),), daemon=True).start()
            connection.settimeout(5)
            received = 0
            while received < 1 << 20:
                received += len(connection.recv(1 << 16))
            connection.close()
        assert max(len(frame.data) for frame in capture.frames) <= 1514
        assert in_clear(capture.frames) == 0


def bring_up() -> None:
    """Say how long bringing WireGuard up takes."""
    lab = Lab()
    started = time.perf_counter()
    lab.apply()
    applied = time.perf_counter()
    all_allowed(lab.ask(*REMOTE))
    sys.stdout.write(
        f"apply {1000 * (applied - started):.0f} ms, first probes {1000 * (time.perf_counter() - applied):.0f}\n"
    )
    for _ in range(5):
        started = time.perf_counter()
        lab.apply()
        sys.stdout.write(f"again {1000 * (time.perf_counter() - started):.2f} ms\n")


CASES = [
    pod_traffic_crosses_the_fabric_encrypted_and_only_so,
    without_encryption_the_capture_sees_the_pods,
    a_node_without_a_key_is_reached_in_clear,
    only_pods_of_different_nodes_are_encrypted,
    a_second_apply_changes_nothing_and_clean_leaves_nothing,
    switching_off_by_the_state_removes_everything_too,
    a_new_key_keeps_the_traffic,
    a_key_that_is_not_ours_is_refused,
    a_dead_device_is_made_again,
    large_transfers_find_the_smaller_mtu,
]


@pytest.mark.live
@pytest.mark.wireguard
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_live(case):
    """What the named function says holds in a sandbox of its own."""
    if available() is None:
        pytest.skip(why_not())
    in_sandbox(case.__name__)


if __name__ == "__main__":
    globals()[sys.argv[1]]()

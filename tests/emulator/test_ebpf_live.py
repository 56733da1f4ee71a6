"""The eBPF dataplane keeps what the nftables one is tested for: the same tests, with real packets."""

import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from immutables import Map

sys.path.insert(0, str(Path(__file__).parent))
import test_nftables_live as suite
from nftables_lab import Lab, nets, policy, program, rule

from emulator.dataplane.ebpf.bench import lacking
from emulator.dataplane.ebpf.conntrack import connections
from emulator.nfnetlink import NetfilterSocket
from reference.packet import Packet
from reference.program.types import HostEndpointProgram, TierStep, Walk

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
]
SHARED = [
    suite.test_every_kind_of_match_decides_real_packets,
    suite.test_the_walk,
    suite.test_guards,
    suite.test_connections_outlive_policy,
    suite.test_masquerade_only_beyond_the_pools,
    suite.test_counters_of_rules,
]


@pytest.fixture
def as_user():
    """Only root may load eBPF programs."""
    return lambda command: command


def on_ebpf(name):
    """A function of the shared suite, with this dataplane in its lab."""
    return getattr(suite, name)("ebpf")


@pytest.mark.parametrize("test", SHARED, ids=lambda test: test.__name__.removeprefix("test_"))
def test_shared(sandboxed, test):
    """What a test of every dataplane states holds for this one."""
    test(lambda function, _: sandboxed(on_ebpf, function.__name__), "ebpf")


def traced():
    """Trace a denied connection, with an allowed one of the same pods beside it."""
    lab = Lab("ebpf")
    rules = [rule("log", 0), rule("allow", 1, protocol=6, destination_ports=(81,)), rule("deny", 2, protocol=6)]
    lab.apply(program(ingress=[("default", "deny", ["np:shop/web"])], policies=[policy("np:shop/web", rules)]))
    trace = lab.dataplane.trace(
        "node-1", Packet(source="10.0.0.1", destination="10.0.0.2", protocol=6, destination_port=80)
    )
    lab.tcp(1, 2, 81)
    other = len(trace.steps())
    lab.tcp(1, 2, 80)
    steps = trace.steps()
    trace.close()
    trace.close()
    lab.tcp(1, 2, 80)
    return [other, [[step.chain, str(step.rule), step.text, step.verdict] for step in steps[:3]], len(trace.steps())]


def test_a_trace_names_every_rule_on_the_way(sandboxed):
    """The trace names the user's rules at both ends with what they ask, and sees nothing of other packets."""
    other, steps, after = sandboxed(traced)
    assert (other, after) == (0, 0)
    assert steps == [
        ["egress of cali1", "allow by rule 0 of pro:kns.shop (egress, tier __PROFILE__)", "", "accept"],
        ["ingress of cali2", "log by rule 0 of np:shop/web (ingress, tier default)", "", "continue"],
        ["ingress of cali2", "deny by rule 2 of np:shop/web (ingress, tier default)", "protocol 6", "drop"],
    ]


def renewed():
    """A program that outgrows the maps, with a connection open meanwhile; what is read back; nothing left."""
    lab = Lab("ebpf")
    small = program()
    lab.apply(small)
    read = lab.dataplane.read_back()
    with (
        lab.socket_in(2, socket.AF_INET, socket.SOCK_STREAM) as server,
        lab.socket_in(1, socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        server.bind((lab.address(2), 80))
        server.listen()
        client.settimeout(3)
        client.connect((lab.address(2), 80))
        connection, _ = server.accept()
        connection.settimeout(3)
        members = [f"10.{n >> 8 & 255}.{n & 255}.1/32" for n in range(70000)]
        many = [
            rule("deny", n, protocol=6, destination_ports=(1000 + n,), source_nets=("10.0.0.0/8",)) for n in range(3000)
        ]
        large = program(
            ingress=[("default", "deny", ["np:shop/web"])],
            policies=[policy("np:shop/web", many)],
            sets=nets("n1", *members),
        )
        lab.apply(large)
        client.send(b"still here")
        said = [connection.recv(100).decode(), lab.tcp(1, 2, 3999)]
    again = lab.apply(large)
    lab.apply(small)
    after = lab.dataplane.read_back()
    differing = [name for name in read if read[name] != after[name]]
    lab.dataplane.clean()
    left = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for command in (
            ["tc", "filter", "show", "dev", "cali1", "ingress"],
            ["tc", "filter", "show", "dev", "cali1", "egress"],
            ["nft", "list", "ruleset"],
        )
    ]
    return [said, [again.operations, again.bytes], differing, left]


def test_growth(sandboxed):
    """Maps that become too small are renewed with connections, listeners and reports kept; clean leaves no program."""
    said, again, differing, left = sandboxed(renewed)
    assert said == ["still here", "deny by rule 2999 of np:shop/web (ingress, tier default) at cali2"]
    assert again == [0, 0]
    assert differing == []
    assert left == ["", "", ""]


def tracked():
    """Datagrams to the machine, to a port that an untracked list allows and to another one: what the kernel tracks."""
    lab = Lab("ebpf")
    walk = Walk(
        id="raw", direction="ingress", end="continue", profiles=(),
        tiers=(TierStep(tier="default", default_action="pass", policies=("gnp:raw",)),),
    )  # fmt: skip
    raw = policy("gnp:raw", [rule("allow", 0, protocol=17, destination_ports=(514,))])
    guard = HostEndpointProgram(name="h", interface="up0", ingress="", egress="", untracked_ingress="raw")
    wanted = program(policies=[raw], host_endpoints=Map({"up0": guard}))
    lab.apply(msgspec.structs.replace(wanted, walks=wanted.walks.set("raw", walk)))
    said = [lab.udp("out", "node", port) for port in (514, 515)]
    kernel = NetfilterSocket()
    ports = [one.original.destination_port for one in connections(kernel) if one.original.source == lab.address("out")]
    kernel.close()
    return [said, ports]


def test_untracked_is_not_tracked_by_the_kernel_either(sandboxed):
    """HEP-4: what a doNotTrack list lets in has no entry in the kernel's table; what it leaves alone has."""
    assert sandboxed(tracked) == [["allowed", "allowed"], [515]]

"""Invariants 26 and 28 in the kernel: open connections, new ones, and what is not ours, under random policies."""

import socket
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from immutables import Map
from msgspec.structs import replace

from emulator.dataplane.libnftables import Libnftables
from property_tests.strategies.choices import Drawn
from property_tests.strategies.clusters import policies
from property_tests.strategies.vocabulary import NAMESPACES, POD_LABELS, labels
from property_tests.worlds import built
from reference.packet import Packet
from reference.policy import allowed
from reference.program.compile import Compiler
from reference.resources import Metadata, Pod
from reference.resources.kubernetes import Container, PodIP, PodSpec, PodStatus

sys.path.insert(0, str(Path(__file__).parents[1] / "emulator"))
from nftables_lab import Lab
from nftables_lab import program as open_to_all

EXAMPLES = 25
PORTS = (80, 81, 8080)
PODS = {1: NAMESPACES[0], 2: NAMESPACES[0], 3: NAMESPACES[1]}


def lab_pod(choices, number):
    """A pod where the lab has one."""
    addresses = tuple(PodIP(ip=address) for address in (f"10.0.0.{number}", f"fd00::{number}"))
    return Pod(
        metadata=Metadata(name=f"p{number}", namespace=PODS[number], labels=labels(choices, POD_LABELS)),
        spec=PodSpec(containers=(Container(name="main"),)),
        status=PodStatus(pod_ips=addresses),
    )


def for_lab(state):
    """The node's program, its endpoints at the lab's interfaces."""
    (program,) = Compiler().compile(state).values()
    placed = {f"cali{one.name[-1]}": one for one in program.endpoints.values()}
    return replace(
        program,
        endpoints=Map({name: replace(one, interface=name) for name, one in placed.items()}),
        nat_sources=frozenset(),
    )


def talk(one, other):
    """Report whether each hears the other."""
    for sender, hearer in ((one, other), (other, one)):
        sender.send(b"still here")
        if hearer.recv(100) != b"still here":
            return False
    return True


def connected(lab, source, target, port, family):
    """An open connection between two pods: both ends."""
    kinds = (socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    with lab.socket_in(target, *kinds) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((lab.address(target, family), port))
        server.listen()
        client = lab.socket_in(source, *kinds)
        client.settimeout(3)
        client.connect((lab.address(target, family), port))
        accepted, _ = server.accept()
        accepted.settimeout(3)
        return client, accepted


def campaign():
    """Random policies over three pods; how often each answer was seen."""
    lab, seen = Lab(), {"allowed": 0, "denied": 0}
    with Libnftables() as nft:
        nft.run("add table inet foreign; add chain inet foreign c; add rule inet foreign c counter")

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(data=st.data())
    def holds(data):
        choices = Drawn(data.draw)
        state = built([*(lab_pod(choices, number) for number in PODS), *policies(choices)])
        source, target = choices.pick((1, 2, 3)), choices.pick((1, 2, 3))
        port, family = choices.pick(PORTS), choices.pick((4, 6))
        if source == target:
            return
        lab.apply(open_to_all(pods=tuple(PODS)))
        client, accepted = connected(lab, source, target, 9, family)
        with client, accepted:
            lab.apply(for_lab(state))
            assert talk(client, accepted), "an open connection was cut"
            again = lab.apply(for_lab(state))
            assert (again.operations, again.bytes) == (0, 0), "the same state was sent again"
            new = lab.tcp(source, target, port, family)
        packet = Packet(
            source=lab.address(source, family),
            destination=lab.address(target, family),
            protocol=6,
            destination_port=port,
        )
        expected = allowed(state, packet)
        assert (new == "allowed") == expected, (packet, new)
        assert expected or new.startswith("deny"), new
        seen["allowed" if expected else "denied"] += 1

    holds()
    with Libnftables() as nft:
        nft.run("delete table inet muslin")
        left = nft.run("list ruleset").replace("\t", "").replace("\n", " ")
    return {"seen": seen, "left": left}


@pytest.mark.live
def test_open_connections_outlive_any_policy_and_new_ones_obey_it(sandboxed):
    """Invariant 26: open connections go on both ways under any later policy, new ones fare as the oracle says.

    Invariant 28: the same state again sends nothing, and a foreign table stays as it was.
    """
    found = sandboxed(campaign)
    assert min(found["seen"].values()) >= 3, found["seen"]
    assert found["left"] == "table inet foreign { chain c { counter packets 0 bytes 0 } } "

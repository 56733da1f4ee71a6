"""The eBPF programs and the second reading of node programs: every packet, the same fate for the same reason."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from property_tests.strategies.choices import Seeded
from property_tests.strategies.clusters import clusters
from property_tests.strategies.packets import has_pods, interest, packet
from property_tests.worlds import built
from reference.errors import InvalidInputError
from reference.program.compile import Compiler
from reference.program.interpret import decide

sys.path.insert(0, str(Path(__file__).parent))
from ebpf_bench import Bench, ip_packet, make_devices, same_words

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may load eBPF programs (CAP_BPF, CAP_NET_ADMIN)"),
]
PACKETS = 40
TRACKED = {4: (8, 13, 15, 17), 6: (128, 139)}  # ICMP types that may begin a flow


class Nodes:
    """A bench per node, kept from cluster to cluster: each program is an update of an unrelated one."""

    def __init__(self):
        self.devices = make_devices()
        self.benches = {}
        self.packets = 0

    def apply(self, state):
        """The compiled programs, brought; None when this dataplane refuses one."""
        programs = Compiler().compile(state)
        programs = {name: program for name, program in programs.items() if state.hosts[name].is_node}
        if any(program.host_endpoints for program in programs.values()):
            return None
        for name, program in programs.items():
            if name not in self.benches:
                self.benches[name] = Bench(self.devices)
            bench = self.benches[name]
            bench.apply(program, state.hosts[name].addresses)
        return programs

    def fate(self, state, one):
        """What the programs do with the first packet of a flow, and who said so."""
        source, destination = (
            state.endpoints.get((state.addresses.get(a) or [None])[0]) for a in (one.source, one.destination)
        )
        frame, said, mark = ip_packet(one), "allowed", 0
        if source is not None:
            bench = self.benches[source.node]
            said, mark = bench.run("egress", source.interface, frame), bench.mark
        if said == "allowed" and destination is not None:
            bench = self.benches[destination.node]
            came_by = 1
            if source is None or source.node != destination.node:
                mark = 0
            if one.source in state.hosts.get(destination.node).addresses:
                came_by = 0
            said = bench.run("ingress", destination.interface, frame, came_by=came_by, mark=mark)
        for bench in self.benches.values():
            bench.forget_flows()
        return said

    def disagreement(self, state, programs, one):
        """What differs on one packet; None if nothing does, or nobody asks the programs."""
        ends = [state.addresses.get(a) for a in (one.source, one.destination)]
        if ends[0] and ends[0] == ends[1]:
            return None  # to itself
        self.packets += 1
        said, wanted = self.fate(state, one), decide(programs, state, one)
        if one.protocol in (1, 58) and (one.protocol == 1, one.icmp_type) not in {
            (family == 4, kind) for family, kinds in TRACKED.items() for kind in kinds
        }:
            host = wanted.allowed and "no policy" in wanted.where
            fine = host or said.startswith(("invalid", "spoofed"))
            return None if fine else f"{one} begins no flow, yet: {said}; {wanted.where}"
        if (said == "allowed") is wanted.allowed and (wanted.allowed or said == same_words(wanted.where)):
            return None
        return f"{one}: the kernel says {said}, the second reading {wanted.where}"


def search():
    """Clusters and packets by Hypothesis; how many packets were compared."""
    nodes = Nodes()

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(clusters())
    def agree(resources):
        try:
            state = built(resources)
        except InvalidInputError:
            return
        about = interest(state)
        programs = nodes.apply(state)
        if programs is None or not has_pods(about):
            return
        choices = Seeded(str(state.seq))
        for _ in range(PACKETS):
            difference = nodes.disagreement(state, programs, packet(choices, about))
            assert difference is None, difference

    agree()
    return nodes.packets


@pytest.fixture
def as_user():
    """Only root may load eBPF programs."""
    return lambda command: command


def test_agreement(sandboxed):
    """In whatever cluster, the programs allow and deny what the second reading does, by the same rules."""
    assert sandboxed(search) > 2000

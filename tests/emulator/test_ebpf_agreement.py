"""The eBPF programs and the second reading of node programs: every packet, the same fate for the same reason."""

import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
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
from ebpf_bench import LACKING, Bench, ip_packet, make_devices, same_words

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(bool(LACKING), reason=LACKING),
]
PACKETS = 40
TRACKED = {(1, 8), (1, 13), (1, 15), (1, 17), (58, 128), (58, 139)}  # ICMP types that may begin a flow


class Machines:
    """A bench per machine, kept from cluster to cluster: each program is an update of an unrelated one."""

    def __init__(self):
        self.devices = make_devices()
        self.benches = {}
        self.programs = {}
        self.packets = self.guarded = 0

    def apply(self, state):
        """Bring the compiled programs of all machines."""
        self.programs = Compiler().compile(state)
        for name, program in self.programs.items():
            if name not in self.benches:
                self.benches[name] = Bench(self.devices)
            self.benches[name].apply(program, (*state.hosts[name].addresses, "127.0.0.1", "::1"))
        self.guarded += any(program.host_endpoints for program in self.programs.values())

    def fate(self, state, one):
        """What the programs do with the first packet of a flow, machine by machine, and who said so."""
        source, destination = place(state, one.source), place(state, one.destination)
        stays = source[0] == destination[0] and (source[1] or destination[1])
        said = "allowed"
        if source[0] in self.programs:
            said = self.leaves(one, source, destination, stays)
        if source[1] and not destination[1]:
            one = self.translated(state, one, source[0])
        if said == "allowed" and destination[0] in self.programs and not stays:
            said = self.arrives(one, source, destination)
        for bench in self.benches.values():
            bench.forget_flows()
        return said

    def leaves(self, one, source, destination, stays):
        """At the source's machine: its pod's interface, then the one it leaves by."""
        bench, pod, target = self.benches[source[0]], source[1], destination[1]
        frame, mark, came_by = ip_packet(one), 0, 0
        if pod is not None:
            said = bench.run("egress", pod.interface, frame)
            mark, came_by = bench.mark, bench.interfaces[pod.interface]
            if said != "allowed" or (stays and target is None):
                return said
            if target is None:  # by then the address is translated; the mark still knows which it was
                frame = ip_packet(
                    msgspec.structs.replace(one, source="192.0.2.77" if one.family == 4 else "2001:db8::77")
                )
        if stays:
            return bench.run("ingress", target.interface, frame, came_by=came_by, mark=mark)
        out = "lo" if source[0] == destination[0] else "eth0"
        return bench.run("host egress", out, frame, came_by=came_by, mark=mark)

    def arrives(self, one, source, destination):
        """At the destination's machine: the interface it comes by, then its pod's."""
        bench, frame = self.benches[destination[0]], ip_packet(one)
        way = "lo" if source[0] == destination[0] else "eth0"
        said = bench.run("host ingress", way, frame)
        if said != "allowed" or destination[1] is None:
            return said
        came_by = bench.interfaces[way]
        return bench.run("ingress", destination[1].interface, frame, came_by=came_by, mark=bench.mark)

    def translated(self, state, one, machine):
        """NAT-1: the node's address for what goes to no pool."""
        program = self.programs[machine]
        mine = [text for text in state.hosts[machine].addresses if (":" in text) == (one.family == 6)]
        if mine and holds(program.nat_sources, one.source) and not holds(program.pools, one.destination):
            return msgspec.structs.replace(one, source=mine[0])
        return one

    def disagreement(self, state, one):
        """What differs on one packet; None if nothing does, or nobody asks the programs."""
        source, destination = place(state, one.source), place(state, one.destination)
        if source[1] is not None and source == destination:
            return None  # to itself
        self.packets += 1
        said, wanted = self.fate(state, one), decide(self.programs, state, one)
        if one.protocol in (1, 58) and (one.protocol, one.icmp_type) not in TRACKED:
            tracked = source[1] or (destination[1] and source[0] != destination[0])
            return f"{one} begins no flow, yet it is allowed" if tracked and said == "allowed" else None
        if (said == "allowed") is wanted.allowed and (wanted.allowed or said == same_words(wanted.where)):
            return None
        return f"{one}: the kernel says {said}, the second reading {wanted.where}"


def place(state, address):
    """(machine, pod) of an address; a machine's own has no pod, a stranger's neither."""
    keys = state.addresses.get(address)
    if keys:
        return state.endpoints[keys[0]].node, state.endpoints[keys[0]]
    return next((name for name, host in sorted(state.hosts.items()) if address in host.addresses), ""), None


def holds(nets, address):
    """Whether an address lies in one of some nets."""
    return any(ip_address(address) in ip_network(net) for net in nets)


def search():
    """Clusters and packets by Hypothesis; how many packets were compared, how many clusters had host endpoints."""
    machines = Machines()

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(clusters())
    def agree(resources):
        try:
            state = built(resources)
        except InvalidInputError:
            return
        about = interest(state)
        machines.apply(state)
        if not has_pods(about):
            return
        choices = Seeded(str(state.seq))
        for _ in range(PACKETS):
            difference = machines.disagreement(state, packet(choices, about))
            assert difference is None, difference

    agree()
    return [machines.packets, machines.guarded]


@pytest.fixture
def as_user():
    """Only root may load eBPF programs."""
    return lambda command: command


def test_agreement(sandboxed):
    """In whatever cluster, the programs allow and deny what the second reading does, by the same rules."""
    packets, guarded = sandboxed(search)
    assert packets > 2000
    assert guarded > 10

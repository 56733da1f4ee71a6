"""What the eBPF dataplane takes over: the connections of an agent that died, and of the kernel (CT-3)."""

import os
import signal
import socket
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from immutables import Map

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import Lab, policy, program, rule

from emulator.dataplane import DATAPLANES
from emulator.dataplane.ebpf import layout
from emulator.dataplane.ebpf.adoption import entries
from emulator.dataplane.ebpf.bench import Bench, lacking, make_devices
from emulator.dataplane.ebpf.conntrack import Connection, Ends
from emulator.dataplane.ebpf.frames import ip_packet
from reference.packet import Packet
from reference.program.types import HostEndpointProgram

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
]
END = "deny by end of tier (ingress, tier default)"
CLOSED = {"ingress": [("default", "deny", ["np:shop/no"])], "policies": [policy("np:shop/no")]}


@pytest.fixture
def as_user():
    """Only root may load eBPF programs."""
    return lambda command: command


def agent_that_dies(wanted):
    """Another agent of this node, killed once it has applied a program."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            DATAPLANES["ebpf"]().apply(wanted)
            os.write(done, b".")
            signal.pause()
        finally:
            os._exit(1)
    os.read(ready, 1)
    return lambda: (os.kill(pid, signal.SIGKILL), os.waitpid(pid, 0))


@contextmanager
def connection(lab, port, source=1, target=2, family=4):
    """A connection: a function that sends a word over it, and one back, and says what came."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_STREAM
    with lab.socket_in(target, *kind) as server, lab.socket_in(source, *kind) as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((lab.address(target, family), port))
        server.listen()
        client.settimeout(3)
        client.connect((lab.address(target, family), port))
        accepted, _ = server.accept()
        accepted.settimeout(3)

        def talk(word):
            try:
                client.send(word.encode())
                accepted.send(accepted.recv(100)[::-1])
                return client.recv(100)[::-1].decode()
            except TimeoutError:
                return "timed out"

        with accepted:
            yield talk


def killed():
    """A connection whose agent is killed, meanwhile, and after a successor came with a program that denies it anew."""
    lab = Lab("ebpf")
    allow_80 = policy("np:shop/web", [rule("allow", 0, protocol=6, destination_ports=(80,))])
    kill = agent_that_dies(program(ingress=[("default", "deny", ["np:shop/web"])], policies=[allow_80]))
    with connection(lab, 80) as talk:
        kill()
        said = [talk("without an agent"), lab.tcp(1, 2, 81)]
        lab.dataplane = DATAPLANES["ebpf"]()
        lab.drops = lab.dataplane.drops("node-1")
        said += [talk("with one that has no program yet")]
        lab.apply(program(**CLOSED))
        said += [talk("with its program"), lab.tcp(1, 2, 82), talk("for ever")]
    return said


def test_a_successor_takes_over_connections(sandboxed):
    """After SIGKILL what is open goes on and what is denied stays so; the successor's policy holds for what is new."""
    words = ["without an agent", "nothing", "with one that has no program yet", "with its program"]
    words += [f"{END} at cali2", "for ever"]
    assert sandboxed(killed) == words


def switched(family):
    """Connections under nftables of all directions, then under eBPF alone, with a program that denies all."""
    lab = Lab("nftables")
    lab.apply(program())
    with connection(lab, 80, family=family) as local, connection(lab, 80, "out", 1, family) as arriving:
        with connection(lab, 81, 1, "out", family) as leaving:
            old, lab.dataplane = lab.dataplane, DATAPLANES["ebpf"]()
            lab.drops = lab.dataplane.drops("node-1")
            lab.apply(program(**CLOSED))
            old.clean()
            said = [talk("goes on") for talk in (local, arriving, leaving)]
        return [*said, lab.tcp(1, 2, 82, family), lab.tcp("out", 1, 82, family)]


@pytest.mark.parametrize("family", [4, 6])
def test_connections_older_than_the_programs_go_on(sandboxed, family):
    """CT-3: what the kernel knows as open when the programs come is let through, whatever policy says of new ones."""
    assert sandboxed(switched, family) == ["goes on"] * 3 + [f"{END} at cali2", f"{END} at cali1"]


def first_guard():
    """A connection to the machine itself, then the first host endpoint there, which denies everything."""
    lab = Lab("ebpf")
    lab.apply(program())
    with connection(lab, 80, "out", "node") as talk:
        said = [talk("before")]
        shut = next(walk.id for walk in program(**CLOSED).walks.values() if walk.tiers)
        guard = HostEndpointProgram(name="h", interface="up0", ingress=shut, egress="")
        lab.apply(program(**CLOSED, host_endpoints=Map({"up0": guard})))
        said += [talk("behind it"), lab.tcp("out", "node", 82)]
    return said


def test_connections_older_than_a_host_endpoint_go_on(sandboxed):
    """CT-3: the first host endpoint of a machine does not cut the connections it finds."""
    assert sandboxed(first_guard) == ["before", "behind it", f"{END} at up0"]


def never_tracked(family):
    """Connections of the machine itself, of which nothing was ever tracked, when a guard comes that denies all."""
    lab = Lab("ebpf")
    with connection(lab, 80, "out", "node", family) as arriving, connection(lab, 81, "node", 2, family) as leaving:
        said = [arriving("before"), leaving("before")]
        shut = next(walk.id for walk in program(**CLOSED).walks.values() if walk.tiers)
        guard = HostEndpointProgram(name="h", interface="up0", ingress=shut, egress="")
        lab.apply(program(**CLOSED, host_endpoints=Map({"up0": guard})))
        said += [arriving("behind it"), leaving("behind it"), lab.tcp("out", "node", 82, family)]
    return said


@pytest.mark.parametrize("family", [4, 6])
def test_sockets_of_the_machine_are_connections(sandboxed, family):
    """CT-3: also what was open before the kernel tracked anything goes on, if it is the machine's own."""
    assert sandboxed(never_tracked, family) == ["before"] * 2 + ["behind it"] * 2 + [f"{END} at up0"]


WAYS = (("egress", "cali1", ("1", "2")), ("ingress", "cali1", ("2", "1")), ("egress", "cali1", ("1", "1")))


def places():
    """Whether the programs keep flows where `layout.flow_key` says, both ways, for every kind of packet."""
    node, wrong = Bench(make_devices()), []
    node.apply(program())
    kinds = [(6, {}), (17, {}), (132, {}), (1, {"icmp_type": 8}), (1, {"icmp_type": 13}), (47, {})]
    for family in (4, 6):
        for protocol, more in kinds + ([(58, {"icmp_type": 128})] if family == 6 else []):
            for hook, interface, ends in WAYS:
                node.forget_flows()
                source, target = (f"{'10.0.0.' if family == 4 else 'fd00::'}{end}" for end in ends)
                ports = (0, 0) if more or protocol == 47 else (700, 80)
                one = Packet(
                    source=source,
                    destination=target,
                    protocol=protocol,
                    source_port=ports[0],
                    destination_port=ports[1],
                    **more,
                )
                node.run(hook, interface, ip_packet(one, echo=5))
                ports = (5, 5) if more else ports
                wanted = layout.flow_key(
                    node.interfaces[interface], protocol, source, target, ports, more.get("icmp_type", 0)
                )
                found = dict(node.object.maps["flows"].items())
                if list(found) != [wanted.key] or found[wanted.key][8] != wanted.from_low:
                    wrong.append([family, protocol, hook])
    return wrong


def test_flows_are_where_the_programs_look(sandboxed):
    """A flow that is written here is the one that the programs would have written."""
    assert sandboxed(places) == []


OPENED = Ends("10.0.0.1", "203.0.113.9", 700, 80)
TRANSLATED = Ends("203.0.113.9", "192.0.2.1", 80, 41000)
# a connection, and the interfaces that know it: 7 and 8 are pods', 3 the machine's own
KNOWN_AT = [
    (Ends("10.0.0.1", "10.0.0.2", 7, 8), [7, 8]),
    (OPENED, [7, 3]),
    (Ends("203.0.113.9", "10.0.0.2", 7, 8), [8, 3]),
    (Ends("203.0.113.9", "192.0.2.1", 7, 8), [3]),
]


@pytest.mark.parametrize(("ends", "interfaces"), KNOWN_AT)
def test_a_connection_is_known_at_each_interface_it_passes(ends, interfaces):
    """A pod's interface and the machine's own; between two pods of the machine, theirs alone."""
    found = dict(entries([Connection(6, ends, ends.turned, True)], {"10.0.0.1": 7, "10.0.0.2": 8}, [3], 99))
    ports = ends.source_port, ends.destination_port
    wanted = [layout.flow_key(at, 6, ends.source, ends.destination, ports) for at in interfaces]
    assert found == {place.key: layout.flow(99, from_low=place.from_low, replied=True) for place in wanted}


def test_a_translated_connection_leaves_under_its_other_source():
    """The pod's interface knows it untranslated, the machine's own both ways."""
    one = Connection(6, OPENED, TRANSLATED, False)
    found = set(dict(entries([one], {"10.0.0.1": 7}, [3], 99)))
    inside = (OPENED.source, OPENED.destination, (700, 80))
    outside = ("192.0.2.1", OPENED.destination, (41000, 80))
    assert found == {layout.flow_key(at, 6, *ends).key for at, ends in ((7, inside), (3, inside), (3, outside))}

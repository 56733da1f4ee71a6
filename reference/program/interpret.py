"""The second reading: what node programs say of a packet, executed in pure Python as a dataplane would.

Nothing here knows of the user's resources. From the state it takes only what the network itself knows: which address
sits behind which interface, which belongs to a host, and between which nodes there is a tunnel. It must agree with the
oracle on every packet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from immutables import Map

from reference.endpoints import Family, Host, WorkloadEndpoint
from reference.packet import Packet
from reference.program.machine import WORKLOADS, Decision, Machine
from reference.program.matches import ByIdentity, Facts
from reference.program.nets import Cover, net
from reference.program.types import NodeProgram
from reference.state import State

__all__ = ["Decision", "decide"]

_FABRIC, _LOOPBACK = "eth0", "lo"
_TUNNEL: dict[Family, str] = {4: "wireguard.cali", 6: "wg-v6.cali"}


class _Place(NamedTuple):
    """What the network knows of an address."""

    endpoint: WorkloadEndpoint | None
    host: Host | None

    @property
    def machine(self) -> str:
        """Where the address lives; empty if it is nobody's."""
        if self.endpoint is not None:
            return self.endpoint.node
        return "" if self.host is None else self.host.name


def decide(programs: Mapping[str, NodeProgram], state: State, packet: Packet) -> Decision:
    """What the machines' programs do with the first packet of a flow.

    A pod to itself never leaves the pod, and a node to its own pod meets no policy (CT-1). All else goes through the
    hooks of the source's machine, and then through those of the destination's if that is another one.
    """
    facts = _facts(packet)
    source, destination = _place(state, facts.source), _place(state, facts.destination)
    if source.endpoint is not None and source.endpoint is destination.endpoint:
        return Decision(True, f"{source.endpoint.name} to itself: never leaves the pod")
    return _Passage(programs, state, facts, source, destination).run()


class _Passage:
    """The hooks a packet passes, machine by machine."""

    def __init__(
        self, programs: Mapping[str, NodeProgram], state: State, facts: Facts, source: _Place, destination: _Place
    ) -> None:
        self._programs = programs
        self._state = state
        self._facts = facts
        self._source = source
        self._destination = destination
        self._last = Decision(True, "no policy on the way")

    def run(self) -> Decision:
        dropped = self._leave() if self._source.machine else None
        if dropped is None and self._destination.machine and not self._stays:
            dropped = self._arrive()
        return dropped or self._last

    @property
    def _stays(self) -> bool:
        """The packet does not reach another machine, nor the loopback interface of this one."""
        if self._source.machine != self._destination.machine:
            return False
        return self._source.endpoint is not None or self._destination.endpoint is not None

    def _leave(self) -> Decision | None:
        pod, target = self._source.endpoint, self._destination.endpoint
        machine = self._machine(self._source.machine)
        if pod is None:
            if self._stays:
                out = WORKLOADS
            else:
                out = _LOOPBACK if self._source.machine == self._destination.machine else _FABRIC
            return self._note(machine, machine.output(out))
        dropped = machine.prerouting(WORKLOADS)
        if dropped is not None:
            return dropped
        if self._stays and target is None:
            return self._note(machine, machine.from_workload_to_host(pod.interface, pod.name))
        dropped = machine.forward_in(WORKLOADS) or machine.from_workload(pod.interface, pod.name)
        if dropped is None and self._stays and target is not None:
            dropped = machine.to_workload(target.interface, target.name)
        dropped = dropped or machine.forward_out(WORKLOADS if self._stays else self._link())
        self._translate()
        return self._note(machine, dropped)

    def _arrive(self) -> Decision | None:
        pod = self._destination.endpoint
        machine = self._machine(self._destination.machine)
        came_by = _LOOPBACK if self._source.machine == self._destination.machine else self._link()
        dropped = machine.prerouting(came_by)
        if pod is None:
            return self._note(machine, dropped or machine.input(came_by))
        dropped = dropped or machine.forward_in(came_by) or machine.to_workload(pod.interface, pod.name)
        return self._note(machine, dropped or machine.forward_out(WORKLOADS))

    def _note(self, machine: Machine, dropped: Decision | None) -> Decision | None:
        self._last = machine.last
        return dropped

    def _machine(self, name: str) -> Machine:
        program = self._programs.get(name)
        if program is None:
            program = NodeProgram(node=name, seq=0, sets=Map(), policies=Map(), walks=Map(), endpoints=Map())
        return Machine(program, self._facts)

    def _link(self) -> str:
        """The device between the two machines: a tunnel for pods of two nodes that both encrypt (WG-8)."""
        if self._source.endpoint is None or self._destination.endpoint is None or not self._state.encryption:
            return _FABRIC
        keys = self._state.public_keys
        claims = Counter(keys.values())
        ends = (self._source.machine, self._destination.machine)
        able = all(claims[keys.get(end, "")] == 1 and self._address(end) for end in ends)
        return _TUNNEL[self._facts.family] if able else _FABRIC

    def _translate(self) -> None:
        """NAT-1: what leaves for no pool takes the node's address, whoever it is for; between pools nothing does."""
        program = self._programs.get(self._source.machine)
        if program is None:
            return
        facts = self._facts
        sources, pools = _cover(program.nat_sources), _cover(program.pools)
        address = self._address(self._source.machine)
        leaves = not pools[facts.family].holds(facts.destination_number)
        if address and leaves and sources[facts.family].holds(facts.source_number):
            self._facts = facts._replace(source=address, source_number=_address(address)[2])

    def _address(self, machine: str) -> str:
        host = self._state.hosts.get(machine)
        found = () if host is None else host.addresses
        return next((text for text in found if _address(text)[0] == self._facts.family), "")


def _covers(nets: frozenset[str]) -> dict[Family, Cover]:
    parsed = [net(text) for text in nets]
    families: tuple[Family, Family] = (4, 6)
    return {family: Cover(family, [each for each in parsed if each.family == family]) for family in families}


_cover: ByIdentity[frozenset[str], dict[Family, Cover]] = ByIdentity(_covers, most=256)


@lru_cache(maxsize=65536)
def _address(text: str) -> tuple[Family, str, int]:
    """The family, canonical text and number of an address."""
    parsed = ip_address(text)
    return 4 if parsed.version == 4 else 6, str(parsed), int(parsed)


def _facts(packet: Packet) -> Facts:
    family, source, source_number = _address(packet.source)
    _, destination, destination_number = _address(packet.destination)
    return Facts(
        family=family,
        protocol=packet.protocol,
        source=source,
        source_number=source_number,
        source_port=packet.source_port,
        destination=destination,
        destination_number=destination_number,
        destination_port=packet.destination_port,
        icmp_type=packet.icmp_type,
        icmp_code=packet.icmp_code,
    )


def _place(state: State, address: str) -> _Place:
    """Of several endpoints that hold an address, the first to have it; of several hosts, the first by name."""
    keys = state.addresses.get(address)
    if keys:
        return _Place(state.endpoints[keys[0]], None)
    return _Place(None, _hosts(state.hosts).get(address))


def _by_address(hosts: Mapping[str, Host]) -> dict[str, Host]:
    return {address: host for _, host in sorted(hosts.items(), reverse=True) for address in host.addresses}


_hosts: ByIdentity[Mapping[str, Host], dict[str, Host]] = ByIdentity(_by_address, most=64)

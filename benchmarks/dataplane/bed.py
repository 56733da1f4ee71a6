"""Two nodes joined by a cable, their pods and a dataplane: what is measured on. Lives inside a sandbox."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from benchmarks.dataplane.shapes import NAMESPACE, NODES, OTHER, Policies, compiled
from emulator import namespaces, sysctl
from emulator.dataplane import DATAPLANES
from emulator.dataplane.contract import Dataplane
from emulator.namespaces import NetworkNamespace, Worker
from emulator.netlink import Batch, RouteSocket
from emulator.pods import HOST_MAC, PodNetwork
from emulator.routes import RouteTable
from reference.endpoints import WorkloadEndpoint
from reference.errors import EnvironmentLacksError, MuslinError
from reference.program.types import NodeProgram
from reference.routes import node_routes
from reference.state import State

NO_DATAPLANE = ""
_LO, _CABLE = 1, 500
_FIRST_OTHER = 10_000  # interface index
_HIGH = 3000
# All beds share the kernel's one table of connections. What the others have closed must not fill it.
_FORGETFUL = {"net/netfilter/nf_conntrack_tcp_timeout_time_wait": "2"}


class Machine:
    """A node's namespace and what works in it, as a node's agent has it, without the look-outs for drift and drops."""

    def __init__(self, name: str, state: State) -> None:
        """A node and its pods, which no dataplane guards."""
        self.name = name
        self.namespace: NetworkNamespace = namespaces.create()
        self.worker = Worker(self.namespace, name)
        self.dataplane: Dataplane | None = None
        self._pods = PodNetwork(name)
        self._others: NetworkNamespace | None = None
        local = [endpoint for endpoint in state.endpoints.values() if endpoint.node == name]
        self._own = [endpoint for endpoint in local if not endpoint.pod.startswith(OTHER)]
        others = sorted((endpoint for endpoint in local if endpoint.pod.startswith(OTHER)), key=lambda e: e.pod)
        self.worker.call(self._attach, others)

    def _attach(self, others: Sequence[WorkloadEndpoint]) -> None:
        self._pods.prepare()
        self._pods.update(self._own)
        for endpoint in self._own:
            _out_of_the_way(self._pods.namespace_of(endpoint))
        if others:
            self._others = namespaces.create()
            with RouteSocket() as kernel:
                kernel.send(_interfaces(others, self._others))

    def load(self, dataplane: str) -> None:
        """Make the dataplane that is to guard it.

        Raises:
            EnvironmentLacksError: the machine lacks what it needs.
        """
        self.dataplane = self.worker.call(DATAPLANES[dataplane])

    def apply(self, program: NodeProgram) -> None:
        """Have the dataplane make the kernel be a program."""
        assert self.dataplane is not None
        self.worker.call(self.dataplane.apply, program)

    def route(self, state: State) -> None:
        """The routes between pods and to the other node."""
        self.worker.call(lambda: RouteTable().apply(node_routes(state, self.name)))

    def pod(self, endpoint: WorkloadEndpoint) -> NetworkNamespace:
        """The namespace of one of the pods that take part."""
        return self._pods.namespace_of(endpoint)

    def let_go(self) -> None:
        """Close the dataplane's descriptors; the kernel goes on as programmed."""
        if self.dataplane is not None:
            self.worker.call(self.dataplane.close)
            self.dataplane = None

    def close(self) -> None:
        """Remove the node and its pods."""
        self.let_go()
        self.worker.call(self._pods.close)
        self.worker.close()
        if self._others is not None:
            self._others.close()
        self.namespace.close()


class Bed:
    """Two such nodes under some policies."""

    def __init__(self, dataplane: str, policies: Policies) -> None:
        """Build it; what is programmed stays until the sandbox ends.

        Raises:
            EnvironmentLacksError: the machine lacks what the dataplane needs.
        """
        self.policies = policies
        state, programs = compiled(policies)
        self._endpoints = {
            endpoint.pod: endpoint for endpoint in state.endpoints.values() if not endpoint.pod.startswith(OTHER)
        }
        self._machines = {name: Machine(name, state) for name in NODES}
        _join(*(self._machines[name] for name in NODES), state=state)
        for machine in self._machines.values():
            if dataplane != NO_DATAPLANE:
                machine.load(dataplane)
                machine.apply(programs[machine.name])
            machine.route(state)
            machine.let_go()

    def pod(self, name: str) -> NetworkNamespace:
        """A pod's namespace."""
        endpoint = self._endpoints[name]
        return self._machines[endpoint.node].pod(endpoint)

    def address(self, name: str, family: int) -> str:
        """A pod's address.

        Raises:
            MuslinError: it has none of that family.
        """
        for address in self._endpoints[name].addresses:
            if (":" in address) == (family == 6):
                return address
        raise MuslinError(f"{NAMESPACE}/{name} has no IPv{family} address")


def _interfaces(others: Iterable[WorkloadEndpoint], behind: NetworkNamespace) -> Batch:
    """Host sides of pods that send nothing: what a program names is there, and one namespace is behind all of them."""
    batch = Batch()
    for index, endpoint in enumerate(others, _FIRST_OTHER):
        mac = f"02:bb:00:00:{index >> 8:02x}:{index & 255:02x}"
        batch.veth_add(endpoint.interface, index, HOST_MAC, f"p{index}", index, mac, behind.fd)
        batch.link_up(index)
    return batch


def _out_of_the_way(namespace: NetworkNamespace) -> None:
    """Give it a high descriptor: libnftables waits by select(), which ends the process on one above 1,023."""
    if namespace.fd < _HIGH:
        high = fcntl.fcntl(namespace.fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)
        os.close(namespace.fd)
        namespace.fd = high


def _join(left: Machine, right: Machine, *, state: State) -> None:
    """A cable between two nodes, and their addresses on it."""
    cable = Batch()
    cable.veth_add("eth0", _CABLE, "02:aa:00:00:00:01", "eth0", _CABLE, "02:aa:00:00:00:02", right.namespace.fd)
    for machine, batch in ((left, cable), (right, Batch())):
        batch.link_up(_LO)
        batch.link_up(_CABLE)
        for address in _fabric_addresses(machine, state):
            batch.address_add(_CABLE, address, 24 if address.version == 4 else 64)
        machine.worker.call(_plug_in, batch)


def _fabric_addresses(machine: Machine, state: State) -> list[IPv4Address | IPv6Address]:
    return [ip_address(text) for text in state.hosts[machine.name].addresses]


def _plug_in(batch: Batch) -> None:
    with RouteSocket() as kernel:
        kernel.send(batch)
    sysctl.write({"net/ipv4/conf/eth0/rp_filter": "0"})
    with suppress(EnvironmentLacksError):  # a kernel without connection tracking, or an ordinary user
        sysctl.write(_FORGETFUL)

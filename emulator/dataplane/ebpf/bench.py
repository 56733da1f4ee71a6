"""The programs of one machine on a bench: loaded and filled as on a node, run on crafted packets, with no network.

Of the interfaces only their indices matter, so all machines may share a handful of idle ones.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal

from emulator.dataplane.contract import Applied
from emulator.dataplane.ebpf import build, layout
from emulator.dataplane.ebpf.frames import frame
from emulator.dataplane.ebpf.generations import References
from emulator.dataplane.ebpf.layout import Event
from emulator.dataplane.ebpf.libbpf import Object, Ring, TestRun
from emulator.dataplane.ebpf.tables import Tables
from emulator.dataplane.unions import Unions
from emulator.netlink import Batch, RouteSocket
from reference.errors import EnvironmentLacksError
from reference.program.interpret import Decision
from reference.program.types import NodeProgram

Hook = Literal["egress", "ingress", "host ingress", "host egress"]  # a pod's, and the machine's own
HOST_INTERFACES = ("eth0", "lo", "wireguard.cali", "wg-v6.cali")
ALLOWED = "allowed"
_SIZES = {"flows": 256, "fragments": 64, "code": 1 << 14, "counts": 1 << 14, "policies": 1 << 16, "wide": 1 << 18}
_PROGRAMS: dict[Hook, str] = {
    "egress": "from_workload",
    "ingress": "to_workload",
    "host ingress": "from_host_interface",
    "host egress": "to_host_interface",
}


def lacking() -> str:
    """What this machine or user lacks to load the programs; empty if nothing."""
    if os.geteuid() != 0:
        return "only root may load eBPF programs (CAP_BPF, CAP_NET_ADMIN)"
    try:
        build.programs()
    except EnvironmentLacksError as error:
        return str(error)
    return ""


def make_devices(count: int = 16) -> list[int]:
    """Idle interfaces in the calling thread's network namespace, which must be a private one; their indices."""
    first = 1000
    batch = Batch()
    for index in range(first, first + count):
        batch.link_add(f"d{index}", "bridge", index)
    with RouteSocket() as kernel:
        kernel.send(batch)
    return [index for index, _ in socket.if_nameindex() if index >= first]


class Bench:
    """One machine."""

    def __init__(self, devices: Sequence[int], sizes: Mapping[str, int] | None = None) -> None:
        """Load the programs, with maps of these sizes.

        Raises:
            EnvironmentLacksError: the programs are not compiled, or may not be loaded.
        """
        self.references = References()
        self.object = Object(build.programs(), sizes or _SIZES)
        self.tables = Tables(self.object, self.references)
        self._unions = Unions()
        self.interfaces: dict[str, int] = {}
        self.mark = 0  # of the packet that ran last: what it takes along to the next hook
        self.begun = self.flipped = 0  # updates
        self.programs = {hook: TestRun(self.object.programs[name]) for hook, name in _PROGRAMS.items()}
        self.ring = Ring(self.object.maps["drops"])
        self.devices = devices

    def apply(self, program: NodeProgram, host: Iterable[str] = ()) -> Applied:
        """Bring a program and let it decide. `host`: the machine's own addresses."""
        names = (*HOST_INTERFACES, *sorted(program.endpoints))
        if len(names) > len(self.devices):
            raise EnvironmentLacksError(f"{program.node}: {len(names)} interfaces, {len(self.devices)} on the bench")
        self.interfaces = dict(zip(names, self.devices, strict=False))
        self.tables.account.operations = self.tables.account.bytes = 0
        self.tables.know_host(frozenset(host))
        self.begun += 1
        self.tables.bring(self._unions.extend(program), self.interfaces)
        self.tables.flip(tracing=False)
        self.flipped += 1
        return Applied(self.tables.account.operations, self.tables.account.bytes)

    def run(self, hook: Hook, interface: str, packet: bytes, *, came_by: int = 1, mark: int = 0) -> str:
        """What becomes of a packet: "allowed", or what was told of its drop. `came_by` 0: it is the machine's own."""
        return self.run_frame(hook, self.interfaces[interface], frame(packet), came_by, mark)

    def run_frame(self, hook: Hook, interface: int, data: bytes, came_by: int, mark: int) -> str:
        """The same for a frame, on an interface by its index."""
        result, self.mark, _ = self.programs[hook](data, interface, came_by=came_by, mark=mark)
        drops = [event for event in map(layout.event, self.ring.drain()) if event.kind == layout.DROPPED]
        if result == layout.TC_ALLOWED and not drops:
            return ALLOWED
        if result == layout.TC_DROPPED:
            return self._words(drops[0]) if drops else "silent"
        return f"returned {result}, and told of {len(drops)} drops"

    def _words(self, event: Event) -> str:
        if event.reference in layout.GUARDS:
            return str(layout.guard_reference(event.reference, event.direction))
        return str(self.references.rule(event.reference))

    def forget_flows(self, *, fragments: bool = True) -> None:
        """As if nothing had ever passed; `fragments` is false where none has."""
        for name in ("flows", "fragments")[: 1 + fragments]:
            table = self.object.maps[name]
            table.remove_all([key for key, _ in table.items()])

    def close(self) -> None:
        """Let go of maps and programs."""
        self.ring.close()
        self.object.close()


def in_words_of_the_kernel(decision: Decision) -> str:
    """The second reading's decision as the kernel reports it."""
    return ALLOWED if decision.allowed else _reported(decision.where)


@lru_cache(maxsize=65536)
def _reported(where: str) -> str:
    where = re.sub(r"\((\w+) of [^,)]+", r"(\1", where)
    where = re.sub(r"rule -1 of \S+", "end of tier", where)
    return where.replace(", tier __PROFILE__)", ")") if where.startswith("no profile") else where

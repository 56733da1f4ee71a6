"""The eBPF dataplane: loads the programs, keeps the tables, attaches, reads back and counts."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec

from emulator.dataplane.collector import collector_paused
from emulator.dataplane.contract import Applied, Counter, Plan, RuleRef
from emulator.dataplane.ebpf import build, layout
from emulator.dataplane.ebpf.adoption import ADOPTED, Witness, estate, tell_kernel
from emulator.dataplane.ebpf.attach import HOST, WORKLOAD, Attachments
from emulator.dataplane.ebpf.events import DropRing, Interfaces, PacketTrace, Traces
from emulator.dataplane.ebpf.generations import FullError, References
from emulator.dataplane.ebpf.guard import Guard
from emulator.dataplane.ebpf.hosts import WORKLOAD_PREFIX, guarded
from emulator.dataplane.ebpf.layout import Event
from emulator.dataplane.ebpf.libbpf import Object
from emulator.dataplane.ebpf.library import BpfError
from emulator.dataplane.ebpf.listing import listing
from emulator.dataplane.ebpf.plan import FLIP, Planned, differences
from emulator.dataplane.ebpf.sizes import LARGEST, SAMPLE, SMALLEST, sizes_for
from emulator.dataplane.ebpf.tables import Tables
from emulator.dataplane.unions import Unions
from reference.errors import EnvironmentLacksError
from reference.packet import Packet
from reference.program.types import Match, NodeProgram

LASTING = (*ADOPTED, "drops", "traces", "filters")  # maps that outlive their object when it must grow
_MOST_SAID = 5  # interfaces without programs, by name
_DECIDING_PARTS = (
    "node", "sets", "policies", "walks", "endpoints", "nat_sources", "pools", "to_host", "host_endpoints", "failsafes",
    "open_ports", "encapsulation",
)  # fmt: skip
_PARTS = msgspec.structs.fields(NodeProgram)  # to ask for them takes as long as to program one rule
_MAY_NOT = frozenset({errno.EPERM, errno.EACCES})


class EbpfDataplane:
    """Makes the kernel of the network namespace it was made in be a program."""

    name = "ebpf"

    def __init__(self) -> None:
        """Load the programs, with the connections of an agent that died here. Nothing is attached before `apply`.

        Raises:
            EnvironmentLacksError: the programs are not compiled, or may not be loaded.
        """
        self._references = References()
        self._sizes = dict(SMALLEST)
        self._attachments = Attachments()
        left = estate(self._attachments)
        self._object = _load(self._sizes, left.maps, WORKLOAD, later=False)
        self._ahead: tuple[dict[str, int], Object] | None = None  # that is being loaded, with maps of these sizes
        self._hosts: Object | None = None  # the programs for the machine's own interfaces, and the same maps
        self._tables = Tables(self._object, self._references, left.epoch if left.maps else 1)
        left.close()
        self._is_successor = bool(left.maps)
        self._interfaces = Interfaces()
        self._traces = Traces(self._object.maps["filters"], self._object.maps["traces"], self._tracing_changed)
        self._guard = Guard()
        self._beside = ThreadPoolExecutor(1, "beside an apply")
        self._unions = Unions()
        self._attached: dict[str, int] = {}  # workload interfaces that carry the programs, and
        self._attached_hosts: dict[str, int] = {}  # the machine's own
        self._has_attached = False
        self._is_doubted = False  # somebody may have written to the maps
        self._trusted = True  # that they still carry them
        self._known: dict[str, int] = {}  # the interfaces that the deciding generation knows
        self._there: dict[str, int] = {}
        self._tunnels: frozenset[int] = frozenset()
        self._looked_at: dict[str, int] = {}  # the interfaces that were last looked at; among all there were, so many
        self._pods: frozenset[int] = frozenset()  # lead straight into a pod, and of them
        self._handed_over: frozenset[int] = frozenset()  # those that carry the programs
        self._host: frozenset[str] = frozenset()
        self._spoilt = False  # the idle generation is neither the old program nor a new one

    # -- apply -----------------------------------------------------------------------------------------------------

    def plan(self, program: NodeProgram) -> Planned:
        """What differs between the kernel and `program`, part by part: the maps' own entries are found by an apply.

        Raises:
            EnvironmentLacksError: this dataplane does not know a part of the program.
        """
        refuse_unknown_parts(program)
        there = {name: index for index, name in socket.if_nameindex()}
        wanted = {name: there[name] for name in there if name.startswith(WORKLOAD_PREFIX)} | guarded(program, there)
        fresh = _fresh(wanted, {**self._attached, **self._attached_hosts} if self._trusted else {})
        found = [*differences(self._tables.programmed.program, self._unions.extend(program))]
        found += [FLIP] * bool(found)
        found += [f"put programs on interface {name}" for name in sorted(fresh)]
        found += [f"put right map {name}" for name in (self._tables.wrong() if self._is_doubted else ())]
        return Planned(program, tuple(found))

    @collector_paused()
    def apply(self, wanted: NodeProgram | Plan) -> Applied:
        """Make the kernel be a program: prepare the idle generation, flip, attach what is new.

        Raises:
            EnvironmentLacksError: the kernel cannot express something; what decides was not changed.
        """
        if isinstance(wanted, NodeProgram):
            return self._apply(wanted)
        self._tables.look_anew()
        if self.drift():  # somebody was at it since the plan was made
            self.forget()
        return self._apply(wanted.program)

    def _apply(self, program: NodeProgram) -> Applied:
        """Other threads do what the kernel takes long for, while code is made out, and what nothing waits for."""
        refuse_unknown_parts(program)
        if self._tables.programmed.program is None:
            self._load_ahead(program)
        program = self._unions.extend(program)
        self._there = {name: index for index, name in socket.if_nameindex()}
        own = guarded(program, self._there)
        self._tunnels = self._attachments.without_link_header() if own else frozenset()
        known = {name: index for name, index in self._there.items() if name in program.endpoints or name in own}
        if known != self._looked_at:
            self._attachments.prepare(_fresh(known, self._looked_at).values())
        witness = self._witness(program, own)
        looking = self._beside.submit(witness.look) if witness else None
        self._decide(program, own, known)
        if witness and looking:
            witness.tell(self._object.maps["flows"], looking.result())
        self._attach(own)
        if witness:
            witness.tell(self._object.maps["flows"], witness.look())
        guarding = self._beside.submit(
            self._guard.update, [*self._attached.values()], program.nat_sources, program.pools
        )  # it lets go of the interfaces
        try:
            self._hand_over(known)
        finally:
            members = guarding.result()
        account = self._tables.account
        return Applied(account.operations + members, account.bytes)

    def _decide(self, program: NodeProgram, own: Mapping[str, int], known: dict[str, int]) -> None:
        """Let the program be what decides, where programs are attached or will be."""
        account = self._tables.account
        account.operations = account.bytes = 0
        if self._is_doubted:
            self._tables.repair(tracing=self._traces.are_on)
            self._is_doubted = False
        self._host = frozenset(map(str, self._attachments.addresses()))
        self._tables.know_host(self._host)
        if self._is_new(program, known):
            self._bring(program)
            if any(not name.startswith(WORKLOAD_PREFIX) for name in own):
                self._host_programs()  # before they are needed
            self._tables.flip(tracing=self._traces.are_on)
            self._known = known

    def drift(self) -> str:
        """Interfaces somebody took a program off, maps and a table somebody wrote to; "" if there are none."""
        if self._tables.programmed.program is None:
            return ""
        bare = self._attachments.bare(self._attached, WORKLOAD, self._object.programs)
        if self._hosts is not None:
            bare += self._attachments.bare(self._attached_hosts, HOST, self._hosts.programs)
        words = [f"no programs on interface {name}" for name in bare[:_MOST_SAID]]
        words += [f"{len(bare) - _MOST_SAID} more such interfaces"] if len(bare) > _MOST_SAID else []
        words += [f"map {name} is not as it was written" for name in self._tables.wrong()]
        return "; ".join(filter(None, (*words, self._guard.drift())))

    def forget(self) -> None:
        """At the next apply attach every program and write the table beside anew, and put right what is in the maps."""
        self._trusted, self._is_doubted = False, True
        self._tables.look_anew()
        self._guard.forget()

    def _is_new(self, program: NodeProgram, known: Mapping[str, int]) -> bool:
        programmed = self._tables.programmed.program
        return programmed is None or known != self._known or not _same(programmed, program)

    def _load_ahead(self, program: NodeProgram) -> None:
        """Begin to load programs with larger maps where a first program is likely to need them.

        Later ones grow when they must: to look takes its time.
        """
        sizes = sizes_for(program, self._sizes, SAMPLE)
        if self._ahead is None and sizes != self._sizes:
            self._ahead = sizes, self._loading(sizes)

    def _loading(self, sizes: Mapping[str, int]) -> Object:
        """Programs with new maps, connections and listeners aside; the kernel verifies them meanwhile."""
        return _load(sizes, {name: self._object.maps[name].fd for name in LASTING}, WORKLOAD, later=True)

    def _bring(self, program: NodeProgram) -> None:
        """Fill the idle generation; when a map is too small, go on with larger ones."""
        sizes = self._ahead[0] if self._ahead else self._sizes
        while True:
            try:
                if self._spoilt or sizes != self._sizes:
                    self._renew(sizes, program)
                else:
                    self._spoilt = True
                    self._tables.bring(program, self._there, self._tunnels, self._handed_over)
            except FullError:
                if max(sizes.values()) >= LARGEST:
                    raise EnvironmentLacksError(
                        f"node {program.node}: the program does not fit into maps of {LARGEST} entries"
                    ) from None
                counted = sizes_for(program, sizes, len(program.policies))
                sizes = counted if counted != sizes else {name: size * 2 for name, size in sizes.items()}
            else:
                self._spoilt = False
                return

    def _renew(self, sizes: dict[str, int], program: NodeProgram) -> None:
        """New maps, in which the same program decides as before and the next one waits; nothing is new if this fails.

        Connections and listeners stay what they are. The kernel verifies the programs while the code is made out.
        """
        renewed = self._ahead[1] if self._ahead else self._loading(sizes)
        self._ahead = None
        try:
            tables = self._moved(renewed, program)
            hosts = None if self._hosts is None else _beside(renewed)
            self._attachments.attach(self._attached, WORKLOAD, renewed.programs)
            if hosts is not None:
                self._attachments.attach(self._attached_hosts, HOST, hosts.programs)
        except BaseException:
            renewed.close()
            raise
        self._close_objects()
        self._object, self._hosts, self._tables, self._sizes = renewed, hosts, tables, sizes
        self._traces.filters = renewed.maps["filters"]

    def _moved(self, renewed: Object, program: NodeProgram) -> Tables:
        """The tables of an object that is to take over: what decides, and the next program."""
        old = self._tables.programmed
        tables = Tables(renewed, self._references, self._tables.epoch)  # packets under way are marked with it
        tables.account.did(self._tables.account.bytes, self._tables.account.operations)
        if old.program is not None:
            tables.bring(old.program, self._known, self._tunnels, self._handed_over)
            tables.flip(tracing=self._traces.are_on)
        tables.bring(program, self._there, self._tunnels, self._handed_over)
        tables.know_host(self._host)
        return tables

    def _host_programs(self) -> Mapping[str, int]:
        """Loaded when there first is something to guard."""
        self._hosts = self._hosts or _beside(self._object)
        return self._hosts.programs

    def _attach(self, own: Mapping[str, int]) -> None:
        """Every workload interface, also one that no endpoint has (POL-19), and the machine's own under a guard."""
        workloads = {name: index for name, index in self._there.items() if name.startswith(WORKLOAD_PREFIX)}
        hosts = {name: index for name, index in own.items() if name not in workloads}
        before, hosts_before = (self._attached, self._attached_hosts) if self._trusted else ({}, {})
        self._attachments.attach(_fresh(workloads, before), WORKLOAD, self._object.programs)
        if fresh := _fresh(hosts, hosts_before):
            self._attachments.attach(fresh, HOST, self._host_programs())
        self._attachments.detach(_fresh(self._attached_hosts, hosts))
        for name, index in (*workloads.items(), *hosts.items()):
            self._interfaces.learn(index, name)
        self._attached, self._attached_hosts, self._trusted, self._has_attached = workloads, hosts, True, True

    def _hand_over(self, known: dict[str, int]) -> None:
        """Send packets to pods past the host's stack: never to an interface that carries no programs yet."""
        if known != self._looked_at:
            self._pods, self._looked_at = self._attachments.leading_into_pods(), known
        pods = self._pods & frozenset(self._attached.values())
        if pods != self._handed_over:
            self._handed_over = pods
            self._tables.hand_over(pods)

    def _witness(self, program: NodeProgram, own: Mapping[str, int]) -> Witness | None:
        """Who tells of connections older than the programs (CT-3), where they are attached for the first time.

        Pods of later applies are attached before they talk; what a dead agent had is known.
        """
        hosts = _fresh({name: own[name] for name in own if not name.startswith(WORKLOAD_PREFIX)}, self._attached_hosts)
        if self._has_attached:
            return Witness({}, hosts.values()) if hosts else None
        if self._is_successor:
            return None
        ends = [
            (text, self._there[name])
            for name, one in program.endpoints.items()
            for text in one.addresses
            if name in self._there
        ]
        return Witness(dict(ends), hosts.values())

    # -- what the kernel is and saw --------------------------------------------------------------------------------

    def read_back(self) -> Mapping[str, object]:
        """Walks, policies and sets, disassembled from the maps; equal for equal programs."""
        return {**listing(self._tables, self._interfaces.name, self._reference_text), "nat": self._guard.read_back()}

    def drops(self, node: str) -> DropRing:
        """Listen to the ring buffer of drops."""
        return DropRing(node, self._object.maps["drops"], self._rule_of, self._interfaces)

    def trace(self, node: str, packet: Packet) -> PacketTrace:
        """Begin to trace packets like `packet`, whatever their source port."""
        return PacketTrace(node, self._traces, packet, self._rule_of, self._text_of, self._interfaces)

    def counters(self) -> Mapping[RuleRef, Counter]:
        """Packets and bytes each rule matched since it was programmed; a user's rule may be several in the kernel."""
        guards = {ref: Counter(packets, size) for ref, packets, size in self._tables.guard_counts() if packets}
        return {**guards, **self._tables.rule_counts()}

    def _rule_of(self, event: Event) -> RuleRef | None:
        if event.reference in layout.GUARDS:
            return layout.guard_reference(event.reference, event.direction)
        return self._references.rule(event.reference)

    def _reference_text(self, number: int) -> str:
        return layout.GUARDS.get(number) or str(self._references.rule(number))

    def _text_of(self, event: Event) -> str:
        """The rule as it was programmed, for people."""
        if event.reference == 0:
            return "established or related"
        rule = self._tables.rule_at(event.place)
        return self._reference_text(event.reference) if rule is None else _words(rule.match)

    def _tracing_changed(self, on: bool) -> None:
        self._tables.settle(tracing=on)

    # -- ends ------------------------------------------------------------------------------------------------------

    def clean(self) -> None:
        """Remove the table, which lets nothing through that no program marked, then the programs; the maps go along.

        Before that, what went past the host's stack goes through it again, and the kernel's own tracking is told of it.
        """
        flows, addresses = self._object.maps["flows"], self._tables.addresses()
        told = tell_kernel(flows, addresses)
        self._handed_over = frozenset()
        self._tables.hand_over(self._handed_over)
        tell_kernel(flows, addresses, told)
        self._guard.clean()
        self._attachments.detach({**self._attached, **self._attached_hosts})
        self._attached, self._attached_hosts = {}, {}

    def close(self) -> None:
        """Let go of everything; what is attached goes on deciding."""
        self._traces.close()
        self._attachments.close()
        self._beside.shutdown()
        self._interfaces.close()
        self._guard.close()
        self._close_objects()

    def _close_objects(self) -> None:
        self._object.close()
        if self._ahead is not None:
            self._ahead[1].close()
        if self._hosts is not None:
            self._hosts.close()


def _fresh(wanted: Mapping[str, int], there: Mapping[str, int]) -> dict[str, int]:
    return {name: index for name, index in wanted.items() if there.get(name) != index}


def _load(sizes: Mapping[str, int], shared: Mapping[str, int], programs: Collection[str], *, later: bool) -> Object:
    more = {"counts": sizes["code"], "sources": sizes["endpoints"] * 2, "pods": sizes["endpoints"] * 2}
    path = build.programs()
    try:
        return Object(path, {**sizes, **more}, shared, programs, later)
    except BpfError as error:
        if error.code in _MAY_NOT:
            raise EnvironmentLacksError(
                "the ebpf dataplane needs root (CAP_BPF and CAP_NET_ADMIN in the first user namespace): the kernel "
                "lets nobody else load eBPF programs; run as root, or use the nftables dataplane"
            ) from error
        raise


def _beside(loaded: Object) -> Object:
    """The programs for the machine's own interfaces, over the same maps. Few machines have a use for them."""
    return Object(build.programs(), {}, {name: table.fd for name, table in loaded.maps.items()}, HOST)


def refuse_unknown_parts(program: NodeProgram) -> None:
    """A part of programs that came later than this dataplane is refused, never left out (architecture rule 9)."""
    for part in _PARTS:
        known = part.name in ("seq", *_DECIDING_PARTS)
        if not known and getattr(program, part.name) != part.default:
            raise EnvironmentLacksError(
                f"node {program.node}: the ebpf dataplane cannot express {part.name.replace('_', ' ')} yet; "
                "use the nftables dataplane"
            )


def _same(one: NodeProgram, other: NodeProgram) -> bool:
    """Report whether nothing would be written; parts that are the same object cost nothing."""
    for name in _DECIDING_PARTS:
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine is not theirs and mine != theirs:
            return False
    return True


def _words(match: Match) -> str:
    """The fields of a match that say something."""
    said = {name: getattr(match, name) for name in match.__struct_fields__ if getattr(match, name) not in (None, ())}
    return ", ".join(f"{name.replace('_', ' ')} {msgspec.json.encode(value).decode()}" for name, value in said.items())

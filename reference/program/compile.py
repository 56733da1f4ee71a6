"""The compiler: from a state to the program of every node, at a cost that grows with the change.

A pure function of the state that remembers: what did not change since the last state is the same object in the new
programs. Nothing depends on the states it has seen before; a new compiler gives the same programs.

    state ── endpoints, network sets ──► items ──► Matching ──► members of sets
      │                                              │
      ├──── policies, profiles ──► CompiledPolicy ───┴────────► company of each endpoint ──► walks
      └──── tiers, pools                                                  │
                                                    NodeParts ◄───────────┘   (only what local endpoints need)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from immutables import Map

from reference.endpoints import Family
from reference.program.backends import backends
from reference.program.endpoints import Endpoints
from reference.program.hosts import KIND as HOST_ENDPOINTS
from reference.program.hosts import SettingsBook, open_ports
from reference.program.labels import Profiles, item, profile_names, resources
from reference.program.matching import ItemKey, Matching
from reference.program.nets import net
from reference.program.nodes import NodeParts
from reference.program.policies import CompiledPolicy
from reference.program.registry import Registry
from reference.program.types import Failsafes, IPSet, NodeProgram, Walk
from reference.resources import EndpointSlice, IPPool, Tier
from reference.state import State

V = TypeVar("V")
_POLICY_KINDS = (
    "NetworkPolicy",
    "GlobalNetworkPolicy",
    "KubernetesNetworkPolicy",
    "KubernetesClusterNetworkPolicy",
    "KubernetesAdminNetworkPolicy",
    "KubernetesBaselineAdminNetworkPolicy",
)
_SET_KINDS = ("NetworkSet", "GlobalNetworkSet", HOST_ENDPOINTS)  # what contributes to sets, beside pods
_NO_FAILSAFES = Failsafes()


class Compiler:
    """Compiles states to node programs; give it the states of one cluster as they come."""

    def __init__(self) -> None:
        self._memory = _Memory()

    def compile(self, state: State) -> Map[str, NodeProgram]:
        """The program of every node, and every host outside, of the state, by name.

        Raises:
            InvalidInputError: a resource that admission would have refused (a selector that does not parse).
        """
        try:
            return self._memory.move_to(state)
        except Exception:
            self._memory = _Memory()  # half an update is no memory to build on
            raise


class _Memory:
    """Everything worked out for the last state. Also where nodes get their parts."""

    def __init__(self) -> None:
        self._state = State()
        self._profiles = Profiles()
        self._matching = Matching()
        self._slices = Matching()
        self._registry = Registry(self._matching, self._slices)
        self._endpoints = Endpoints()
        self._settings = SettingsBook()
        self._nodes: dict[str, NodeParts] = {}
        self._everywhere: frozenset[str] = frozenset()  # program ids every node asks for
        self._pools: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
        self._programs: Map[str, NodeProgram] = Map()

    def walk(self, id_: str) -> Walk:
        return self._endpoints.book.walk(id_)

    def policy(self, id_: str) -> CompiledPolicy:
        return self._registry.compiled[id_]

    def sets(self, base: str) -> Mapping[Family, IPSet]:
        return self._registry.sets[base].rendered

    def move_to(self, state: State) -> Map[str, NodeProgram]:
        before, self._state = self._state, state
        endpoints = changes(before.endpoints, state.endpoints)
        self._move_items(before, state, endpoints)
        self._move_slices(before, state)
        for kind in _POLICY_KINDS:
            after = resources(state, kind)
            for key in changes(resources(before, kind), after):
                self._registry.put_policy(key, after.get(key))  # type: ignore[arg-type]  # kinds that are policies
        self._move_endpoints(before, state, endpoints)
        self._settle(state)
        if resources(before, "IPPool") is not resources(state, "IPPool"):
            pools = _pools(state)
            self._pools = self._pools if pools == self._pools else pools
        self._programs = self._assemble(state)
        return self._programs

    def _move_items(self, before: State, state: State, endpoints: list[ItemKey]) -> None:
        """Endpoints, network sets, and the labels they inherit."""
        changed = self._profiles.move_to(state)
        for name in changed:
            self._registry.put_profile(name, self._profiles.get(name))
        heirs = {key for users in changed.values() for key in users}
        self._move_kind(before.endpoints, state.endpoints, endpoints, heirs)
        for kind in _SET_KINDS:
            old, new = resources(before, kind), resources(state, kind)
            self._move_kind(old, new, changes(old, new), heirs)

    def _move_slices(self, before: State, state: State) -> None:
        """EndpointSlices inherit nothing, and only sets of services hear of them."""
        after = resources(state, "EndpointSlice")
        for key in changes(resources(before, "EndpointSlice"), after):
            found = after.get(key)
            self._slices.put(key, backends(key, found) if isinstance(found, EndpointSlice) else None)

    def _move_kind(
        self, before: Map[Any, Any], after: Map[Any, Any], changed: list[ItemKey], heirs: set[ItemKey]
    ) -> None:
        """Take over the items of one map that changed, and those whose inheritance did."""
        keys = dict.fromkeys(changed)
        keys.update(dict.fromkeys(key for key in heirs if key in after))
        for key in keys:
            old, new = before.get(key), after.get(key)
            names = () if old is None else profile_names(old), () if new is None else profile_names(new)
            fresh, gone = self._profiles.use(key, *names)
            for name in fresh:
                self._registry.put_profile(name, self._profiles.get(name))
            self._matching.put(key, None if new is None else item(key, new, self._profiles))
            for name in gone:
                self._registry.drop_profile(name)

    def _move_endpoints(self, before: State, state: State, changed: list[ItemKey]) -> None:
        tiers_moved = resources(before, "Tier") is not resources(state, "Tier")
        if tiers_moved:
            self._endpoints.book.set_tiers(state.all(Tier))
        moves = self._registry.take_moves()
        self._endpoints.move(state, changed, moves, self._node, all_walks=tiers_moved)
        guards = changes(resources(before, HOST_ENDPOINTS), resources(state, HOST_ENDPOINTS))
        self._endpoints.hosts.move(before, state, guards, moves, self._node, all_walks=tiers_moved)

    def _node(self, name: str) -> NodeParts:
        """The parts of a node, be it in the state yet or not."""
        parts = self._nodes.get(name)
        if parts is None:
            parts = self._nodes[name] = NodeParts()
            for id_ in self._everywhere:
                parts.ask_for(id_, +1)
        return parts

    def _settle(self, state: State) -> None:
        """Let every node take what has changed."""
        policies, sets, everywhere = self._registry.take_changed()
        for id_, by in everywhere.items():
            self._everywhere = (
                self._everywhere | {id_} if by > 0 else self._everywhere - {id_} if by else self._everywhere
            )
            for parts in self._nodes.values():
                parts.ask_for(id_, by)
        nodes = {host.name for host in state.hosts.values() if host.is_node}
        for name in nodes:
            self._node(name)
        for name, parts in list(self._nodes.items()):
            parts.settle(self, policies, sets)
            if name not in nodes and not parts.endpoints and not parts.host_endpoints:
                del self._nodes[name]

    def _assemble(self, state: State) -> Map[str, NodeProgram]:
        """The programs. One in which nothing changed but the sequence number has every part of the last one."""
        nowhere: frozenset[str] = frozenset()
        programs = {}
        for host in state.hosts.values():
            parts = self._nodes.get(host.name, _IDLE)
            settings = self._settings.of(state, host.name)
            sources, pools = self._pools if host.is_node else (nowhere, nowhere)
            guarded = bool(parts.host_endpoints)
            program = NodeProgram(
                node=host.name,
                seq=state.seq,
                sets=parts.sets,
                policies=parts.policies,
                walks=parts.walks,
                endpoints=parts.endpoints,
                nat_sources=sources,
                pools=pools,
                host_endpoints=parts.host_endpoints,
                failsafes=settings.failsafes if guarded else _NO_FAILSAFES,
                open_ports=open_ports(encrypted=guarded and host.is_node and bool(state.encryption)),
                to_host=settings.to_host,
                encapsulation=settings.encapsulation,
            )
            known = self._programs.get(host.name)
            programs[host.name] = known if known is not None and _same_parts(known, program) else program
        return Map(programs)


_IDLE = NodeParts()  # of a host outside that has nothing to enforce; never changed


def _same_parts(one: NodeProgram, other: NodeProgram) -> bool:
    return all(
        getattr(one, name) is getattr(other, name) for name in NodeProgram.__struct_fields__ if name != "seq"
    ) and (one.seq == other.seq)


def _pools(state: State) -> tuple[frozenset[str], frozenset[str]]:
    """The natOutgoing pools, and all pools; disabled ones too, load balancer ones not (NAT-1)."""
    pools = [pool.spec for pool in state.all(IPPool) if "LoadBalancer" not in pool.spec.allowed_uses]
    return (
        frozenset(net(pool.cidr).text for pool in pools if pool.nat_outgoing),
        frozenset(net(pool.cidr).text for pool in pools),
    )


def changes(before: Map[Any, V], after: Map[Any, V]) -> list[Any]:
    """The keys whose value is another object, or that came or went."""
    if before is after:
        return []
    changed = [key for key, value in after.items() if before.get(key) is not value]
    came = sum(key not in before for key in changed)
    if len(before) + came != len(after):
        changed.extend(key for key in before if key not in after)
    return changed

"""Giving out addresses: from a node's own blocks, from a new block, borrowed; or one particular address.

Pure decisions: each becomes events of the plan, and the plan's state is the only memory. An `Allocator` serves one
command and keeps what is costly to find again, so that thousands of assignments in one command stay cheap.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reference import events as ev
from reference.endpoints import Family
from reference.errors import RefusedError
from reference.ipam import pools as choice
from reference.ipam.blocks import Block
from reference.ipam.ranges import address_of, block_base, listing_name, number_of, range_of, start_index
from reference.plan import Plan
from reference.resources import IPPool, Namespace, Node

ACTOR = "ipam"
BLOCK_LIMIT = 20  # affine blocks a node may have in the candidate pools (IPAM-6)
RECLAIM_AGE = 60.0  # seconds since its claim before another node's empty block may be taken (IPAM-6)
NO_LABELS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Request:
    """Who wants an address. `annotations` are the pod's own."""

    node: str
    namespace: str
    pod: str
    handle: str  # IPAM-3
    annotations: Mapping[str, str]

    @property
    def attributes(self) -> dict[str, str]:
        """What is recorded with the address (IPAM-3)."""
        return {"node": self.node, "pod": self.pod, "namespace": self.namespace}

    def __str__(self) -> str:
        return f"pod {self.namespace}/{self.pod} on {self.node}"


class Allocator:
    """Assigns addresses within one plan."""

    def __init__(self, plan: Plan) -> None:
        """Begin from the plan's blocks."""
        self._plan = plan
        self._own: dict[str, list[tuple[str, str]]] = {}  # affinity -> (listing name, CIDR), sorted
        for block in plan.progress.blocks.values():
            if block.affinity is not None:
                self._own.setdefault(block.affinity, []).append((listing_name(block.cidr), block.cidr))
        for blocks in self._own.values():
            blocks.sort()
        self._full: set[tuple[str, ...]] = set()  # lists of pools with no block left to claim
        self._candidates: dict[tuple[str, str, Family, tuple[str, ...] | None], tuple[IPPool, ...]] = {}

    def assign(self, request: Request, family: Family) -> str:
        """Any free address of a family, by IPAM-5, IPAM-6 and IPAM-7 in turn.

        Raises:
            RefusedError: no pool qualifies, the node has as many blocks as it may, or the pools are exhausted.
        """
        pools = self._pools(request, family)
        names = tuple(pool.name for pool in pools)
        found = (
            self._from_own(request, names) or self._from_new(request, pools, names) or self._borrowed(request, pools)
        )
        if found is None:
            ranges = ", ".join(f"{pool.name} ({pool.spec.cidr})" for pool in pools)
            raise RefusedError(
                f"{request}: no free IPv{family} address in {ranges}; delete pods there, or add an IPPool"
            )
        block, ordinal = found
        return self._give(request, block, ordinal)

    def assign_address(self, request: Request, address: str) -> None:
        """One particular address (IPAM-12): its block is claimed if nobody has it, borrowed from if another node has.

        Raises:
            RefusedError: no pool has the address, its pool serves other uses, or somebody holds it.
        """
        family, number = number_of(address)
        pool = next((pool for pool in self._all_pools() if range_of(pool).holds(family, number)), None)
        if pool is None or choice.USE not in pool.spec.allowed_uses:
            why = "is in no IPPool" if pool is None else f"is in pool {pool.name}, whose allowedUses lacks {choice.USE}"
            raise RefusedError(f"{request}: address {address} {why}; choose one of a pool for workloads")
        cidr = range_of(pool).block_of(number)
        block = self._plan.progress.blocks.get(cidr) or self._claim(request.node, pool, cidr)
        ordinal = number - block_base(cidr)[1]
        held = block.allocations.get(ordinal)
        if held is not None or self._in_use(address):
            holder = held.attributes if held else NO_LABELS
            whose = f" by {holder.get('namespace')}/{holder.get('pod')}" if "pod" in holder else ""
            raise RefusedError(f"{request}: address {address} is already assigned{whose}; choose another")
        self._give(request, block, ordinal)

    def released(self) -> None:
        """Take note that addresses were released: a block may have become empty."""
        self._full.clear()

    # -- the three steps -----------------------------------------------------------------------------------------------

    def _from_own(self, request: Request, pools: Sequence[str]) -> tuple[Block, int] | None:
        """Step 1: the node's own blocks within the candidate pools, in listing order (IPAM-5)."""
        for _, cidr in self._own.get(affinity(request.node), ()):
            block = self._plan.progress.blocks[cidr]
            if block.unallocated and block.pool in pools:
                ordinal = self._free(block)
                if ordinal is not None:
                    return block, ordinal
        return None

    def _from_new(self, request: Request, pools: Sequence[IPPool], names: tuple[str, ...]) -> tuple[Block, int] | None:
        """Step 2: a new block, or an old empty one of another node; never past the limit (IPAM-6)."""
        mine = self._own.get(affinity(request.node), ())
        blocks = self._plan.progress.blocks
        if len(mine) >= BLOCK_LIMIT and sum(blocks[cidr].pool in names for _, cidr in mine) >= BLOCK_LIMIT:
            raise RefusedError(
                f"{request}: {request.node} already owns {BLOCK_LIMIT} blocks in pools {', '.join(names)}, "
                "the most a node may, and all are full; place the pod on another node, or use a pool with larger blocks"
            )
        if names in self._full:
            return None
        empty: list[tuple[IPPool, Block]] = []
        for pool in pools:
            span = range_of(pool)
            for cidr in span.walk(start_index(span, request.node, self._plan.now)):
                block = blocks.get(cidr)
                if block is None:
                    ordinal = self._usable(cidr)
                    if ordinal is not None:
                        return self._claim(request.node, pool, cidr), ordinal
                elif not block.allocations:
                    empty.append((pool, block))
        return self._reclaim(request, empty, names)

    def _reclaim(
        self, request: Request, empty: Sequence[tuple[IPPool, Block]], names: tuple[str, ...]
    ) -> tuple[Block, int] | None:
        for pool, block in empty:
            ordinal = self._usable(block.cidr)
            if self._plan.now - block.claimed_at >= RECLAIM_AGE and ordinal is not None:
                self._disown(block)
                return self._claim(request.node, pool, block.cidr), ordinal
        self._full.add(names)
        return None

    def _borrowed(self, request: Request, pools: Sequence[IPPool]) -> tuple[Block, int] | None:
        """Step 3: any block of the pools with a free ordinal, whoever owns it (IPAM-7)."""
        for pool in pools:
            span = range_of(pool)
            for cidr in span.walk(start_index(span, request.node, self._plan.now)):
                block = self._plan.progress.blocks.get(cidr)
                ordinal = self._free(block) if block is not None and block.unallocated else None
                if block is not None and ordinal is not None:
                    return block, ordinal
        return None

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _give(self, request: Request, block: Block, ordinal: int) -> str:
        address = address_of(block.cidr, ordinal)
        self._plan.emit(ACTOR, ev.AddressAssigned(address, block.cidr, ordinal, request.handle, request.attributes))
        return address

    def _claim(self, node: str, pool: IPPool, cidr: str) -> Block:
        """Make a node the owner of a block that does not exist yet (IPAM-8; one command is atomic, so no `pending`)."""
        self._plan.emit(ACTOR, ev.BlockClaimed(cidr, pool.name, affinity(node), self._plan.now))
        insort(self._own.setdefault(affinity(node), []), (listing_name(cidr), cidr))
        return self._plan.progress.blocks[cidr]

    def _disown(self, block: Block) -> None:
        self._plan.emit(ACTOR, ev.BlockAffinityReleased(block.cidr))
        self._own[block.affinity or ""].remove((listing_name(block.cidr), block.cidr))
        self.released()

    def _free(self, block: Block) -> int | None:
        """The head of the free list, past addresses that are in use outside IPAM: those keep their place (IPAM-9)."""
        return next((o for o in block.unallocated if not self._in_use(address_of(block.cidr, o))), None)

    def _usable(self, cidr: str) -> int | None:
        """The first free ordinal of an empty or future block; None if it is wholly in use outside IPAM."""
        family, _, prefix = block_base(cidr)
        size = 1 << ((32 if family == 4 else 128) - prefix)
        return next((o for o in range(size) if not self._in_use(address_of(cidr, o))), None)

    def _in_use(self, address: str) -> bool:
        """Report whether an endpoint has an address, in IPAM or pinned past it (offline `status.podIP`)."""
        return address in self._plan.progress.addresses

    def _pools(self, request: Request, family: Family) -> tuple[IPPool, ...]:
        progress = self._plan.progress
        namespace = progress.get(Namespace, request.namespace)
        annotations = namespace.metadata.annotations if namespace else NO_LABELS
        requested = choice.requested_pools(family, request.annotations, annotations)
        question = (request.node, request.namespace, family, requested)
        known = self._candidates.get(question)
        if known is None:
            node = progress.get(Node, request.node)
            node_labels = node.metadata.labels if node else NO_LABELS
            labels = namespace.metadata.labels if namespace else NO_LABELS
            try:
                known = choice.candidates(self._all_pools(), family, requested, node_labels, labels)
            except RefusedError as error:
                raise RefusedError(f"{request}: {error}") from None
            self._candidates[question] = known
            if requested is None:
                self._release_unselected(request.node, node_labels)
        return known

    def _release_unselected(self, node: str, labels: Mapping[str, str]) -> None:
        """Let go of the node's empty blocks in pools that no longer select it (IPAM-4)."""
        pools = {pool.name: pool for pool in self._all_pools()}
        for _, cidr in tuple(self._own.get(affinity(node), ())):
            block = self._plan.progress.blocks[cidr]
            pool = pools.get(block.pool)
            if not block.allocations and pool is not None and not choice.selects(pool, labels):
                self._disown(block)

    def _all_pools(self) -> tuple[IPPool, ...]:
        items = self._plan.progress.resources.get("IPPool")
        return tuple(pool for pool in items.values() if isinstance(pool, IPPool)) if items else ()


def affinity(node: str) -> str:
    """A node's name as a block's owner (IPAM-1)."""
    return f"host:{node}"

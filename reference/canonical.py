"""The canonical bytes of a state: equal states, and only they, have equal bytes."""

from __future__ import annotations

import hashlib

import msgspec
from immutables import Map

from reference.endpoints import Host, WorkloadEndpoint
from reference.ipam.blocks import Allocation, Block
from reference.resources import AnyResource, Key
from reference.state import Progress, State


class _Encoded(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the bytes of a state hold, every collection sorted; the address index is made again from the endpoints."""

    seq: int
    name: str
    topology: str
    dataplane: str
    encryption: str
    resources: list[AnyResource]
    endpoints: list[WorkloadEndpoint]
    hosts: list[Host]
    failed_nodes: list[str]
    blocks: list[tuple[Block, list[tuple[int, str, dict[str, str]]], list[tuple[int, int]]]]
    handles: list[tuple[str, tuple[str, ...]]]
    public_keys: dict[str, str]
    node_dataplanes: dict[str, str] = {}


_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(_Encoded)


def encode(state: State) -> bytes:
    """The canonical bytes of a state."""
    items = sorted(item for kind in state.resources.values() for item in kind.items())
    return _ENCODER.encode(
        _Encoded(
            seq=state.seq,
            name=state.name,
            topology=state.topology,
            dataplane=state.dataplane,
            encryption=state.encryption,
            resources=[resource for _, resource in items],
            endpoints=[endpoint for _, endpoint in sorted(state.endpoints.items())],
            hosts=[host for _, host in sorted(state.hosts.items())],
            failed_nodes=sorted(state.failed_nodes),
            blocks=[_plain(block) for _, block in sorted(state.blocks.items())],
            handles=sorted(state.handles.items()),
            public_keys=dict(state.public_keys),
            node_dataplanes=dict(state.node_dataplanes),
        )
    )


def _plain(block: Block) -> tuple[Block, list[tuple[int, str, dict[str, str]]], list[tuple[int, int]]]:
    """A block without its dictionaries, and those as sorted lists: canonical JSON has no integer keys."""
    held = [(ordinal, one.handle, one.attributes) for ordinal, one in sorted(block.allocations.items())]
    bare = msgspec.structs.replace(block, allocations={}, ordinal_sequences={})
    return bare, held, sorted(block.ordinal_sequences.items())


def decode(data: bytes) -> State:
    """The state whose canonical bytes these are. Raises msgspec.DecodeError or ValidationError if they are not."""
    plain = _DECODER.decode(data)
    kinds: dict[str, dict[Key, AnyResource]] = {}
    for resource in plain.resources:
        kinds.setdefault(resource.key.kind, {})[resource.key] = resource
    progress = Progress(
        State(
            seq=plain.seq,
            name=plain.name,
            topology=plain.topology,
            dataplane=plain.dataplane,
            encryption=plain.encryption,
            resources=Map({kind: Map(items) for kind, items in kinds.items()}),
            hosts=Map({host.name: host for host in plain.hosts}),
            failed_nodes=frozenset(plain.failed_nodes),
            blocks=Map({block.cidr: _whole(block, held, last) for block, held, last in plain.blocks}),
            handles=Map(plain.handles),
            public_keys=Map(plain.public_keys),
            node_dataplanes=Map(plain.node_dataplanes),
        )
    )
    for endpoint in plain.endpoints:
        progress.put_endpoint(endpoint)
    return progress.freeze()


def _whole(block: Block, held: list[tuple[int, str, dict[str, str]]], last: list[tuple[int, int]]) -> Block:
    allocations = {ordinal: Allocation(handle, attributes) for ordinal, handle, attributes in held}
    return msgspec.structs.replace(block, allocations=allocations, ordinal_sequences=dict(last))


def state_digest(state: State) -> str:
    """SHA-256 of the canonical bytes, in hex."""
    return hashlib.sha256(encode(state)).hexdigest()

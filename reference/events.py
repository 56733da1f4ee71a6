"""The events: everything that can happen to a cluster, as frozen data in the past tense.

An event says what was decided, never how to decide it again (architecture rule 3): replay needs no policy code,
no IPAM code and no clock. `Record` is an event as the log holds it.
"""

from __future__ import annotations

import msgspec

from reference.endpoints import Host, WorkloadEndpoint
from reference.resources import AnyResource, Key


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="kind", omit_defaults=True, gc=False):
    """Base of all events; the class name is the kind in the log."""


class ClusterCreated(Event, frozen=True):
    """A cluster began: its name, and the names of its fabric and dataplane, and of nodes' own dataplanes."""

    name: str
    topology: str
    dataplane: str
    node_dataplanes: dict[str, str] = {}  # of nodes with another one


class DataplaneChosen(Event, frozen=True):
    """A machine is to go over to another dataplane, or all of them are."""

    dataplane: str
    node: str = ""  # a node or an outside host; "" for all, also those that had one of their own


class HostAttached(Event, frozen=True):
    """A node or an outside host was put on the fabric."""

    host: Host


class NodeFailed(Event, frozen=True):
    """A node stopped forwarding and answering."""

    node: str


class NodeRecovered(Event, frozen=True):
    """A failed node came back."""

    node: str


class ResourceApplied(Event, frozen=True):
    """A resource was created or replaced; this is its whole new value, defaulted and validated."""

    resource: AnyResource


class ResourceDeleted(Event, frozen=True):
    """A resource was deleted."""

    key: Key


class BlockClaimed(Event, frozen=True):
    """A node became the owner of a new block (IPAM-6, IPAM-8)."""

    cidr: str
    pool: str
    affinity: str
    claimed_at: float


class BlockAffinityReleased(Event, frozen=True):
    """A block lost its owner; an empty one is gone with it (IPAM-15)."""

    cidr: str


class AddressAssigned(Event, frozen=True):
    """An address was given out. `ordinal` is its place in the block."""

    address: str
    block: str
    ordinal: int
    handle: str
    attributes: dict[str, str] = {}


class AddressReleased(Event, frozen=True):
    """An address came back to the tail of its block's free list (IPAM-9, IPAM-13)."""

    address: str
    block: str
    ordinal: int
    handle: str


class EndpointCreated(Event, frozen=True):
    """A workload endpoint came to be, or took a new value (labels, ports)."""

    endpoint: WorkloadEndpoint


class EndpointDeleted(Event, frozen=True):
    """A workload endpoint went away."""

    namespace: str
    pod: str


class EncryptionEnabled(Event, frozen=True):
    """Pod traffic between nodes is encrypted from here on (WG-8)."""

    mode: str  # "wireguard"


class EncryptionDisabled(Event, frozen=True):
    """Pod traffic between nodes is in clear again (WG-9)."""


class KeyPublished(Event, frozen=True):
    """A node published its public key, base64 (WG-1). Private keys never come here."""

    node: str
    public_key: str


AnyEvent = (
    ClusterCreated
    | DataplaneChosen
    | HostAttached
    | NodeFailed
    | NodeRecovered
    | ResourceApplied
    | ResourceDeleted
    | BlockClaimed
    | BlockAffinityReleased
    | AddressAssigned
    | AddressReleased
    | EndpointCreated
    | EndpointDeleted
    | EncryptionEnabled
    | EncryptionDisabled
    | KeyPublished
)


class Record(msgspec.Struct, frozen=True, gc=False):
    """An event as the log holds it. `cause` is the sequence number of the first event of the same command."""

    seq: int  # 1, 2, 3 …
    time: float  # seconds since the epoch
    actor: str  # who asked: "user", "scheduler", "ipam", "node/<name>" …
    cause: int
    event: AnyEvent


class Draft(msgspec.Struct, frozen=True, gc=False):
    """An event that was decided and is not yet in the log."""

    actor: str
    event: AnyEvent

"""What a cluster is asked to be, before it is."""

from __future__ import annotations

import re

import msgspec

from reference.errors import InvalidInputError

DEFAULT_TOPOLOGY = "subnets"
DEFAULT_DATAPLANE = "nftables"
DEFAULT_NODES = 2
MOST_NODES = 100

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class ClusterSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster to bring up.

    `node_dataplanes`: the dataplanes of nodes that have another one than the rest.
    `log` is the path of the event log; empty: inside the sandbox, gone with it.
    `leased`: the supervisor ends when the process that asked for it does.
    `replay`: bring up the cluster of this existing log (opened read-only), up to `replay_at` (0: its end).
    """

    name: str
    topology: str = DEFAULT_TOPOLOGY
    nodes: int = DEFAULT_NODES
    dataplane: str = DEFAULT_DATAPLANE
    node_dataplanes: dict[str, str] = {}
    encryption: str = ""
    log: str = ""
    leased: bool = False
    replay: str = ""
    replay_at: int = 0

    def __post_init__(self) -> None:
        """Check what can be checked without the machine.

        Raises:
            InvalidInputError: a value is out of range.
        """
        if not _NAME.fullmatch(self.name):
            raise InvalidInputError(
                f"cluster name {self.name!r}: write 1-40 lower-case letters, digits and inner dashes"
            )
        if not 1 <= self.nodes <= MOST_NODES:
            raise InvalidInputError(f"{self.nodes} nodes: a cluster has 1 to {MOST_NODES}")
        if self.encryption not in ("", "wireguard"):
            raise InvalidInputError(f"encryption {self.encryption!r} is not known; it is wireguard or none")

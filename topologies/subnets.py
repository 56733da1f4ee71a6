"""`subnets`: two switches joined by a router, so that traffic between nodes may need a gateway."""

from __future__ import annotations

from topologies.description import Subnet, Topology, build
from topologies.single import RACK

SECOND_RACK = Subnet("rack-2", ("172.30.2.0/24", "fd00:30:2::/64"))


def subnets(nodes: int) -> Topology:
    """Odd nodes on the first switch, even ones on the second; the outside hosts behind the same router."""
    return build("subnets", (RACK, SECOND_RACK), nodes)

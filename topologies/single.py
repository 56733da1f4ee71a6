"""`single`: every node on one switch."""

from __future__ import annotations

from topologies.description import Subnet, Topology, build

RACK = Subnet("rack-1", ("172.30.1.0/24", "fd00:30:1::/64"))


def single(nodes: int) -> Topology:
    """One switch for all nodes; the outside hosts behind a router."""
    return build("single", (RACK,), nodes)

"""Fabrics: nodes, hosts, switches and routers as Mininet builds them.

`TOPOLOGIES` maps a name to the function that describes a fabric for a number of nodes. Importing this package imports
neither Mininet nor anything of Linux; `topologies.fabric` builds a description for real.
"""

from __future__ import annotations

from collections.abc import Callable

from topologies.description import Topology, hosts
from topologies.single import single
from topologies.subnets import subnets

TOPOLOGIES: dict[str, Callable[[int], Topology]] = {"single": single, "subnets": subnets}

__all__ = ["TOPOLOGIES", "Topology", "hosts"]

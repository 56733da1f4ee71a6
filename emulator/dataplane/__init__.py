"""Dataplanes: what makes a kernel be a node program."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emulator.dataplane.contract import Dataplane
from emulator.dataplane.nftables.dataplane import NftablesDataplane

DATAPLANES: Mapping[str, Callable[[], Dataplane]] = {"nftables": NftablesDataplane}
"""Each is made in a thread that lives in the node's network namespace."""

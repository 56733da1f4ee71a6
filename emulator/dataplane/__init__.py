"""Dataplanes: what makes a kernel be a node program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from emulator.dataplane.contract import Dataplane
from reference.errors import InvalidInputError


def _made_by(module: str, name: str) -> Callable[[], Dataplane]:
    """Imported when one is made: a dataplane may build on modules that know the contract."""

    def make() -> Dataplane:
        dataplane: Dataplane = getattr(import_module(module), name)()
        return dataplane

    return make


DATAPLANES: Mapping[str, Callable[[], Dataplane]] = {
    "nftables": _made_by("emulator.dataplane.nftables.dataplane", "NftablesDataplane"),
    "ebpf": _made_by("emulator.dataplane.ebpf.dataplane", "EbpfDataplane"),
    "iptables": _made_by("emulator.dataplane.iptables.dataplane", "IptablesDataplane"),
    "iptables-legacy": _made_by("emulator.dataplane.iptables.dataplane", "LegacyIptablesDataplane"),
}
"""Each is made in a thread that lives in the node's network namespace."""


def require_dataplane(name: str, of: str = "") -> None:
    """Refuse a name that is no dataplane's.

    Raises:
        InvalidInputError: says which there are.
    """
    if name not in DATAPLANES:
        whose = f" of {of}" if of else ""
        raise InvalidInputError(f"dataplane {name!r}{whose} is not known; there are {', '.join(sorted(DATAPLANES))}")

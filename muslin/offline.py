"""`load`, `evaluate` and `lint`: the oracle and the linter, from manifests alone."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from reference import policy
from reference.endpoints import Family
from reference.loading import load_state
from reference.naming import packet_between
from reference.policy.verdict import Verdict
from reference.state import State

if TYPE_CHECKING:
    from reference.analysis.lint import Finding


def load(*paths_or_objects: str | os.PathLike[str] | dict[str, Any] | list[dict[str, Any]]) -> State:
    """The state of a cluster to which these manifests were applied: files, folders, or manifests as dicts.

    Pods without an address get one from IPAM; `status.podIP` and the `cni.projectcalico.org/ipAddrs` annotation pin it.

    Raises:
        InvalidInputError: a manifest is wrong; says file, document, line and field.
    """
    return load_state(*paths_or_objects)


def evaluate(
    state: State,
    source: str,
    destination: str,
    protocol: str | int = "TCP",
    port: int = 80,
    family: Family | None = None,
) -> Verdict:
    """What policy says to a new flow. `source` and `destination`: "ns/pod", a host's or node's name, or an address.

    `family`: 4 or 6; by default IPv4 if both ends have it.

    Raises:
        InvalidInputError: nobody has that name, or the ends share no address family.
    """
    return policy.evaluate(state, packet_between(state, source, destination, protocol, port, family=family))


def lint(
    *paths_or_objects: str | os.PathLike[str] | dict[str, Any] | list[dict[str, Any]], ignore: Collection[str] = ()
) -> tuple[Finding, ...]:
    """What is legal in manifests and probably not meant; findings whose id is in `ignore` are left out.

    Raises:
        InvalidInputError: a manifest is wrong; says file, document, line and field.
    """
    from reference.analysis.lint import lint as find
    from reference.resources import manifests

    loaded = manifests.load(*paths_or_objects)
    return find(load_state(*loaded.resources), loaded.sources, ignore)

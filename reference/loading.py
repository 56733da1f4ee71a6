"""Manifests to a state, offline: no fabric, no log, no kernel."""

from __future__ import annotations

from reference import commands
from reference.resources.manifests import Source, load
from reference.state import State


def offline_state() -> State:
    """A cluster to which nothing was applied: the built-in tiers and namespaces."""
    return commands.bootstrap("offline", "", "", (), now=0.0).state


def load_state(*sources: Source) -> State:
    """The state of a cluster to which these were applied: paths, manifests as dicts, typed resources, or lists of them.

    A pod's `status.podIP`s are its addresses; one without gets its own from IPAM. Nodes that nobody declared are made.

    Raises:
        InvalidInputError: a manifest is wrong, or the cluster would refuse it.
    """
    return commands.apply(offline_state(), load(*sources).resources, now=0.0, offline=True).state

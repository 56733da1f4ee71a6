"""Muslin: a whole Calico-style cluster on one laptop.

import muslin

state = muslin.load("manifests/")
verdict = muslin.evaluate(state, "shop/web", "shop/db", protocol="TCP", port=5432)
print(verdict.explain())

with muslin.Cluster(nodes=2) as cluster:
    cluster.apply("manifests/")
    assert cluster.probe("shop/web", "shop/db", "TCP", 5432).allowed == verdict.allowed
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from muslin.offline import evaluate, load
from reference.errors import EnvironmentLacksError, InvalidInputError, LogCorruptError, MuslinError, RefusedError
from reference.policy.verdict import Verdict
from reference.state import State

if TYPE_CHECKING:
    from emulator.probe.types import Outcome, Probe
    from muslin.cluster import Cluster

__all__ = [
    "Cluster",
    "EnvironmentLacksError",
    "InvalidInputError",
    "LogCorruptError",
    "MuslinError",
    "Outcome",
    "Probe",
    "RefusedError",
    "State",
    "Verdict",
    "evaluate",
    "load",
]

_LIVE = {"Cluster": "muslin.cluster", "Outcome": "emulator.probe.types", "Probe": "emulator.probe.types"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    """Import the live half only when it is asked for: offline answers need none of it."""
    if name not in _LIVE:
        raise AttributeError(f"module 'muslin' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LIVE[name]), name)

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

from reference.errors import EnvironmentLacksError, InvalidInputError, LogCorruptError, MuslinError, RefusedError

if TYPE_CHECKING:
    from emulator.probe.types import Outcome, Probe
    from muslin.cluster import Cluster
    from muslin.offline import evaluate, lint, load
    from reference.analysis.lint import Finding
    from reference.policy.verdict import Verdict
    from reference.state import State

__all__ = [
    "Cluster",
    "EnvironmentLacksError",
    "Finding",
    "InvalidInputError",
    "LogCorruptError",
    "MuslinError",
    "Outcome",
    "Probe",
    "RefusedError",
    "State",
    "Verdict",
    "evaluate",
    "lint",
    "load",
]

_HOMES = {
    "Cluster": "muslin.cluster",
    "Finding": "reference.analysis.lint",
    "Outcome": "emulator.probe.types",
    "Probe": "emulator.probe.types",
    "State": "reference.state",
    "Verdict": "reference.policy.verdict",
    "evaluate": "muslin.offline",
    "lint": "muslin.offline",
    "load": "muslin.offline",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    """Import a name's module when it is first asked for: a command's help needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'muslin' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

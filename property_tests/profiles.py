"""Hypothesis profiles: how much is tried. No deadlines: they failed correct properties on busy machines."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

VARIABLE = "MUSLIN_HYPOTHESIS"  # names the profile; `ci` when unset
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
_PATIENT = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)


def load() -> None:
    """Register the profiles and load the one the environment names.

    `ci` tries the same examples every time; `thorough` tries many more, and new ones each time.
    """
    shared = settings(deadline=None, phases=_PHASES, suppress_health_check=_PATIENT)
    settings.register_profile("ci", shared, max_examples=25, derandomize=True)
    settings.register_profile("thorough", shared, max_examples=1000)
    settings.load_profile(os.environ.get(VARIABLE, "ci"))

"""Measurements, each beside its floor in the same run. `python -m benchmarks` runs all, `python -m benchmarks log` one.

Nothing here asserts a time: the machine is shared. Figures are medians of interleaved rounds, and ratios between what
was measured side by side; `docs/performance.md` keeps them.
"""

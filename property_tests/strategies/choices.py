"""Where a generator's choices come from: Hypothesis, which shrinks them, or a seeded generator, which is fast.

The generators of this package take a `Choices` and know nothing of its source, so a campaign of millions of packets and
a Hypothesis property explore the same space. Earlier options are the simpler ones: Hypothesis shrinks towards them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")
P = ParamSpec("P")


class Choices(Protocol):
    """A source of choices."""

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""

    def pick(self, options: Sequence[T]) -> T:
        """One of the options; repeat an option to weigh it."""

    def chance(self, percent: int) -> bool:
        """True about `percent` times in a hundred; False is the simpler answer."""

    def some(self, options: Sequence[T], low: int, high: int) -> list[T]:
        """`low` to `high` different positions of the options, in the options' order."""


class _Subsets:
    """`some` for both sources: how many, then which."""

    def integer(self, low: int, high: int) -> int:
        raise NotImplementedError

    def some(self, options: Sequence[T], low: int, high: int) -> list[T]:
        left = list(range(len(options)))
        kept = [left.pop(self.integer(0, len(left) - 1)) for _ in range(self.integer(low, min(high, len(left))))]
        return [options[position] for position in sorted(kept)]


class Drawn(_Subsets):
    """Choices drawn by Hypothesis."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        """Draw an integer; shrinks towards `low`."""
        return self._draw(st.integers(low, high))

    def pick(self, options: Sequence[T]) -> T:
        """Draw an option; shrinks towards the first."""
        return self._draw(st.sampled_from(options))

    def chance(self, percent: int) -> bool:
        """Draw a chance; shrinks towards False."""
        return self._draw(st.integers(0, 99)) >= 100 - percent


class Seeded(_Subsets):
    """Choices of a seeded generator: the same seed, the same choices."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)  # noqa: S311  # reproducible choices, no secrets

    def integer(self, low: int, high: int) -> int:
        """Choose an integer."""
        return low + int(self._random.random() * (high - low + 1))

    def pick(self, options: Sequence[T]) -> T:
        """Choose an option."""
        return options[int(self._random.random() * len(options))]

    def chance(self, percent: int) -> bool:
        """Take a chance."""
        return self._random.random() * 100 < percent


def drawn(
    generate: Callable[Concatenate[Choices, P], T], *arguments: P.args, **named: P.kwargs
) -> st.SearchStrategy[T]:
    """The Hypothesis strategy of a generator: `generate(choices, *arguments)`."""

    @st.composite
    def strategy(draw: st.DrawFn) -> T:
        return generate(Drawn(draw), *arguments, **named)

    return strategy()

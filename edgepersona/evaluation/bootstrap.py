"""Intervals by the bootstrap: questions are drawn again with replacement (Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Figure = Callable[[NDArray[np.float64]], NDArray[np.float64]]

RESAMPLES = 10_000
_MOST_DRAWN = 40_000_000
"""Questions drawn in all: of many questions there are fewer resamples, and the memory for them."""

_OUTSIDE = 2.5
"""Per cent left out at either end."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


class Bootstrap:
    """The same resamples for all figures over ``n`` questions, so that differences are paired."""

    def __init__(self, n: int, *, seed: int) -> None:
        random = np.random.default_rng(seed)
        count = min(RESAMPLES, _MOST_DRAWN // n)
        drawn = random.multinomial(n, np.full(n, 1 / n), count)
        self._weights = drawn.astype(np.float32) / np.float32(n)

    def estimate(self, items: NDArray[np.float64], figure: Figure) -> Estimate:
        """Estimate a figure of items (n, m), where it is a function of their means."""
        return _estimate(figure(items.mean(axis=0)), figure(self._weights @ items))

    def difference(
        self, items: NDArray[np.float64], others: NDArray[np.float64], figure: Figure
    ) -> Estimate:
        """Estimate the figure of ``items`` minus that of ``others``, of the same questions."""
        return self.contrast([(1, items), (-1, others)], figure)

    def contrast(
        self, terms: Sequence[tuple[int, NDArray[np.float64]]], figure: Figure
    ) -> Estimate:
        """Estimate a sum of the figures of several items, each with a factor before it.

        All of the same questions, so that what they have in common cancels in each resample.
        """
        found = np.sum([factor * figure(items.mean(axis=0)) for factor, items in terms])
        drawn = [factor * figure(self._weights @ items) for factor, items in terms]
        return _estimate(found, np.sum(drawn, axis=0))


def _estimate(value: NDArray[np.float64], drawn: NDArray[np.float64]) -> Estimate:
    low, high = np.percentile(drawn, [_OUTSIDE, 100 - _OUTSIDE])
    return Estimate(float(value), float(low), float(high))

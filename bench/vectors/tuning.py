"""Recall, and the smallest setting of a peer that reaches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.vectors.peer import Ladder, Setting


@dataclass(frozen=True, slots=True)
class Measured:
    """What a setting gave on the queries that are tuned on."""

    setting: Setting
    recall: float
    p50_us: float
    reached: bool


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Return the share of ``truth`` (queries, k) that is in ``found``.

    >>> recall(np.array([[1, 2], [3, 4]]), np.array([[2, 1], [4, 5]]))
    0.75
    """
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True))
    return hits / truth.size


def tune(
    ladders: list[Ladder],
    measure: Callable[[Setting], tuple[float, float]],
    *,
    target: float,
    limit_us: float,
) -> Measured:
    """Return the fastest of the ladders' smallest settings whose recall reaches ``target``.

    ``measure`` returns (recall, p50 in microseconds). A ladder is given up where a setting takes
    longer than ``limit_us``; where all are, the best recall is returned as not reached.
    """
    tried = [one for ladder in ladders for one in _climb(ladder, measure, target, limit_us)]
    if reached := [one for one in tried if one.reached]:
        return min(reached, key=lambda one: one.p50_us)
    return max(tried, key=lambda one: one.recall)


def _climb(
    ladder: Ladder, measure: Callable[[Setting], tuple[float, float]], target: float, limit: float
) -> list[Measured]:
    """Stride up until the target is reached, then halve the stride: recall grows with the step."""
    tried: dict[int, Measured] = {}

    def at(step: int) -> Measured:
        if step not in tried:
            found, p50_us = measure(ladder[step])
            tried[step] = Measured(ladder[step], found, p50_us, found >= target)
        return tried[step]

    below, step, stride = -1, 0, 1
    while not at(step).reached:
        if step == len(ladder) - 1 or at(step).p50_us > limit:
            return [at(step)]
        below, step, stride = step, min(step + stride, len(ladder) - 1), stride * 2
    while step - below > 1:
        middle = (below + step) // 2
        if at(middle).reached:
            step = middle
        else:
            below = middle
    return [at(step)]

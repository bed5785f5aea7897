"""What a pass of the model over several tokens costs, in passes over one: learnt while running."""

from __future__ import annotations

import time
from collections.abc import Callable

_PRIOR = ((1.0, 1.25), (15.0, 4.0))
"""Before anything was measured: tokens more than one, and the cost."""

_FADING = 0.93
_LEAST_SLOPE = 0.002


class PassCosts:
    """A line through what was measured, the newest counting most.

    One a generator: the threads of its answers share it, and a figure lost between them does no
    harm. One slow pass, as on a busy machine, counts as twice what was expected at most.

    >>> costs = PassCosts()
    >>> costs.note_step(0.006)
    >>> for _ in range(50): _ = costs.note(5, 0.009)
    >>> round(costs.of(5), 1)
    1.5
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.step_s = 0.0
        """A pass over one token; 0 before one was measured."""
        self._base, self._slope = 0.0, 0.0
        self._sums = [0.0] * 5
        for more, cost in _PRIOR:
            self._take(more, cost)

    def of(self, tokens: int) -> float:
        """Return what a pass over ``tokens``, more than one, is expected to cost."""
        return self._base + self._slope * (tokens - 1)

    def note_step(self, seconds: float) -> None:
        """Take in what a pass over one token took."""
        known = self.step_s
        # A first pass is slow, so a quicker one counts for more.
        share = 0.3 if seconds < known else 0.1
        self.step_s = known + share * (min(seconds, 2 * known) - known) if known else seconds

    def note(self, tokens: int, seconds: float) -> float:
        """Take in what a pass over ``tokens`` (two or more) took; return what such a one costs."""
        self._take(tokens - 1.0, min(seconds / self.step_s, 2 * self.of(tokens)))
        return self.of(tokens)

    def _take(self, x: float, y: float) -> None:
        weight, sum_x, sum_y, sum_xx, sum_xy = (_FADING * value for value in self._sums)
        weight, sum_x, sum_y = weight + 1, sum_x + x, sum_y + y
        sum_xx, sum_xy = sum_xx + x * x, sum_xy + x * y
        self._sums = [weight, sum_x, sum_y, sum_xx, sum_xy]
        spread = sum_xx - sum_x * sum_x / weight
        if spread > 1e-3:
            self._slope = max((sum_xy - sum_x * sum_y / weight) / spread, _LEAST_SLOPE)
        self._base = max((sum_y - self._slope * sum_x) / weight, 0.5)

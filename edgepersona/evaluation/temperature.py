"""Scale a row's temperature on histories, so that a mere hedge gains nothing in likelihood.

Guo et al. 2017 (arXiv 1706.04599): one number, fitted where no true answer of a question is seen.
Likelihoods were measured at some temperatures; in between they follow from their neighbours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NEIGHBOURS = 4


def best_temperature(temperatures: NDArray[np.float64], curves: NDArray[np.float64]) -> float:
    """Return where the sum of ``curves`` (n, t), nats at each temperature, is the least."""
    logs, total = np.log(temperatures), curves.sum(axis=0)
    at = int(total.argmin())
    if at in (0, len(logs) - 1):
        return float(temperatures[at])
    near = slice(at - 1, at + 2)
    bend, slope, _ = np.polyfit(logs[near] - logs[at], total[near] - total[at], 2)
    return float(np.exp(logs[at] - slope / (2 * bend))) if bend > 0 else float(temperatures[at])


def at_temperature(
    temperatures: NDArray[np.float64], curves: NDArray[np.float64], temperature: float
) -> NDArray[np.float64]:
    """Return the nats of each of ``curves`` (n, t) at a temperature in between, (n,)."""
    logs, wanted = np.log(temperatures), np.log(temperature)
    first = int(np.clip(np.searchsorted(logs, wanted) - 2, 0, len(logs) - _NEIGHBOURS))
    near = range(first, first + _NEIGHBOURS)
    weights = [
        np.prod([(wanted - logs[j]) / (logs[i] - logs[j]) for j in near if j != i]) for i in near
    ]
    found: NDArray[np.float64] = curves[:, first : first + _NEIGHBOURS] @ np.array(weights)
    return found

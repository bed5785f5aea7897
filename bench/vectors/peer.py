"""What is asked of an index to be measured; the ids of rows are their numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Setting = dict[str, float]
Ladder = list[Setting]


class Peer:
    """One index, empty at first.

    ``kept``: slow to build, so that a later run loads it; ``removes``: it can drop rows and keep
    the others' ids.
    """

    kept = True
    removes = False
    version = ""

    def build(self, rows: NDArray[np.float32], threads: int) -> None:
        """Take in all ``rows``, float32 (n, ndim)."""
        raise NotImplementedError

    def save(self, file: Path) -> None:
        """Write the index to ``file``."""
        raise NotImplementedError

    def load(self, file: Path, rows: NDArray[np.float32]) -> None:
        """Take the place of ``build`` with what ``save`` wrote."""
        raise NotImplementedError

    def ladders(self, count: int) -> list[Ladder]:
        """Return the settings to choose from; in each ladder from the fastest on."""
        return [[{}]]

    def use(self, setting: Setting) -> None:
        """Search with ``setting`` from now on."""

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Return the ids of the ``k`` rows of largest inner product with one ``query``."""
        raise NotImplementedError

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Drop these rows."""
        raise NotImplementedError

    def chosen(self) -> Setting:
        """Return the settings that the index chose by itself."""
        return {}

    def sizes(self) -> dict[str, int]:
        """Return the bytes that the index itself says it takes."""
        return {}

    def settle(self) -> None:
        """Do at once what an application would do in the background."""


def steps(first: float, last: float, factor: float = 1.12) -> list[int]:
    """Return whole numbers from ``first`` to ``last``, each about ``factor`` times the one before.

    >>> steps(10, 20, 1.3)
    [10, 13, 17, 20]
    """
    numbers = [int(first)]
    while numbers[-1] < last:
        numbers.append(min(int(last), max(numbers[-1] + 1, round(numbers[-1] * factor))))
    return numbers


def blocks(rows: NDArray[np.float32], size: int = 20_000) -> list[tuple[int, NDArray[np.float32]]]:
    """Return (number of the first row, rows) block by block; nothing is copied."""
    return [(start, rows[start : start + size]) for start in range(0, len(rows), size)]

"""NumPy: all inner products in float32, then the largest of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.vectors.peer import Peer


class NumPy(Peer):
    """``rows @ query`` and ``argpartition``."""

    version = np.__version__
    kept = False

    def build(self, rows: NDArray[np.float32], threads: int) -> None:
        self._rows = np.array(rows)

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        scores = self._rows @ query
        top = np.argpartition(scores, -k)[-k:]
        ids: NDArray[np.int64] = top[np.argsort(-scores[top])]
        return ids

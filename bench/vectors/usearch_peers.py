"""usearch: the graph over float32, float16 or int8, and its exact search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import usearch
from numpy.typing import NDArray
from usearch.index import Index, MetricKind
from usearch.index import search as search_exactly

from bench.vectors.peer import Ladder, Peer, Setting, blocks, steps

_EF_CONSTRUCTION = 128
_FACTORS = (1, 2, 4, 8)


class Usearch(Peer):
    """``usearch.Index`` as it comes; what it kept as int8 is scored again in float32."""

    version = usearch.__version__
    removes = True

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype
        self._factor = 1

    def build(self, rows: NDArray[np.float32], threads: int) -> None:
        self._make(rows)
        for start, block in blocks(rows):
            self.index.add(np.arange(start, start + len(block)), block, threads=threads)

    def save(self, file: Path) -> None:
        self.index.save(str(file))

    def load(self, file: Path, rows: NDArray[np.float32]) -> None:
        self._make(rows)
        self.index.load(str(file))

    def ladders(self, count: int) -> list[Ladder]:
        efs = steps(10, count / 4)
        factors = _FACTORS if self._dtype == "i8" else _FACTORS[:1]
        return [[{"factor": factor, "expansion": ef} for ef in efs] for factor in factors]

    def use(self, setting: Setting) -> None:
        self._factor = int(setting["factor"])
        self.index.expansion_search = int(setting["expansion"])

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        found = self.index.search(query, k * self._factor, threads=1).keys.astype(np.int64)
        if self._factor == 1:
            return found
        chosen: NDArray[np.int64] = found[np.argsort(-(self._rows[found] @ query))[:k]]
        return chosen

    def remove(self, ids: NDArray[np.int64]) -> None:
        self.index.remove(ids)

    def _make(self, rows: NDArray[np.float32]) -> None:
        self.index = Index(
            ndim=rows.shape[1], metric=MetricKind.IP, dtype=self._dtype,
            expansion_add=_EF_CONSTRUCTION,
        )  # fmt: skip
        self._rows = np.array(rows) if self._dtype == "i8" else rows


class UsearchExact(Peer):
    """``usearch.index.search`` over the rows as float32 or float16."""

    version = usearch.__version__
    kept = False

    def __init__(self, dtype: str) -> None:
        self._dtype = np.dtype(dtype)

    def build(self, rows: NDArray[np.float32], threads: int) -> None:
        self._rows = np.array(rows, self._dtype)

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        given = query.astype(self._dtype)
        found = search_exactly(self._rows, given, k, MetricKind.IP, exact=True, threads=1)
        keys: NDArray[np.int64] = found.keys.astype(np.int64)
        return keys

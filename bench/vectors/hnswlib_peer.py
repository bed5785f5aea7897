"""hnswlib: the graph in float32."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import hnswlib
import numpy as np
from numpy.typing import NDArray

from bench.vectors.peer import Ladder, Peer, Setting, blocks, steps

_EF_CONSTRUCTION = 128


class Hnswlib(Peer):
    """``hnswlib.Index`` with ``links`` neighbours a row (M)."""

    version = version("hnswlib")
    removes = True

    def __init__(self, links: int) -> None:
        self._links = links

    def build(self, rows: NDArray[np.float32], threads: int) -> None:
        self.index = hnswlib.Index("ip", rows.shape[1])
        self.index.init_index(len(rows), M=self._links, ef_construction=_EF_CONSTRUCTION)
        for start, block in blocks(rows):
            self.index.add_items(block, np.arange(start, start + len(block)), num_threads=threads)

    def save(self, file: Path) -> None:
        self.index.save_index(str(file))

    def load(self, file: Path, rows: NDArray[np.float32]) -> None:
        self.index = hnswlib.Index("ip", rows.shape[1])
        self.index.load_index(str(file), max_elements=len(rows))

    def ladders(self, count: int) -> list[Ladder]:
        return [[{"ef": ef} for ef in steps(10, count / 4)]]

    def use(self, setting: Setting) -> None:
        self.index.set_ef(int(setting["ef"]))

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        return self.index.knn_query(query, k, num_threads=1)[0][0].astype(np.int64)

    def remove(self, ids: NDArray[np.int64]) -> None:
        for row in ids:
            self.index.mark_deleted(int(row))

"""faiss: flat, graphs, inverted lists, quantized scans, the lossy ones with exact rescoring."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from bench.vectors.peer import Ladder, Peer, Setting, blocks, steps

_EF_CONSTRUCTION = 128
_TRAINED_ON = 200_000
_QUICK = ("Flat", "SQfp16", "SQ8,RFlat", "RaBitQfs,RFlat")  # to build
_FACTORS = (2, 4, 8, 16, 32, 64)


class Faiss(Peer):
    """An index of ``faiss.index_factory``; in ``form``, {nlist} stands for the number of lists."""

    version = faiss.__version__

    def __init__(self, form: str) -> None:
        faiss.omp_set_num_threads(1)
        self._form = form
        self.kept = form not in _QUICK
        self.removes = form.startswith("IVF") and "RFlat" not in form
        self._space = faiss.ParameterSpace()

    def build(self, rows: NDArray[np.float32], threads: int) -> None:
        faiss.omp_set_num_threads(threads)
        lists = 1024 if len(rows) <= 100_000 else 4096
        form = self._form.format(nlist=lists)
        self.index = faiss.index_factory(rows.shape[1], form, faiss.METRIC_INNER_PRODUCT)
        if "HNSW" in form:
            graph = self.index.base_index if "RFlat" in form else self.index
            faiss.downcast_index(graph).hnsw.efConstruction = _EF_CONSTRUCTION
        if not self.index.is_trained:
            self.index.train(np.ascontiguousarray(rows[:: -(-len(rows) // _TRAINED_ON)]))
        for _, block in blocks(rows):
            self.index.add(np.ascontiguousarray(block))
        faiss.omp_set_num_threads(1)

    def save(self, file: Path) -> None:
        faiss.write_index(self.index, str(file))

    def load(self, file: Path, rows: NDArray[np.float32]) -> None:
        self.index = faiss.read_index(str(file))

    def ladders(self, count: int) -> list[Ladder]:
        refined = "RFlat" in self._form
        name, values = "", [0]
        if "HNSW" in self._form:
            name, values = "efSearch", steps(10, count / 4)
        elif "IVF" in self._form:
            name, values = "nprobe", steps(1, 1024 if count <= 100_000 else 4096)
        elif refined:
            return [[{"k_factor_rf": factor} for factor in steps(1, count / 40)]]
        if not name:
            return [[{}]]
        if not refined:
            return [[{name: value} for value in values]]
        return [[{"k_factor_rf": factor, name: value} for value in values] for factor in _FACTORS]

    def use(self, setting: Setting) -> None:
        for name, value in setting.items():
            self._space.set_index_parameter(self.index, name, value)

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self.index.search(query[None], k)[1][0]
        return found

    def remove(self, ids: NDArray[np.int64]) -> None:
        self.index.remove_ids(ids)

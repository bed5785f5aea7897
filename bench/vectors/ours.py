"""edgepersona's own index, as a profile uses it: rows added, then linked in the background."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.vectors.peer import Peer, Setting, blocks
from edgepersona import _native

_LINKED_AT_ONCE = 4096


class Ours(Peer):
    """``VectorIndex``; with ``exact`` it may not use its graph."""

    def __init__(self, *, exact: bool = False) -> None:
        self.version = hashlib.sha256(Path(_native.__file__).read_bytes()).hexdigest()[:12]
        self.kept = not exact
        self._exact = exact

    def build(self, rows: NDArray[np.float32], threads: int) -> None:
        self._add(rows)
        self.settle()

    def save(self, file: Path) -> None:
        ids, links, width = self.index.graph()
        with file.open("wb") as out:
            np.savez(out, ids=ids, links=links, width=width)

    def load(self, file: Path, rows: NDArray[np.float32]) -> None:
        self._add(rows)
        with np.load(file) as graph:
            self.index.load_graph(graph["ids"], graph["links"], int(graph["width"]))
        self.settle()

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self.index.search(query[None], k, exact=self._exact)[0][0]
        return found

    def remove(self, ids: NDArray[np.int64]) -> None:
        self.index.remove(ids)

    def chosen(self) -> Setting:
        return {"width": self.index.search_width, "depth": self.index.search_depth}

    def sizes(self) -> dict[str, int]:
        return {"scan_bytes": self.index.scan_bytes(), "memory_bytes": self.index.memory_bytes()}

    def settle(self) -> None:
        while not self._exact and self.index.link(_LINKED_AT_ONCE):
            pass

    def _add(self, rows: NDArray[np.float32]) -> None:
        self.index = _native.VectorIndex(rows.shape[1])
        for start, block in blocks(rows):
            self.index.add(np.arange(start, start + len(block), dtype=np.int64), block)

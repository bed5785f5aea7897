"""edgepersona's own index, as a profile uses it: rows added, then linked in the background."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.vectors.peer import Ladder, Peer, Setting, blocks, steps
from edgepersona import _native

_LINKED_AT_ONCE = 4096


class Ours(Peer):
    """``VectorIndex``; with ``exact`` it may not use its graph.

    It measures for itself how wide to walk: ``own_width`` in ``chosen``. To be compared at the
    recall that peers are tuned to, it can be tuned as they are: the width is saved beside a graph,
    so the same graph is taken again with another.
    """

    def __init__(self, *, exact: bool = False) -> None:
        self.version = hashlib.sha256(Path(_native.__file__).read_bytes()).hexdigest()[:12]
        self.kept = not exact
        self._exact = exact
        self._own_width = 0

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
            if len(graph["ids"]):  # none where it searches by a sketch
                self.index.load_graph(graph["ids"], graph["links"], int(graph["width"]))
        self.settle()

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self.index.search(query[None], k, exact=self._exact)[0][0]
        return found

    def remove(self, ids: NDArray[np.int64]) -> None:
        self.index.remove(ids)

    def ladders(self, count: int) -> list[Ladder]:
        self._own_width = self.index.search_width
        return [[{"width": width} for width in steps(16, 2048)]] if self._own_width else [[{}]]

    def use(self, setting: Setting) -> None:
        width = int(setting.get("width", 0))
        if width and width != self.index.search_width:
            ids, links, _ = self.index.graph()
            self._add(self._rows)
            self.index.load_graph(ids, links, width)

    def chosen(self) -> Setting:
        return {
            "width": self.index.search_width,
            "depth": self.index.search_depth,
            "own_width": self._own_width,
        }

    def sizes(self) -> dict[str, int]:
        return {"scan_bytes": self.index.scan_bytes(), "memory_bytes": self.index.memory_bytes()}

    def settle(self) -> None:
        while not self._exact and self.index.link(_LINKED_AT_ONCE):
            pass

    def _add(self, rows: NDArray[np.float32]) -> None:
        self._rows = rows
        self.index = _native.VectorIndex(rows.shape[1])
        for start, block in blocks(rows):
            self.index.add(np.arange(start, start + len(block), dtype=np.int64), block)

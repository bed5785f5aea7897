"""The index: a profile's vectors in memory, searched beside its full text."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgepersona.errors import InputError, ProfileError
from edgepersona.graphtable import Graph
from edgepersona.linker import Linker
from edgepersona.records import Filter, Hit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from edgepersona.store import Store

    _Block = tuple[NDArray[np.int64], NDArray[np.float16]]

_ALL = Filter()

K0 = 60
"""Constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""


class Vectors(Protocol):
    """What the native ``VectorIndex`` offers: vectors by id, ranked by inner product."""

    def __len__(self) -> int: ...

    def ids(self) -> NDArray[np.int64]:
        """Return the ids of all vectors, ascending."""

    def reserve(self, rows: int) -> None:
        """Make room for ``rows`` vectors in all, so that adding them moves none."""

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
        """Take in ``vectors``; one whose id is known replaces the old one."""

    def remove(self, ids: NDArray[np.int64]) -> int:
        """Drop the vectors with these ids; say how many there were."""

    def search(
        self, vectors: NDArray[np.float32], k: int, ids: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ids and scores, best first; none but ``ids`` where they are given."""

    def link(self, count: int) -> int:
        """Link up to ``count`` vectors into a graph; return how many are left to be linked."""

    def graph(self) -> tuple[NDArray[np.int64], NDArray[np.uint32], int]:
        """Return ids by node, ascending, the numbers of their neighbours, and the search width."""

    def load_graph(
        self, ids: NDArray[np.int64], links: NDArray[np.uint32], search_width: int
    ) -> None:
        """Take over a graph made earlier; InputError, and no change, where it is none."""


class Index:
    """Vectors and full text of a store as one ranking. May be used from any thread.

    Follows the store by itself: what this or another process changed is taken in at the next
    search. Vectors are linked into their graph by a thread of the index's own, which no search
    waits for; ``close`` ends it.
    """

    def __init__(self, store: Store, vectors: Vectors) -> None:
        self._store = store
        self._vectors: Vectors | None = vectors
        self._linker: Linker | None = Linker(_GraphWork(self, store, vectors))
        self._generation = -1
        self._lock = threading.RLock()  # a signal's handler may close what it interrupts

    def close(self) -> None:
        """Stop linking and let go of the vectors; a second call does no harm."""
        linker = self._linker
        if linker is not None:
            linker.close()  # not under the lock, which its thread may be waiting for
        with self._lock:
            self._linker = self._vectors = None

    def search(
        self,
        query: str,
        vector: NDArray[np.float32],
        k: int,
        filter: Filter = _ALL,  # noqa: A002
    ) -> list[Hit]:
        """Return up to ``k`` records near ``vector``, float32 (ndim,), or with words of ``query``.

        The two rankings are fused by reciprocal rank, the one by words in so far as the words
        it found carry the query; records of the same score come in the order of their adding.
        """
        if k < 1:
            raise InputError(f"k is {k}, expected 1 or more")
        vectors = self.refresh()
        depth = max(4 * k, 50)
        rows = None if filter == _ALL else self._store.rows(filter)
        near = _near(vectors, vector, depth, rows)
        worded = self._store.match(query, depth, filter)
        scores = fuse(near, worded.found, worded.weight)
        best = sorted(scores, key=lambda row: (-scores[row], row))
        hits: list[Hit] = []
        while best and len(hits) < k:  # one deleted just now makes room for the next
            some, best = best[: k - len(hits)], best[k - len(hits) :]
            records = self._store.by_row(some)
            hits += [Hit(records[row], scores[row]) for row in some if row in records]
        return hits

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[int]:
        """Return up to ``k`` rows by the inner product with ``vector``, the largest first."""
        return _near(self.refresh(), vector, k, None)

    def refresh(self) -> Vectors:
        """Take in what changed in the store since the last call; return the vectors."""
        with self._lock:
            vectors, linker = self._vectors, self._linker
            if vectors is None or linker is None:
                raise ProfileError(f"{self._store.path}: this profile was closed: open it again")
            changed = 0
            generation = self._store.generation
            while generation != self._generation:
                changed += self._follow(vectors, generation)
                generation = self._store.generation
            if changed:
                linker.start(changed)
            return vectors

    def join(self) -> None:
        """Wait until all vectors are linked, or ``close`` was called."""
        linker = self._linker
        if linker is not None:
            linker.join()

    def _follow(self, vectors: Vectors, generation: int) -> int:
        """Take in the changes up to ``generation``, and any that another process makes meanwhile.

        A row that is stored and was not held before has changed since; so where the numbers of
        rows agree after the changes, the rows do, and none has to be looked for.
        """
        changed = 0
        if self._generation < 0:  # growing step by step clears and copies each page twice
            vectors.reserve(self._store.count())
        # First: a row that is there again has its new vector among the changes.
        gone = self._store.gone(self._generation, generation)
        if gone:
            changed += vectors.remove(np.array(gone, dtype=np.int64))
        for rows, block in _read_ahead(self._store.vectors(since=self._generation)):
            vectors.add(rows, block)
            changed += len(rows)
        if len(vectors) != self._store.count():
            lost = np.setdiff1d(vectors.ids(), self._store.rows(), assume_unique=True)
            if len(lost):
                changed += vectors.remove(lost)
        self._generation = generation
        return changed


class _GraphWork:
    """What a linker does for an index: between its vectors and its store."""

    def __init__(self, index: Index, store: Store, vectors: Vectors) -> None:
        self._index = index
        self._store = store
        self._vectors = vectors

    def link(self, count: int) -> int:
        return self._vectors.link(count)

    def take_over(self) -> Graph | None:
        index = self._index
        while True:
            before = index._generation
            graph = self._store.load_graph()
            if graph is None:
                return None
            with index._lock:
                # A vector that was replaced in between is not the one that the links were for.
                if index._generation == before:
                    self._vectors.load_graph(graph.ids, graph.links, graph.search_width)
                    return graph

    def keep(self) -> Graph | None:
        index = self._index
        index.refresh()
        before = index._generation
        ids, links, search_width = self._vectors.graph()
        with index._lock:  # whoever changes the vectors holds it
            if index._generation != before:
                return None
        if not len(ids) and self._vectors.link(0):
            return None  # one in the making, and no use yet: that on disk is better
        graph = Graph(ids, links, search_width, before)
        return graph if self._store.save_graph(graph) else None


def fuse(
    near: Sequence[int], worded: Sequence[tuple[int, float]], weight: float
) -> dict[int, float]:
    """Return the score of every row: the sum of 1 / (K0 + its rank) in both rankings.

    The share of ``worded`` (rows with their BM25 scores) is scaled by how much of ``weight``, the
    score of a row with every word, its row has: "the" alone found must not outrank the meaning.
    """
    scores = {row: 1 / (K0 + rank) for rank, row in enumerate(near, 1)}
    for rank, (row, score) in enumerate(worded, 1):
        share = min(1.0, score / weight) if weight > 0 else 1.0
        scores[row] = scores.get(row, 0.0) + share / (K0 + rank)
    return scores


def _near(
    vectors: Vectors, vector: NDArray[np.float32], depth: int, rows: NDArray[np.int64] | None
) -> list[int]:
    if not len(vectors) or (rows is not None and not len(rows)):
        return []
    ids, _ = vectors.search(vector.reshape(1, -1), depth, rows)
    return [int(row) for row in ids[0]]


def _read_ahead(blocks: Iterator[_Block]) -> Iterator[_Block]:
    """Yield the blocks, the next one being read while one is taken in.

    SQLite and the native core share the time of an opening about evenly. Of a few rows there is
    one block, and no thread is started for them.
    """
    first = next(blocks, None)
    if first is None:
        return
    yield first
    block = next(blocks, None)
    if block is None:
        return
    with ThreadPoolExecutor(1, "edgepersona-reader") as reader:
        while block is not None:
            try:
                coming = reader.submit(next, blocks, None)
            except RuntimeError:  # the interpreter is ending, and starts no thread any more
                yield block
                yield from blocks
                return
            yield block
            block = coming.result()

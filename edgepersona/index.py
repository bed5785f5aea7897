"""The index: a profile's vectors in memory, searched beside its full text."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgepersona.errors import InputError
from edgepersona.records import Filter, Hit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgepersona.store import Store

_ALL = Filter()

K0 = 60
"""Constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""


class Vectors(Protocol):
    """What the native ``VectorIndex`` offers: vectors by id, ranked by inner product."""

    def __len__(self) -> int: ...

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
        """Take in ``vectors``; one whose id is known replaces the old one."""

    def remove(self, ids: NDArray[np.int64]) -> int:
        """Drop the vectors with these ids; say how many there were."""

    def search(
        self, vectors: NDArray[np.float32], k: int, ids: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ids and scores, best first; none but ``ids`` where they are given."""


class Index:
    """Vectors and full text of a store as one ranking. May be used from any thread.

    Follows the store by itself: what this or another process changed is taken in at the next
    search.
    """

    def __init__(self, store: Store, vectors: Vectors) -> None:
        self._store = store
        self._vectors = vectors
        self._generation = -1
        self._lock = threading.Lock()
        self._held = np.empty(0, dtype=np.int64)

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
        self.refresh()
        depth = max(4 * k, 50)
        rows = None if filter == _ALL else self._store.rows(filter)
        near = self._near(vector, depth, rows)
        worded = self._store.match(query, depth, filter)
        scores = fuse(near, worded, self._store.query_weight(query))
        best = sorted(scores, key=lambda row: (-scores[row], row))
        records = self._store.by_row(best)  # all: one deleted just now makes room for the next
        return [Hit(records[row], scores[row]) for row in best if row in records][:k]

    def refresh(self) -> None:
        """Take in what changed in the store since the last call."""
        with self._lock:
            generation = self._store.generation
            while generation != self._generation:
                self._follow(generation)
                generation = self._store.generation

    def _near(
        self, vector: NDArray[np.float32], depth: int, rows: NDArray[np.int64] | None
    ) -> list[int]:
        if not len(self._vectors) or (rows is not None and not len(rows)):
            return []
        ids, _ = self._vectors.search(vector.reshape(1, -1), depth, rows)
        return [int(row) for row in ids[0]]

    def _follow(self, generation: int) -> None:
        """Take in the changes up to ``generation``, and any that another process makes meanwhile.

        A row that is stored and was not held before has changed since; so where the numbers of
        rows agree after the changes, the rows do, and none has to be looked for.
        """
        for rows, vectors in self._store.vectors(since=self._generation):
            self._vectors.add(rows, vectors)
            self._held = np.union1d(self._held, rows)
        if len(self._held) != self._store.count():
            stored = self._store.rows()
            gone = np.setdiff1d(self._held, stored, assume_unique=True)
            if len(gone):
                self._vectors.remove(gone)
            self._held = np.setdiff1d(self._held, gone, assume_unique=True)
        self._generation = generation


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

"""Stand-ins for the models and the native core, so that a test needs neither."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NDIM = 32
EMBEDDER_HASH = "5f" * 32


class WordEmbedder:
    """Every word is a fixed random direction; a text is the sum of its words."""

    ndim = NDIM
    hash = EMBEDDER_HASH

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str], *, role: str = "document") -> NDArray[np.float32]:
        self.encoded += texts
        return np.stack([_direction(text) for text in texts])


class NumpyVectors:
    """The native VectorIndex, in NumPy."""

    def __init__(self, ndim: int) -> None:
        self.ndim = ndim
        self.added = 0
        self._vectors: dict[int, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return len(self._vectors)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
        assert ids.dtype == np.int64
        assert vectors.shape == (len(ids), self.ndim)
        self.added += len(ids)
        self._vectors |= dict(zip(ids.tolist(), vectors.astype(np.float32), strict=True))

    def remove(self, ids: NDArray[np.int64]) -> int:
        return sum(self._vectors.pop(i, None) is not None for i in ids.tolist())

    def search(
        self, vectors: NDArray[np.float32], k: int, ids: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        allowed = sorted(self._vectors if ids is None else set(ids.tolist()) & set(self._vectors))
        rows = np.array(allowed, dtype=np.int64)
        scores = vectors @ np.stack([self._vectors[i] for i in allowed]).T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return rows[order], np.take_along_axis(scores, order, axis=1)


def _direction(text: str) -> NDArray[np.float32]:
    words = re.findall(r"\w+", text.lower()) or [text]
    seeds = [zlib.crc32(word.encode(errors="replace")) for word in words]
    total = np.sum([np.random.default_rng(seed).normal(size=NDIM) for seed in seeds], axis=0)
    return (total / np.linalg.norm(total)).astype(np.float32)

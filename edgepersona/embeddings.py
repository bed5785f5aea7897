"""The LLM's table of token embeddings, mapped: only the rows of tokens in use are ever read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepersona.errors import BundleError

BLOCK = 32
"""Values of a row that share a scale."""


class Embeddings:
    """Rows of 8-bit codes, then their float16 scales: ``generator/embeddings.q8`` of a bundle."""

    def __init__(self, file: Path, *, vocab: int, hidden: int) -> None:
        blocks = -(-hidden // BLOCK)
        width = blocks * BLOCK
        if file.stat().st_size != vocab * (width + 2 * blocks):
            raise BundleError(f"{file}: has not the size of a table of {vocab} by {hidden}")
        # Plain views: indexing a memmap itself makes a new Python object of its class each time.
        whole = np.asarray(np.memmap(file, np.uint8, mode="r"))
        self._codes = whole[: vocab * width].view(np.int8).reshape(vocab, blocks, BLOCK)
        self._scales = whole[vocab * width :].view("<f2").reshape(vocab, blocks, 1)
        self._hidden = hidden

    def __getitem__(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the embeddings of tokens: float32 (n, hidden)."""
        rows = list(ids)
        vectors: NDArray[np.float32] = self._codes[rows].astype(np.float32)
        vectors *= self._scales[rows]
        width = vectors.shape[1] * BLOCK
        # What fills a row up goes; engines take no array with gaps.
        return np.ascontiguousarray(vectors.reshape(len(rows), width)[:, : self._hidden])

    def scratch(self) -> NDArray[np.float32]:
        """Return room for one token's embedding, (blocks, 32), to be handed to ``fill``."""
        return np.zeros(self._codes.shape[1:], np.float32)

    def fill(self, blocks: NDArray[np.float32], token: int) -> None:
        """Write a token's embedding into ``blocks``, of ``scratch()``: no array is made for it."""
        np.multiply(self._codes[token], self._scales[token], out=blocks, dtype=np.float32)

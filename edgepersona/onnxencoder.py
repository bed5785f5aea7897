"""An embedder's engine on ONNX Runtime: a batch is filled up to its longest text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepersona.runtime import Session

if TYPE_CHECKING:
    from edgepersona.bundle import Bundle

_BATCH_TOKENS = {"cpu": 512, "cuda": 16384}
"""Tokens of one run, padding included: on a CPU what they come to inside the model fits a core's
cache; a GPU is busy with many."""


class OnnxEncoder:
    """A bundle's text encoder as a graph. May be used from any thread."""

    def __init__(self, bundle: Bundle, *, threads: int | None = None, target: str = "cpu") -> None:
        spec = bundle.embedder
        self._pooling = spec.pooling
        self._pad_id = spec.pad_id
        # What follows is a search or a commit: spinning threads would keep that waiting for
        # milliseconds, ten times what a durable commit takes.
        self._session = Session(bundle.file(spec.path), target=target, threads=threads, rest=True)
        self.batch_tokens = _BATCH_TOKENS[self._session.device]
        self.provider = self._session.provider

    def encode(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return a vector for each text, of whatever length: float32 (n, ndim)."""
        lengths = np.array([len(i) for i in ids])
        width = int(lengths.max())
        mask = (np.arange(width) < lengths[:, None]).astype(np.int64)
        input_ids = np.full((len(ids), width), self._pad_id, np.int64)
        for row, tokens in enumerate(ids):
            input_ids[row, : len(tokens)] = tokens
        feeds: dict[str, NDArray[Any]] = {"input_ids": input_ids, "attention_mask": mask}
        if "token_type_ids" in self._session.inputs:
            feeds["token_type_ids"] = np.zeros_like(mask)
        return _pool(self._session.run(feeds)[0], mask, self._pooling)


def _pool(
    hidden: NDArray[np.float32], mask: NDArray[np.int64], pooling: str
) -> NDArray[np.float32]:
    """Reduce (n, tokens, ndim) to (n, ndim) the way the model was trained (Reimers 2019, §3)."""
    pooled: NDArray[np.float32]
    if pooling == "cls":
        pooled = hidden[:, 0]
    elif pooling == "last":
        pooled = hidden[np.arange(len(hidden)), mask.sum(axis=1) - 1]
    else:
        weights = mask[..., None].astype(np.float32)
        pooled = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return pooled

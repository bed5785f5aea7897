"""The embedder: text to unit vectors, on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepersona.bundle import Bundle
from edgepersona.errors import EdgePersonaError
from edgepersona.runtime import Session
from edgepersona.text import Tokenizer
from edgepersona.variants import asked_target

_BATCH_TOKENS = {"cpu": 512, "cuda": 16384}
"""Tokens of one run, padding included: on a CPU what they come to inside the model fits a core's
cache; a GPU is busy with many."""

_CHARACTERS_PER_TOKEN = 32
"""A text is cut to this many characters for each token the model reads, before tokenisation."""


class Embedder:
    """A bundle's text encoder on ONNX Runtime; safe to use from several threads.

    Parameters
    ----------
    bundle
        Where the model is; its hashes are checked here.
    threads
        Of one run; by default the physical cores.
    target
        As Generator takes it. A model in fp16 runs on CUDA unless the target is of the CPU;
        ``left_out`` says why not, where it could not. Any other runs on the CPU: there is one
        embedder in a bundle, since a profile's vectors hold for the embedder that made them.
    """

    def __init__(
        self, bundle: Bundle, *, threads: int | None = None, target: str | None = None
    ) -> None:
        spec = bundle.embedder
        self.hash = bundle.embedder_hash
        self.ndim = spec.ndim
        self._max_tokens = spec.max_tokens
        self._pooling = spec.pooling
        self._pad_id = spec.pad_id
        self._prefixes = {"document": spec.document_prefix, "query": spec.query_prefix}
        self._tokenizer = Tokenizer(bundle.file(spec.tokenizer))
        model, self.left_out = bundle.file(spec.path), ""
        session = None
        if spec.precision == "fp16" and asked_target(target).partition("-")[0] != "cpu":
            try:
                session = Session(model, target="cuda")
            except EdgePersonaError as error:
                self.left_out = f"cuda-fp16: {error}"
        # What follows is a search or a commit: spinning threads would keep that waiting for
        # milliseconds, ten times what a durable commit takes.
        self._session = session or Session(model, threads=threads, rest=True)
        self._batch_tokens = _BATCH_TOKENS[self._session.device]
        self.provider = self._session.provider

    def encode(self, texts: Sequence[str], *, role: str = "document") -> NDArray[np.float32]:
        """Return one vector of length 1 for each text: float32 (n, ndim).

        ``role`` is ``document`` or ``query``: models trained with a prefix for each get it. Text
        beyond the model's ``max_tokens`` is not read.
        """
        vectors = np.zeros((len(texts), self.ndim), np.float32)
        longest = self._max_tokens * _CHARACTERS_PER_TOKEN
        prefix = self._prefixes[role]
        ids = self._tokenizer.encode_batch(
            [prefix + text[:longest] for text in texts], max_tokens=self._max_tokens
        )
        for rows in batches([len(i) for i in ids], self._batch_tokens):
            vectors[rows] = self._encode([ids[row] for row in rows])
        return vectors

    def _encode(self, ids: list[list[int]]) -> NDArray[np.float32]:
        lengths = np.array([len(i) for i in ids])
        width = int(lengths.max())
        mask = (np.arange(width) < lengths[:, None]).astype(np.int64)
        input_ids = np.full((len(ids), width), self._pad_id, np.int64)
        for row, tokens in enumerate(ids):
            input_ids[row, : len(tokens)] = tokens
        feeds: dict[str, NDArray[Any]] = {"input_ids": input_ids, "attention_mask": mask}
        if "token_type_ids" in self._session.inputs:
            feeds["token_type_ids"] = np.zeros_like(mask)
        hidden = self._session.run(feeds)[0]
        pooled = _pool(hidden, mask, self._pooling)
        norms = np.linalg.norm(pooled, axis=1, keepdims=True)
        unit: NDArray[np.float32] = pooled / np.maximum(norms, 1e-12)
        return unit


def batches(lengths: list[int], most: int = _BATCH_TOKENS["cpu"]) -> Iterator[list[int]]:
    """Group texts, by their lengths in tokens, so that little is computed for padding.

    ``most``: tokens of a group, padding included.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        # The newcomer is the longest so far, so it sets the width of the whole batch.
        if batch and lengths[row] * (len(batch) + 1) > most:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


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

"""The embedder: text to unit vectors, on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgepersona.bundle import Bundle
from edgepersona.errors import BundleError, EdgePersonaError
from edgepersona.text import Tokenizer
from edgepersona.variants import asked_target

_CHARACTERS_PER_TOKEN = 32
"""A text is cut to this many characters for each token the model reads, before tokenisation."""


class Engine(Protocol):
    """What runs an embedder. May be used from any thread."""

    provider: str
    batch_tokens: int
    """Tokens of one call, each text counted as long as the longest."""

    def encode(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return a vector for each text, of whatever length: float32 (n, ndim)."""


class Embedder:
    """A bundle's text encoder; safe to use from several threads.

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
        self._prefixes = {"document": spec.document_prefix, "query": spec.query_prefix}
        self._tokenizer = Tokenizer(bundle.file(spec.tokenizer))
        self._engine, self.left_out = _open(bundle, threads, asked_target(target))
        self.provider = self._engine.provider

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
        for rows in batches([len(i) for i in ids], self._engine.batch_tokens):
            vectors[rows] = self._engine.encode([ids[row] for row in rows])
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors


def _open(bundle: Bundle, threads: int | None, target: str) -> tuple[Engine, str]:
    """Load what runs the bundle's embedder; return it, and why not on CUDA, where it could."""
    if bundle.embedder.engine not in ("native", "onnx"):
        raise BundleError(
            f"{bundle.path}: its embedder is made for the engine {bundle.embedder.engine!r:.40}, "
            "this version has native and onnx; export the bundle again, or upgrade edgepersona"
        )
    if bundle.embedder.engine == "native":
        from edgepersona.nativeencoder import NativeEncoder

        return NativeEncoder(bundle, threads=threads), ""
    from edgepersona.onnxencoder import OnnxEncoder

    left_out = ""
    if bundle.embedder.precision == "fp16" and target.partition("-")[0] != "cpu":
        try:
            return OnnxEncoder(bundle, target="cuda"), ""
        except EdgePersonaError as error:
            left_out = f"cuda-fp16: {error}"
    return OnnxEncoder(bundle, threads=threads), left_out


def batches(lengths: list[int], most: int) -> Iterator[list[int]]:
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

"""The engine on ONNX Runtime: one LLM graph and its KV caches, written in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepersona.bundle import Bundle
from edgepersona.embeddings import Embeddings
from edgepersona.errors import InputError
from edgepersona.manifest import Variant
from edgepersona.memory import Binding, Memory
from edgepersona.runtime import Session, physical_cores, require

_CACHE_STEP = 64
"""A cache holds a multiple of this many positions."""


class OnnxDecoder:
    """A bundle's decoder graph and its embedding table; sequences of one may run side by side.

    ``session`` runs another graph of the same shape in place of the bundle's.
    """

    def __init__(
        self,
        bundle: Bundle,
        variant: Variant,
        *,
        threads: int | None = None,
        session: Session | None = None,
    ) -> None:
        spec = bundle.generator
        self.layers = spec.layers
        self.kv_heads = spec.kv_heads
        self.head_dim = spec.head_dim
        self.hidden = spec.hidden
        self.vocab = spec.vocab
        self.context = spec.context
        self.variant = variant
        threads = threads or physical_cores()
        self.session = session or _open_session(bundle, self.variant, threads)
        self.provider = self.session.provider
        self._table = Embeddings(bundle.file(spec.embeddings), vocab=self.vocab, hidden=self.hidden)

    def embed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Look token ids up: float32 (n, hidden)."""
        return self._table[ids]

    def start(self, *, capacity: int) -> OnnxState:
        """Begin a sequence of at most ``capacity`` positions."""
        return OnnxState(self, capacity=capacity)


class OnnxState:
    """The KV cache of one sequence, written in place by prefill and by single steps alike.

    What a step needs is bound once: it then allocates nothing. Not for two threads at once.
    """

    def __init__(self, decoder: OnnxDecoder, *, capacity: int) -> None:
        self._decoder = decoder
        self.capacity = -(-capacity // _CACHE_STEP) * _CACHE_STEP
        self.length = 0
        session = decoder.session
        shape = (1, decoder.kv_heads, self.capacity, decoder.head_dim)
        self._kind = session.dtype("past_key_values.0.key")
        self._cache = {
            f"{layer}.{part}": session.buffer(shape, self._kind)
            for layer in range(decoder.layers)
            for part in ("key", "value")
        }
        self._seqlens = np.zeros(1, np.int32)
        self._total = np.zeros((), np.int32)
        self._logits_from = np.zeros(1, np.int64)
        self._token = np.zeros((1, 1, decoder.hidden), np.float32)
        self._logits = np.zeros(decoder.vocab, np.float32)
        self._step = self._bind(self._token, self._logits[None, None])

    def extend(self, vectors: NDArray[np.float32], *, wanted: int = 1) -> NDArray[np.float32]:
        """Read vectors (n, hidden); return the last ``wanted`` logits: (wanted, vocab)."""
        n = len(vectors)
        # The graph has no form without logits: one row too many is made where none is wanted.
        logits: NDArray[np.float32] = np.empty((max(wanted, 1), self._decoder.vocab), np.float32)
        if n:
            binding = self._bind(np.ascontiguousarray(vectors[None]), logits[None])
            self._advance(n, binding, n - len(logits))
        return logits[:wanted]

    def verify(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Read tokens; return the logits after each: (n, vocab)."""
        return self.extend(self._decoder.embed(tokens), wanted=len(tokens))

    def rewind(self, length: int) -> None:
        """Forget the positions from ``length`` on."""
        if not 0 <= length <= self.length:
            raise InputError(f"a sequence of {self.length} tokens cannot go back to {length}")
        self.length = length

    def save(self, length: int) -> bytes:
        """Return the keys and values of the first ``length`` positions."""
        if not 0 <= length <= self.length:
            raise InputError(f"a sequence of {self.length} tokens has no first {length}")
        return b"".join(cache.read()[0, :, :length].tobytes() for cache in self._cache.values())

    def load(self, saved: bytes, length: int) -> None:
        """Take what ``save`` returned into an empty sequence; InputError where it does not fit."""
        decoder = self._decoder
        shape = (len(self._cache), decoder.kv_heads, length, decoder.head_dim)
        size_bytes = self._kind.itemsize * int(np.prod(shape))
        fits = 0 <= length <= self.capacity and len(saved) == size_bytes
        if self.length or not fits:
            raise InputError("saved keys and values that do not fit this model, or a used sequence")
        rows = np.frombuffer(saved, self._kind).reshape(shape)
        for cache, first in zip(self._cache.values(), rows, strict=True):
            whole = cache.read()
            whole[0, :, :length] = first
            cache.write(whole)
        self.length = length

    def step(self, token: int) -> NDArray[np.float32]:
        """Read one token; return the logits after it: (vocab,), valid until the next step."""
        self._token[0, 0] = self._decoder.embed([token])[0]
        self._advance(1, self._step, 0)
        return self._logits

    def _advance(self, n: int, binding: Binding, logits_from: int) -> None:
        self._make_room(n)
        self.length += n
        self._seqlens[0] = self.length - 1
        self._total[...] = self.length
        self._logits_from[0] = logits_from
        binding.run()

    def _make_room(self, n: int) -> None:
        if self.length + n > self.capacity:
            raise InputError(f"{self.length + n} tokens do not fit a cache of {self.capacity}")

    def _bind(self, vectors: NDArray[np.float32], logits: NDArray[np.float32]) -> Binding:
        inputs: dict[str, NDArray[Any] | Memory] = {
            "inputs_embeds": vectors,
            "seqlens_k": self._seqlens,
            "total_sequence_length": self._total,
            "logits_from": self._logits_from,
        }
        inputs |= {f"past_key_values.{name}": cache for name, cache in self._cache.items()}
        outputs = {f"present.{name}": cache for name, cache in self._cache.items()}
        binding = self._decoder.session.binding()
        binding.bind(inputs, {"logits": logits, **outputs})
        return binding


def _open_session(bundle: Bundle, variant: Variant, threads: int) -> Session:
    require(variant.target)  # before hundreds of megabytes are hashed
    for name in variant.files:
        bundle.file(name)
    return Session(bundle.file(variant.path), target=variant.target, threads=threads)

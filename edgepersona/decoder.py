"""One LLM graph and its KV caches, written in place: vectors in, logits out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepersona.bundle import Bundle
from edgepersona.errors import BundleError, InputError
from edgepersona.manifest import Variant
from edgepersona.runtime import Binding, Session, aligned_empty, physical_cores
from edgepersona.stepper import open_stepper, step_cache

_CACHE_STEP = 64
"""A cache holds a multiple of this many positions."""


class Decoder:
    """A bundle's decoder graph and its embedding table; sequences of one may run side by side.

    ``session`` runs another graph of the same shape in place of the bundle's.
    """

    def __init__(
        self, bundle: Bundle, *, threads: int | None = None, session: Session | None = None
    ) -> None:
        spec = bundle.generator
        self.layers = spec.layers
        self.kv_heads = spec.kv_heads
        self.head_dim = spec.head_dim
        self.hidden = spec.hidden
        self.vocab = spec.vocab
        self.table = _map_table(bundle, spec.embeddings, (self.vocab, self.hidden))
        self.variant = choose_variant(bundle)
        threads = threads or physical_cores()
        self.session = session or _open_session(bundle, self.variant, threads)
        self.stepper = None if session else open_stepper(bundle, self.variant, threads)
        self.provider = self.session.provider

    def embed(self, ids: list[int]) -> NDArray[np.float32]:
        """Look token ids up: float32 (n, hidden)."""
        return self.table[ids].astype(np.float32)

    def start(self, *, capacity: int) -> DecodingState:
        """Begin a sequence of at most ``capacity`` positions."""
        return DecodingState(self, capacity=capacity)


class DecodingState:
    """The KV cache of one sequence, written in place by prefill and by single steps alike.

    What a step needs is bound once: it then allocates nothing. Not for two threads at once.
    """

    def __init__(self, decoder: Decoder, *, capacity: int) -> None:
        self._decoder = decoder
        self.capacity = -(-capacity // _CACHE_STEP) * _CACHE_STEP
        self.length = 0
        shape = (1, decoder.kv_heads, self.capacity, decoder.head_dim)
        self._cache = {
            f"{layer}.{part}": aligned_empty(shape, np.dtype(np.float32))
            for layer in range(decoder.layers)
            for part in ("key", "value")
        }
        self._seqlens = np.zeros(1, np.int32)
        self._total = np.zeros((), np.int32)
        self._logits_from = np.zeros(1, np.int64)
        self._token = np.zeros((1, 1, decoder.hidden), np.float32)
        self._logits = np.zeros(decoder.vocab, np.float32)
        if decoder.stepper:
            self._native = step_cache(self._cache, decoder.layers)
        else:
            self._step = self._bind(self._token, self._logits[None, None])

    def extend(self, vectors: NDArray[np.float32], *, every: bool = False) -> NDArray[np.float32]:
        """Read vectors (n, hidden); return the logits after the last or ``every``: (1|n, vocab)."""
        n = len(vectors)
        wanted = n if every else 1
        logits: NDArray[np.float32] = np.empty((wanted, self._decoder.vocab), np.float32)
        binding = self._bind(np.ascontiguousarray(vectors[None]), logits[None])
        self._advance(n, binding, n - wanted)
        return logits

    def step(self, token: int) -> NDArray[np.float32]:
        """Read one token; return the logits after it: (vocab,), valid until the next step."""
        self._token[0, 0] = self._decoder.table[token]
        if stepper := self._decoder.stepper:
            self._make_room(1)
            stepper.step(self._native, self._token[0, 0], self.length, self._logits)
            self.length += 1
        else:
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
        inputs: dict[str, NDArray[Any]] = {
            "inputs_embeds": vectors,
            "seqlens_k": self._seqlens,
            "total_sequence_length": self._total,
            "logits_from": self._logits_from,
        }
        inputs |= {f"past_key_values.{name}": array for name, array in self._cache.items()}
        outputs = {f"present.{name}": array for name, array in self._cache.items()}
        return self._decoder.session.bind(inputs, {"logits": logits, **outputs})


def log_probs(decoder: Decoder, ids: list[int], *, one_by_one: bool = False) -> NDArray[np.float32]:
    """Return the next-token log-probabilities after each of ``ids``: float32 (n, vocab).

    ``one_by_one`` takes the way of an answer being made, a step for each token.
    """
    state = decoder.start(capacity=len(ids))
    if one_by_one:
        logits = np.stack([state.step(token).copy() for token in ids])
    else:
        logits = state.extend(decoder.embed(ids), every=True)
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits


def choose_variant(bundle: Bundle) -> Variant:
    """Return the variant that runs on this machine; BundleError where the bundle has none."""
    variants = bundle.generator.variants
    for variant in variants:
        if variant.target == "cpu":
            return variant
    found = ", ".join(variant.target for variant in variants) or "none"
    raise BundleError(f"{bundle.path}: no generator for target cpu (found: {found})")


def _open_session(bundle: Bundle, variant: Variant, threads: int) -> Session:
    for name in variant.files:
        bundle.file(name)
    return Session(bundle.file(variant.path), target=variant.target, threads=threads)


def _map_table(bundle: Bundle, name: str, shape: tuple[int, int]) -> NDArray[np.float16]:
    """Map the float16 embedding table: only the rows of tokens in use are ever read."""
    file = bundle.file(name)
    if file.stat().st_size != 2 * shape[0] * shape[1]:
        raise BundleError(f"{file}: has not the size of a float16 table {shape}")
    # A plain view: indexing the memmap itself makes a new Python object of its class each time.
    return np.asarray(np.memmap(file, dtype="<f2", mode="r", shape=shape))

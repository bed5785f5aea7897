"""What every engine offers: vectors in, logits out, and a KV cache that can be saved and cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgepersona.bundle import Bundle
from edgepersona.errors import BundleError
from edgepersona.manifest import Variant
from edgepersona.variants import Choice, candidates, first_that_loads

PREFILL_CHUNK = 512
"""Positions of one prefill call: bounds memory, and how long a cancel can take."""


class DecodingState(Protocol):
    """The KV cache of one sequence. Not for two threads at once."""

    capacity: int
    length: int

    def extend(self, vectors: NDArray[np.float32], *, wanted: int = 1) -> NDArray[np.float32]:
        """Read vectors (n, hidden); return the logits after the last ``wanted``: (wanted, vocab).

        InputError, before anything is written, where they do not fit the capacity.
        """

    def step(self, token: int) -> NDArray[np.float32]:
        """Read one token; return the logits after it: (vocab,), valid until the next call."""

    def verify(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Read tokens; return the logits after each: (n, vocab), valid until the next call."""

    def rewind(self, length: int) -> None:
        """Forget the positions from ``length`` on."""

    def save(self, length: int) -> bytes:
        """Return the keys and values of the first ``length`` positions."""

    def load(self, saved: bytes, length: int) -> None:
        """Take what ``save`` returned into an empty sequence; InputError where it does not fit."""


class Decoder(Protocol):
    """A bundle's LLM on one engine; sequences of one may run side by side."""

    layers: int
    hidden: int
    vocab: int
    context: int
    provider: str
    """What the model really runs on."""
    variant: Variant

    def embed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Look token ids up: float32 (n, hidden)."""

    def start(self, *, capacity: int) -> DecodingState:
        """Begin a sequence of at most ``capacity`` positions."""


def open_decoder(
    bundle: Bundle, *, threads: int | None = None, target: str | None = None
) -> Decoder:
    """Load the bundle's LLM on the engine that serves it best here; BundleError where none does."""
    return open_best(bundle, threads=threads, target=target)[0]


def open_best(
    bundle: Bundle, *, threads: int | None = None, target: str | None = None
) -> tuple[Decoder, Choice]:
    """Load the best variant that runs here; return it with what was passed over, and why.

    ``target`` (or ``EDGEPERSONA_TARGET``) leaves only a target's variants, or the one of a name.
    Raises BundleError where none runs.
    """
    return first_that_loads(
        candidates(bundle, target),
        lambda variant: open_variant(bundle, variant, threads=threads),
    )


def open_variant(bundle: Bundle, variant: Variant, *, threads: int | None = None) -> Decoder:
    """Load one variant; EdgePersonaError that says why, where it does not run here."""
    if variant.engine == "native":
        from edgepersona.nativedecoder import NativeDecoder

        return NativeDecoder(bundle, variant, threads=threads)
    if variant.engine != "onnx":
        raise BundleError(
            f"{bundle.path}: {variant.path} is for an engine {variant.engine!r:.40}, which this "
            "version does not have: upgrade edgepersona, or export the bundle again"
        )
    if variant.target == "tensorrt":
        from edgepersona.portabledecoder import PortableDecoder

        return PortableDecoder(bundle, variant, threads=threads)
    from edgepersona.onnxdecoder import OnnxDecoder

    return OnnxDecoder(bundle, variant, threads=threads)


def read_prompt(
    state: DecodingState, vectors: NDArray[np.float32], is_cancelled: Callable[[], bool]
) -> NDArray[np.float32] | None:
    """Read vectors (n, hidden); return the logits after the last, (vocab,).

    None where that was cancelled, or there is nothing to read.
    """
    logits = None
    for start in range(0, len(vectors), PREFILL_CHUNK):
        if is_cancelled():
            return None
        chunk = vectors[start : start + PREFILL_CHUNK]
        is_last = start + len(chunk) == len(vectors)
        logits = state.extend(chunk, wanted=int(is_last))
    return logits[0] if logits is not None else None


def log_probs(
    decoder: Decoder, ids: Sequence[int], *, one_by_one: bool = False
) -> NDArray[np.float32]:
    """Return the next-token log-probabilities after each of ``ids``: float32 (n, vocab).

    ``one_by_one`` takes the way of an answer being made, a step for each token.
    """
    state = decoder.start(capacity=len(ids))
    if one_by_one:
        logits = np.stack([state.step(token).copy() for token in ids])
    else:
        logits = state.extend(decoder.embed(ids), wanted=len(ids))
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits

"""An embedder's engine in the native core: packed weights, and texts without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgepersona._native import Encoder, build_info
from edgepersona.embeddings import Embeddings
from edgepersona.nativeweights import WEIGHTS, Tensors, open_model, size
from edgepersona.runtime import physical_cores

if TYPE_CHECKING:
    from edgepersona.bundle import Bundle
    from edgepersona.manifest import EmbedderSpec

WORDS = "embeddings.q8"

_SIZES = ("hidden", "intermediate", "heads")
_MATRICES = ("qkv", "output", "up", "down")
_NORMS = ("attention_norm", "mlp_norm")


class NativeEncoder:
    """A bundle's text encoder in the native core. May be used from any thread.

    Raises BundleError where a file is not what it says.
    """

    batch_tokens = 2048
    """Tokens of one call: enough to share out, and a few megabytes."""

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        spec = bundle.embedder
        folder = spec.path.rpartition("/")[0]
        self.provider = f"native {build_info()['lm_simd']}"
        self._pooling = spec.pooling
        self._core, self._positions, vocab = open_model(
            bundle.file(spec.path),
            bundle.file(f"{folder}/{WEIGHTS}"),
            lambda described, tensors: _open(described, tensors, spec, threads or physical_cores()),
        )
        self._words = Embeddings(bundle.file(f"{folder}/{WORDS}"), vocab=vocab, hidden=spec.ndim)

    def encode(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return a vector for each text, of whatever length: float32 (n, ndim)."""
        lengths = np.array([len(text) for text in ids])
        ends = lengths.cumsum()
        states = self._words[[token for text in ids for token in text]]
        states += self._positions[np.arange(len(states)) - np.repeat(ends - lengths, lengths)]
        self._core.encode(states, lengths)
        pooled: NDArray[np.float32]
        if self._pooling == "cls":
            pooled = states[ends - lengths]
        elif self._pooling == "last":
            pooled = states[ends - 1]
        else:
            pooled = np.add.reduceat(states, ends - lengths, axis=0)
            pooled /= lengths[:, None].astype(np.float32)
        return pooled


class _Opened(NamedTuple):
    core: Encoder
    positions: NDArray[np.float32]
    vocab: int


def _open(described: dict[str, Any], tensors: Tensors, spec: EmbedderSpec, threads: int) -> _Opened:
    floats = tensors.floats

    def norm(name: str, where: dict[str, Any]) -> dict[str, NDArray[Any]]:
        return {key: floats(where[key]) for key in (name, f"{name}_bias")}

    weights = {
        **{name: size(described[name]) for name in _SIZES},
        "norm_eps": float(described["norm_eps"]),
        **norm("embedding_norm", described),
        "layers": [
            {name: tensors.matrix(layer[name]) for name in _MATRICES}
            | {f"{name}_bias": floats(layer[f"{name}_bias"]) for name in _MATRICES}
            | {key: value for name in _NORMS for key, value in norm(name, layer).items()}
            for layer in described["layers"]
        ],
    }
    positions = floats(described["positions"])
    if weights["hidden"] != spec.ndim or positions.shape != (spec.max_tokens, spec.ndim):
        raise ValueError("hidden or positions are not the manifest's ndim and max_tokens")
    return _Opened(Encoder(weights, threads=threads), positions, size(described["vocab"]))

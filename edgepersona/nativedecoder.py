"""The engine in the native core: a bundle's LLM on packed weights, prompts and tokens alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepersona._native import KvCache, Transformer, build_info
from edgepersona.embeddings import Embeddings
from edgepersona.errors import InputError
from edgepersona.nativeweights import WEIGHTS, Tensors, open_model, size
from edgepersona.runtime import physical_cores

if TYPE_CHECKING:
    from edgepersona.bundle import Bundle
    from edgepersona.manifest import Variant

_SIZES = ("hidden", "intermediate", "heads", "kv_heads", "head_dim", "vocab", "positions")
_NUMBERS = ("norm_eps", "attention_scale", "attention_softcap", "logits_softcap")
_VECTORS = (
    "attention_norm", "qkv_bias", "q_norm", "k_norm", "post_attention_norm", "mlp_norm",
    "post_mlp_norm",
)  # fmt: skip
_MATRICES = ("qkv", "output", "gate_up", "down")


class NativeDecoder:
    """A variant of a bundle in the native core; sequences of one may run side by side.

    The weights are read into memory. Raises BundleError where a file is not what it says.
    """

    def __init__(self, bundle: Bundle, variant: Variant, *, threads: int | None = None) -> None:
        spec = bundle.generator
        self.layers = spec.layers
        self.hidden = spec.hidden
        self.vocab = spec.vocab
        self.context = spec.context
        self.variant = variant
        self.kv_heads = spec.kv_heads
        self.head_dim = spec.head_dim
        self.provider = f"native {build_info()['lm_simd']}"
        self.table = Embeddings(bundle.file(spec.embeddings), vocab=spec.vocab, hidden=spec.hidden)
        self.model = _open(bundle, variant, threads or physical_cores())

    def embed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Look token ids up: float32 (n, hidden)."""
        return self.table[ids]

    def start(self, *, capacity: int) -> NativeState:
        """Begin a sequence of at most ``capacity`` positions."""
        return NativeState(self, capacity=capacity)


class NativeState:
    """The KV cache of one sequence, in the native core. Not for two threads at once."""

    def __init__(self, decoder: NativeDecoder, *, capacity: int) -> None:
        self._decoder = decoder
        self._cache = KvCache(
            layers=decoder.layers,
            heads=decoder.kv_heads,
            head_dim=decoder.head_dim,
            capacity=capacity,
        )
        self.capacity = capacity
        self.length = 0
        self._logits = np.empty((1, decoder.vocab), np.float32)
        self._blocks = decoder.table.scratch()
        self._token = self._blocks.reshape(1, -1)[:, : decoder.hidden]

    def extend(self, vectors: NDArray[np.float32], *, wanted: int = 1) -> NDArray[np.float32]:
        """Read vectors (n, hidden); return the last ``wanted`` logits: (wanted, vocab)."""
        return self._read(vectors, np.empty((wanted, self._decoder.vocab), np.float32))

    def step(self, token: int) -> NDArray[np.float32]:
        """Read one token; return the logits after it: (vocab,), valid until the next call."""
        self._decoder.table.fill(self._blocks, token)
        logits: NDArray[np.float32] = self._read(self._token, self._logits[:1])[0]
        return logits

    def verify(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Read tokens; return the logits after each: (n, vocab), valid until the next call."""
        if len(tokens) > len(self._logits):
            self._logits = np.empty((len(tokens), self._decoder.vocab), np.float32)
        return self._read(self._decoder.embed(tokens), self._logits[: len(tokens)])

    def rewind(self, length: int) -> None:
        """Forget the positions from ``length`` on."""
        self._check(length)
        self.length = length

    def save(self, length: int) -> bytes:
        """Return the keys and values of the first ``length`` positions."""
        self._check(length)
        return self._cache.save(length)

    def load(self, saved: bytes, length: int) -> None:
        """Take what ``save`` returned into an empty sequence; InputError where it does not fit."""
        decoder = self._decoder
        position_bytes = 4 * decoder.layers * decoder.kv_heads * decoder.head_dim
        if self.length or length > self.capacity or len(saved) != length * position_bytes:
            raise InputError("saved keys and values that do not fit this model, or a used sequence")
        self._cache.load(saved)
        self.length = length

    def _check(self, length: int) -> None:
        if not 0 <= length <= self.length:
            raise InputError(f"a sequence of {self.length} tokens has no first {length}")

    def _read(
        self, vectors: NDArray[np.float32], logits: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        if self.length + len(vectors) > self.capacity:
            raise InputError(
                f"{self.length + len(vectors)} tokens do not fit a cache of {self.capacity}"
            )
        self._decoder.model.read(self._cache, vectors, self.length, logits)
        self.length += len(vectors)
        return logits


def _open(bundle: Bundle, variant: Variant, threads: int) -> Transformer:
    spec = bundle.generator

    def make(described: dict[str, Any], tensors: Tensors) -> Transformer:
        weights = _weights(described, tensors)
        for name in ("hidden", "kv_heads", "head_dim", "vocab"):
            if weights[name] != getattr(spec, name):
                raise ValueError(f"{name} is not the manifest's")
        if len(weights["layers"]) != spec.layers or weights["positions"] < spec.context:
            raise ValueError("layers or positions are not the manifest's")
        return Transformer(weights, threads=threads)

    data = bundle.file(f"{variant.path.rpartition('/')[0]}/{WEIGHTS}")
    return open_model(bundle.file(variant.path), data, make)


def _weights(described: dict[str, Any], tensors: Tensors) -> dict[str, Any]:
    """Return the model as the core takes it: its index with arrays in the place of offsets."""
    floats, matrix = tensors.floats, tensors.matrix
    return {
        **{name: size(described[name]) for name in _SIZES},
        **{name: float(described[name]) for name in _NUMBERS},
        "activation": str(described["activation"]),
        "ropes": [{k: floats(rope[k]) for k in ("cos", "sin")} for rope in described["ropes"]],
        "layers": [
            {
                "window": size(layer["window"]),
                "rope": size(layer["rope"]),
                **{name: floats(layer[name]) for name in _VECTORS if name in layer},
                **{name: matrix(layer[name]) for name in _MATRICES},
            }
            for layer in described["layers"]
        ],
        "final_norm": floats(described["final_norm"]),
        "head": matrix(described["head"]),
    }

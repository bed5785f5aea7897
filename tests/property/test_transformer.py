"""The Transformer beside NumPy, in double, one token after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepersona._native import KvCache, Transformer, build_info
from tests.packed import LayerShape, Shape, unpacked, weights


class Plain:
    """Rounds what the Transformer rounds: inputs of products to 8 bits, keys and values to float16.

    With the set that multiplies bfloat16, also to that whatever attention multiplies. ``in_doubt``
    where a value lay so near the middle of two that float32 may round it apart.
    """

    def __init__(self, model: dict[str, Any]) -> None:
        self._model = model
        self._unpacked: dict[int, np.ndarray] = {}
        self._in_bf16 = build_info()["lm_simd"] == "avx512bf16"
        self.in_doubt = False

    def step(self, embedding: np.ndarray, position: int, before: np.ndarray) -> np.ndarray:
        """Return the logits after a token; ``before`` is (position, layer, head, 2, head_dim)."""
        self.in_doubt = False
        state, model = embedding.astype(np.float64), self._model
        for i, layer in enumerate(model["layers"]):
            state = self._layer(layer, state, position, before[:, i])
        logits = self._product(model["head"], self._norm(state, model["final_norm"]))
        return _capped(logits, model["logits_softcap"])

    def _layer(
        self, layer: dict[str, Any], state: np.ndarray, position: int, before: np.ndarray
    ) -> np.ndarray:
        model = self._model
        heads, shared = model["heads"], model["kv_heads"]
        row = self._product(layer["qkv"], self._norm(state, layer["attention_norm"]))
        row = (row + layer.get("qkv_bias", 0.0)).reshape(-1, model["head_dim"])
        queries, keys, values = np.split(row, [heads, heads + shared])
        cos, sin = (model["ropes"][layer["rope"]][name][position] for name in ("cos", "sin"))
        queries = _rotated(self._norm(queries, layer.get("q_norm")), cos, sin)
        keys = self._halved(_rotated(self._norm(keys, layer.get("k_norm")), cos, sin))
        window = layer["window"] or position + 1
        all_ = np.concatenate([before, np.stack([keys, self._halved(values)], axis=1)[None]])
        seen = np.repeat(all_[-window:], heads // shared, axis=1)
        queries = queries * model["attention_scale"]
        if self._in_bf16:
            queries, seen = self._to_bf16(queries), _bf16_steps(seen, np.rint)
        scores = np.einsum("hd,nhd->hn", queries, seen[:, :, 0])
        scores = np.exp(_capped(scores, model["attention_softcap"]))
        scores /= scores.sum(axis=1, keepdims=True)
        if self._in_bf16:
            scores = self._to_bf16(scores)
        attended = np.einsum("hn,nhd->hd", scores, seen[:, :, 1]).reshape(-1)
        branch = self._product(layer["output"], attended)
        state = state + self._norm(branch, layer.get("post_attention_norm"))
        both = self._product(layer["gate_up"], self._norm(state, layer["mlp_norm"]))
        gate, up = np.split(both, 2)
        branch = self._product(layer["down"], _activated(gate, model["activation"]) * up)
        return state + self._norm(branch, layer.get("post_mlp_norm"))

    def _norm(self, x: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        if weight is None:
            return x
        mean = (x * x).mean(axis=-1, keepdims=True)
        return x / np.sqrt(mean + self._model["norm_eps"]) * weight

    def _product(self, matrix: dict[str, Any], x: np.ndarray) -> np.ndarray:
        if id(matrix) not in self._unpacked:
            self._unpacked[id(matrix)] = unpacked(matrix)
        block = matrix["block"]
        blocks = np.pad(x, (0, -len(x) % block)).reshape(-1, block)
        scales = np.abs(blocks).max(axis=1, keepdims=True) / 127
        scales[scales == 0] = 1
        rounded = self._rounded(blocks / scales) * scales
        return self._unpacked[id(matrix)] @ rounded.reshape(-1)[: len(x)]

    def _halved(self, x: np.ndarray) -> np.ndarray:
        _, exponents = np.frexp(x)
        step = np.ldexp(1.0, np.maximum(exponents, -13) - 11)
        return self._rounded(x / step) * step

    def _to_bf16(self, x: np.ndarray) -> np.ndarray:
        return _bf16_steps(x, self._rounded)

    def _rounded(self, x: np.ndarray) -> np.ndarray:
        rounded = np.rint(x)
        self.in_doubt |= bool((np.abs(np.abs(x - rounded) - 0.5) < 1e-3).any())
        return rounded


def _bf16_steps(x: np.ndarray, rounded: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    _, exponents = np.frexp(x)
    step = np.ldexp(1.0, exponents - 8)
    return rounded(x / step) * step


def _rotated(heads: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    half = len(cos)
    a, b = heads[:, :half], heads[:, half : 2 * half]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, heads[:, 2 * half :]], axis=1)


def _capped(x: np.ndarray, cap: float) -> np.ndarray:
    return cap * np.tanh(x / cap) if cap else x


def _activated(gate: np.ndarray, activation: str) -> np.ndarray:
    if activation == "silu":
        return gate / (1 + np.exp(-gate))
    return gate / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (gate + 0.044715 * gate**3)))


NEAR_A_BLOCK = [1, 15, 16, 17, 31, 32, 33, 63, 64, 65]
LAYERS = st.builds(
    LayerShape,
    bias=st.booleans(),
    head_norms=st.booleans(),
    branch_norms=st.booleans(),
    window=st.sampled_from([0, 1, 2, 15, 16, 17, 40]),
    rope=st.integers(0, 1),
    bits=st.sampled_from([4, 8]),
    block=st.sampled_from([32, 64, 128]),
)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    kv_heads, head_dim = draw(st.integers(1, 3)), 16 * draw(st.integers(1, 3))
    return Shape(
        hidden=draw(st.sampled_from(NEAR_A_BLOCK[2:])),
        intermediate=16 * draw(st.integers(1, 5)),
        heads=kv_heads * draw(st.sampled_from([1, 2, 3, 4, 6, 11, 12, 13])),
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=draw(st.sampled_from(NEAR_A_BLOCK)),
        ropes=(head_dim, 2 * draw(st.integers(0, head_dim // 2))),
        layers=tuple(draw(st.lists(LAYERS, min_size=1, max_size=2))),
        activation=draw(st.sampled_from(["silu", "gelu_tanh"])),
        attention_softcap=draw(st.sampled_from([0.0, 5.0])),
        logits_softcap=draw(st.sampled_from([0.0, 4.0])),
    )


def _kept(saved: bytes, count: int, shape: Shape) -> np.ndarray:
    """Return saved keys and values: (positions, layers, heads, key and value, head_dim)."""
    dim, whole = shape.head_dim, count // 16 * 16
    halves = np.frombuffer(saved, "<f2").astype(np.float64)
    parts = len(shape.layers) * shape.kv_heads
    heads = halves.reshape(parts, 2 * count * dim)
    blocks = heads[:, : whole * dim].reshape(parts, whole // 16, dim, 16)
    keys = np.concatenate(
        [
            blocks.transpose(0, 1, 3, 2).reshape(parts, whole, dim),
            heads[:, whole * dim : count * dim].reshape(parts, count - whole, dim),
        ],
        axis=1,
    )
    both = np.stack([keys, heads[:, count * dim :].reshape(parts, count, dim)], axis=2)
    return both.transpose(1, 0, 2, 3).reshape(count, len(shape.layers), shape.kv_heads, 2, dim)


class Read:
    """A text read in one call, with the keys and values that it left."""

    def __init__(self, model: dict[str, Any], shape: Shape, vectors: np.ndarray, cut: int) -> None:
        count = len(vectors)
        cache = KvCache(
            layers=len(shape.layers),
            heads=shape.kv_heads,
            head_dim=shape.head_dim,
            capacity=max(count, 1),
        )
        transformer = Transformer(model, threads=2)
        self.logits = np.full((count, shape.vocab), np.nan, np.float32)
        for part in (slice(0, cut), slice(cut, count)):
            transformer.read(cache, vectors[part], part.start, self.logits[part])
        self.saved = cache.save(count)
        self.kept = _kept(self.saved, count, shape)


@settings(max_examples=60)
@given(
    shapes(),
    st.sampled_from([0, 1, 2, 15, 16, 17, 31, 32, 33, 48]),
    st.integers(0, 48),
    st.integers(0, 2**32),
)
def test_logits_are_numpys_and_the_same_bits_in_two_parts(
    shape: Shape, count: int, cut: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    model = weights(random, shape)
    vectors = random.normal(size=(count, shape.hidden)).astype(np.float32)
    whole, parts = (Read(model, shape, vectors, min(at, count)) for at in (0, cut))
    np.testing.assert_array_equal(parts.logits, whole.logits)
    assert parts.saved == whole.saved
    plain = Plain(model)
    for t in range(count):
        expected = plain.step(vectors[t], t, whole.kept[:t])
        # Where a rounding falls on the other side, small models differ by as much as a step.
        tolerance = 0.5 if plain.in_doubt else 1e-4
        np.testing.assert_allclose(
            whole.logits[t], expected, rtol=0, atol=tolerance * max(np.abs(expected).max(), 0.1)
        )

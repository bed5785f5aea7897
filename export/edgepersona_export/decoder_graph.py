"""The ONNX graph of a decoder-only LLM that takes embeddings and keeps its KV cache in place."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto
from onnx.helper import make_tensor_value_info as info

from edgepersona_export.decoder_model import Array, DecoderModel, Layer
from edgepersona_export.graph_writer import MICROSOFT, DecoderWriter
from edgepersona_export.quantize import Quantised


def build(
    model: DecoderModel,
    *,
    matrices: Mapping[str, Quantised] = MappingProxyType({}),
    dtype: type[np.floating[Any]] = np.float32,
) -> onnx.ModelProto:
    """Build the graph; what ``matrices`` does not name is plain, of ``dtype`` float32 or float16.

    Inputs: ``inputs_embeds`` float32 (1, s, hidden); ``seqlens_k`` int32 (1,), the number of
    tokens in the cache after this call minus one; ``total_sequence_length`` int32 (), that number;
    ``logits_from`` int64 (1,), the first of the s positions whose logits are wanted; and for each
    layer ``past_key_values.i.key`` and ``.value`` of ``dtype`` (1, kv_heads, capacity, head_dim).
    Weights are named by what they are, such as ``layers.0.qkv.codes``.

    Outputs: ``logits`` float32 (1, s - logits_from, vocab) and ``present.i.key``/``.value``, to be
    bound to the memory of the inputs: attention then writes new rows in place.
    """
    graph = _Graph(model, matrices, dtype)
    hidden, branch = graph.start(), ""
    for i, layer in enumerate(model.layers):
        at = f"layers.{i}"
        hidden, normed = graph.add_norm(
            f"{at}.attention_norm", hidden, branch, layer.attention_norm
        )
        branch = graph.attention(i, normed, layer)
        hidden, normed = graph.add_norm(f"{at}.mlp_norm", hidden, branch, layer.mlp_norm)
        branch = graph.mlp(at, normed, layer)
    hidden, branch = graph.tail(hidden), graph.tail(branch)
    _, normed = graph.add_norm("final_norm", hidden, branch, model.final_norm)
    graph.logits(normed)
    return graph.finish()


_SHRUNK = 1 / 64
"""What the sums that layers add to are kept at in float16 where they outgrow it (Gemma's do)."""


class _Graph(DecoderWriter):
    """The parts of a decoder, as ONNX Runtime has operators for them.

    Norms undo any factor on what they norm, so where each branch passes one before it is added,
    the sums can be kept smaller and nothing else changes: ``_share`` is that factor.
    """

    def __init__(
        self,
        model: DecoderModel,
        matrices: Mapping[str, Quantised],
        dtype: type[np.floating[Any]],
    ) -> None:
        super().__init__(model, dtype)
        self._matrices = matrices
        normed = all(layer.post_mlp_norm is not None for layer in model.layers)
        self._share = _SHRUNK if normed and not self.whole else 1.0

    def start(self) -> str:
        for i, rope in enumerate(self._model.ropes):
            for name, table in zip(_rope_names(i), (rope.cos, rope.sin), strict=True):
                self.constant(table, name)
        if self._share == 1:
            return self.narrowed("inputs_embeds")
        return self.narrowed(self.node("Mul", ["inputs_embeds", self.number(self._share)]))

    def add_norm(self, name: str, x: str, y: str, weight: Array) -> tuple[str, str]:
        """Return (x + y, its norm); without ``y``, (x, its norm)."""
        eps = self._model.norm_eps * self._share**2
        if not y:
            return x, self.norm(name, x, weight, eps)
        total, normed = self.name(), self.name()
        self.nodes(
            "SkipSimplifiedLayerNormalization",
            [x, y, self.constant(weight, name)],
            [normed, "", "", total],
            domain=MICROSOFT,
            epsilon=eps,
        )
        return total, normed

    def norm(self, name: str, x: str, weight: Array, eps: float) -> str:
        scale = self.constant(weight, name)
        return self.node(
            "SimplifiedLayerNormalization", [x, scale], axis=-1, epsilon=eps, stash_type=1
        )

    def attention(self, i: int, x: str, layer: Layer) -> str:
        model, at = self._model, f"layers.{i}"
        qkv = self.matmul(f"{at}.qkv", x, layer.qkv, layer.qkv_bias)
        parts = [qkv, "", ""] if layer.q_norm is None else self._norm_heads(at, qkv, layer)
        past = [f"past_key_values.{i}.key", f"past_key_values.{i}.value"]
        optional: dict[str, float] = {}
        if layer.window:
            optional["local_window_size"] = layer.window
        if model.attention_softcap:
            optional["softcap"] = model.attention_softcap
        out, *_ = self.nodes(
            "GroupQueryAttention",
            [*parts, *past, "seqlens_k", "total_sequence_length", *_rope_names(layer.rope)],
            [self.name(), f"present.{i}.key", f"present.{i}.value"],
            domain=MICROSOFT,
            num_heads=model.heads,
            kv_num_heads=model.kv_heads,
            do_rotary=1,
            rotary_interleaved=0,
            scale=model.attention_scale,
            **optional,
        )
        branch = self.matmul(f"{at}.output", out, layer.output)
        return self._post_norm(f"{at}.post_attention_norm", branch, layer.post_attention_norm)

    def mlp(self, at: str, x: str, layer: Layer) -> str:
        # One product for both halves: each node costs the start and the end of its threads.
        both = self.matmul(f"{at}.gate_up", x, np.concatenate([layer.gate, layer.up]))
        gate, up = self.nodes("Split", [both], [self.name(), self.name()], axis=-1, num_outputs=2)
        product = self.node("Mul", [self._activation(gate), up])
        branch = self.matmul(f"{at}.down", product, layer.down)
        return self._post_norm(f"{at}.post_mlp_norm", branch, layer.post_mlp_norm)

    def matmul(
        self, name: str, x: str, weight: Array, bias: Array | None = None, *, output: str = ""
    ) -> str:
        matrix = self._matrices.get(name)
        if matrix is None:
            return super().matmul(name, x, weight, bias, output=output)
        n, k = weight.shape
        offsets = _offsets(matrix)
        added = [] if bias is None else ["", "", self.constant(bias, f"{name}_bias")]
        product = self.node(
            "MatMulNBits",
            [
                x,
                self.exact(_codes(matrix), f"{name}.codes"),
                self.constant(matrix.scales.reshape(-1), f"{name}.scales"),
                *added,
            ],
            "" if offsets.any() else output,
            domain=MICROSOFT,
            K=k,
            N=n,
            bits=matrix.bits,
            block_size=matrix.block,
        )
        if not offsets.any():
            return product
        shift = self.constant(offsets.T * matrix.block, f"{name}.offsets")
        shifted = self.node("MatMul", [self._means(x, k, matrix.block), shift])
        return self.node("Add", [product, shifted], output)

    def _means(self, x: str, k: int, block: int) -> str:
        """Return the mean of each block of ``x``: a sum might leave float16's range."""
        if padding := -k % block:
            x = self.node("Pad", [x, self.integers(0, 0, 0, 0, 0, padding)])
        apart = self.node("Reshape", [x, self.integers(1, -1, (k + padding) // block, block)])
        return self.node("ReduceMean", [apart, self.integers(-1)], keepdims=0)

    def tail(self, x: str) -> str:
        """Return the positions whose logits are wanted: none else is worth the largest matrix."""
        end, axis = self.integers(np.iinfo(np.int64).max), self.integers(1)
        return self.node("Slice", [x, "logits_from", end, axis])

    def finish(self) -> onnx.ModelProto:
        lengths = [
            info("seqlens_k", TensorProto.INT32, [1]),
            info("total_sequence_length", TensorProto.INT32, []),
            info("logits_from", TensorProto.INT64, [1]),
        ]
        cache: list[str | int] = [1, self._model.kv_heads, "capacity", self._model.head_dim]
        return self.decoder(lengths, past=cache, present=cache, opset=21)

    def _norm_heads(self, at: str, qkv: str, layer: Layer) -> list[str]:
        """Return queries, keys and values apart, each head of the first two normed."""
        model = self._model
        widths = [n * model.head_dim for n in (model.heads, model.kv_heads, model.kv_heads)]
        outputs = [self.name() for _ in widths]
        q, k, v = self.nodes("Split", [qkv, self.integers(*widths)], outputs, axis=-1)
        normed = []
        for name, x, width, weight in (
            ("q_norm", q, widths[0], layer.q_norm),
            ("k_norm", k, widths[1], layer.k_norm),
        ):
            assert weight is not None
            heads = self.node("Reshape", [x, self.integers(1, -1, model.head_dim)])
            heads = self.norm(f"{at}.{name}", heads, weight, model.norm_eps)
            normed.append(self.node("Reshape", [heads, self.integers(1, -1, width)]))
        return [*normed, v]

    def _post_norm(self, name: str, branch: str, weight: Array | None) -> str:
        if weight is None:
            return branch
        return self.norm(name, branch, weight * np.float32(self._share), self._model.norm_eps)

    def _activation(self, x: str) -> str:
        if self._model.activation == "gelu_tanh":
            return self.node("FastGelu", [x], domain=MICROSOFT)
        # QuickGelu with alpha 1 is x·sigmoid(x): SiLU in one node instead of two.
        return self.node("QuickGelu", [x], domain=MICROSOFT, alpha=1.0)


def _rope_names(i: int) -> tuple[str, str]:
    suffix = f".{i}" if i else ""
    return f"rope_cos{suffix}", f"rope_sin{suffix}"


def _codes(matrix: Quantised) -> NDArray[np.uint8]:
    """Return the codes as MatMulNBits holds them: (n, blocks, bytes of a block)."""
    codes = matrix.codes.reshape(*matrix.scales.shape, matrix.block)
    return codes if matrix.bits == 8 else codes[..., 0::2] | (codes[..., 1::2] << np.uint8(4))


def _offsets(matrix: Quantised) -> Array:
    """Return what a block's values are above what MatMulNBits takes them for: (n, blocks).

    It takes a code for its distance from 8, or 128. A zero point of fractions, which it knows too,
    costs it its fast kernels; so what is left over is added, by the means of the blocks of x.
    """
    scales = matrix.scales.astype(np.float32)
    if matrix.mins is None:
        return np.zeros_like(scales)
    return matrix.mins.astype(np.float32) + 8 * scales

"""The ONNX graph of a decoder-only LLM that takes embeddings and keeps its KV cache in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgepersona_export.decoder_model import Array, DecoderModel, Layer, Rope
from edgepersona_export.quantize import Scheme, quantize

_MICROSOFT = "com.microsoft"


def build(model: DecoderModel, *, scheme: Scheme | None) -> onnx.ModelProto:
    """Build the graph; ``scheme`` None keeps float32 weights.

    Inputs: ``inputs_embeds`` float32 (1, s, hidden); ``seqlens_k`` int32 (1,), the number of
    tokens in the cache after this call minus one; ``total_sequence_length`` int32 (), that number;
    ``logits_from`` int64 (1,), the first of the s positions whose logits are wanted; and for each
    layer ``past_key_values.i.key`` and ``.value`` float32 (1, kv_heads, capacity, head_dim).
    Weights are named by what they are, such as ``layers.0.qkv.codes``.

    Outputs: ``logits`` float32 (1, s - logits_from, vocab) and ``present.i.key``/``.value``, to be
    bound to the memory of the inputs: attention then writes new rows in place.
    """
    graph = _Graph(model, scheme)
    graph.add_rope_tables(model.ropes[0])
    hidden, branch = "inputs_embeds", ""
    for i, layer in enumerate(model.layers):
        at = f"layers.{i}"
        hidden, normed = graph.add_norm(
            f"{at}.attention_norm", hidden, branch, layer.attention_norm
        )
        branch = graph.attention(i, normed, layer)
        hidden, normed = graph.add_norm(f"{at}.mlp_norm", hidden, branch, layer.mlp_norm)
        branch = graph.mlp(at, normed, layer)
    # Only the positions asked for reach the head: it is the largest matrix of a small model.
    hidden, branch = graph.tail(hidden), graph.tail(branch)
    _, normed = graph.add_norm("final_norm", hidden, branch, model.final_norm)
    graph.matmul("head", normed, model.head, output="logits")
    return graph.finish()


class _Graph:
    """Collects nodes and initializers, and names what lies between them."""

    def __init__(self, model: DecoderModel, scheme: Scheme | None) -> None:
        self._model = model
        self._scheme = scheme
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._count = 0

    def matmul(
        self,
        name: str,
        x: str,
        weight: Array,
        bias: Array | None = None,
        *,
        output: str = "",
    ) -> str:
        output = output or self._name()
        bias_name = "" if bias is None else self._constant(bias, f"{name}_bias")
        if self._scheme is None:
            self._plain_matmul(name, x, weight, bias_name, output)
        else:
            self._block_matmul(name, x, weight, bias_name, output, self._scheme)
        return output

    def add_norm(self, name: str, x: str, y: str, weight: Array) -> tuple[str, str]:
        """Return (x + y, its norm); without ``y``, (x, its norm)."""
        scale, total, normed = self._constant(weight, name), self._name(), self._name()
        eps = self._model.norm_eps
        if y:
            skip = "SkipSimplifiedLayerNormalization"
            self._fused(skip, [x, y, scale], [normed, "", "", total], epsilon=eps)
            return total, normed
        self._node(
            "SimplifiedLayerNormalization", [x, scale], normed, axis=-1, epsilon=eps, stash_type=1
        )
        return x, normed

    def attention(self, i: int, x: str, layer: Layer) -> str:
        model = self._model
        qkv = self.matmul(f"layers.{i}.qkv", x, layer.qkv, layer.qkv_bias)
        past = [f"past_key_values.{i}.key", f"past_key_values.{i}.value"]
        lengths = ["seqlens_k", "total_sequence_length"]
        out = self._name()
        self._fused(
            "GroupQueryAttention",
            [qkv, "", "", *past, *lengths, "rope_cos", "rope_sin"],
            [out, f"present.{i}.key", f"present.{i}.value"],
            num_heads=model.heads,
            kv_num_heads=model.kv_heads,
            do_rotary=1,
            rotary_interleaved=0,
            scale=model.attention_scale,
        )
        return self.matmul(f"layers.{i}.output", out, layer.output)

    def mlp(self, at: str, x: str, layer: Layer) -> str:
        # One product for both halves: each node costs the start and the end of its threads.
        both = self.matmul(f"{at}.gate_up", x, np.concatenate([layer.gate, layer.up]))
        gate, up, active, product = (self._name() for _ in range(4))
        self._nodes.append(helper.make_node("Split", [both], [gate, up], axis=-1, num_outputs=2))
        # QuickGelu with alpha 1 is x·sigmoid(x): SiLU in one node instead of two.
        self._fused("QuickGelu", [gate], [active], alpha=1.0)
        self._node("Mul", [active, up], product)
        return self.matmul(f"{at}.down", product, layer.down)

    def tail(self, x: str) -> str:
        ends = self._constant(np.array([np.iinfo(np.int64).max]))
        axes = self._constant(np.array([1], dtype=np.int64))
        tail = self._name()
        self._node("Slice", [x, "logits_from", ends, axes], tail)
        return tail

    def add_rope_tables(self, rope: Rope) -> None:
        self._constant(rope.cos, "rope_cos")
        self._constant(rope.sin, "rope_sin")

    def finish(self) -> onnx.ModelProto:
        def info(name: str, kind: int, dims: Sequence[str | int]) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, kind, dims)

        model, float32 = self._model, TensorProto.FLOAT
        cache: list[str | int] = [1, model.kv_heads, "capacity", model.head_dim]
        kv = [f"{i}.{part}" for i in range(len(model.layers)) for part in ("key", "value")]
        inputs = [
            info("inputs_embeds", float32, [1, "length", model.hidden]),
            info("seqlens_k", TensorProto.INT32, [1]),
            info("total_sequence_length", TensorProto.INT32, []),
            info("logits_from", TensorProto.INT64, [1]),
            *[info(f"past_key_values.{name}", float32, cache) for name in kv],
        ]
        outputs = [
            info("logits", float32, [1, "wanted", model.vocab]),
            *[info(f"present.{name}", float32, cache) for name in kv],
        ]
        graph = helper.make_graph(self._nodes, "decoder", inputs, outputs, self._constants)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(_MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def _plain_matmul(self, name: str, x: str, weight: Array, bias: str, output: str) -> None:
        product = self._name() if bias else output
        self._node("MatMul", [x, self._constant(weight.T, f"{name}.weight")], product)
        if bias:
            self._node("Add", [product, bias], output)

    def _block_matmul(
        self, name: str, x: str, weight: Array, bias: str, output: str, scheme: Scheme
    ) -> None:
        n, k = weight.shape
        fitted = scheme.fitted(k)
        blocks = quantize(weight, fitted)
        codes = self._constant(blocks.values, f"{name}.codes")
        scales = self._constant(blocks.scales.reshape(-1), f"{name}.scales")
        self._fused(
            "MatMulNBits",
            [x, codes, scales, *(["", "", bias] if bias else [])],
            [output],
            K=k,
            N=n,
            bits=fitted.bits,
            block_size=fitted.block,
            # Activations in int8 too: the only level with fast 8-bit kernels.
            accuracy_level=4,
        )

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def _fused(
        self, kind: str, inputs: list[str], outputs: list[str], **attributes: object
    ) -> None:
        """Add one of ONNX Runtime's own operators."""
        self._nodes.append(helper.make_node(kind, inputs, outputs, domain=_MICROSOFT, **attributes))

    def _constant(self, value: NDArray[Any], name: str = "") -> str:
        name = name or self._name()
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _name(self) -> str:
        self._count += 1
        return f"t{self._count}"

"""The same decoder in standard ONNX operators alone, for runtimes that have no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from onnx.helper import make_tensor_value_info as info

from edgepersona_export.decoder_model import Array, DecoderModel, Layer, Rope
from edgepersona_export.graph_writer import DecoderWriter

OPSET = 20
"""The newest operators that TensorRT 10 reads."""

_HIDDEN = -1e30
"""What is added to the score of a position that is not seen."""


def build_portable(
    model: DecoderModel, *, dtype: type[np.floating[Any]] = np.float32
) -> onnx.ModelProto:
    """Build the graph with weights and caches of ``dtype``, float32 or float16.

    Inputs: ``inputs_embeds`` float32 (1, s, hidden); ``logits_at`` int32 (wanted,), which of the s
    positions want logits; and for each layer ``past_key_values.i.key`` and ``.value`` of ``dtype``
    (1, past, kv_heads, head_dim), whose length says where the s begin.

    Outputs: ``logits`` float32 (1, wanted, vocab) and ``present.i.key``/``.value`` (1, s, kv_heads,
    head_dim), the new positions alone: bound behind the past's memory they make it grow in place.
    Norms and softmax are computed in float32.
    """
    graph = _Graph(model, dtype)
    hidden = "inputs_embeds"
    for i, layer in enumerate(model.layers):
        at = f"layers.{i}"
        normed = graph.norm(f"{at}.attention_norm", hidden, layer.attention_norm)
        branch = graph.attention(i, normed, layer)
        name = f"{at}.post_attention_norm"
        hidden = graph.add(hidden, branch, name, layer.post_attention_norm)
        normed = graph.norm(f"{at}.mlp_norm", hidden, layer.mlp_norm)
        branch = graph.mlp(at, normed, layer)
        hidden = graph.add(hidden, branch, f"{at}.post_mlp_norm", layer.post_mlp_norm)
    graph.logits(graph.norm("final_norm", graph.tail(hidden), model.final_norm))
    return graph.finish()


class _Graph(DecoderWriter):
    """The parts of a decoder in standard operators.

    What layers add to, and what is normed, is float32 in every graph: in some models it outgrows
    float16.
    """

    def __init__(self, model: DecoderModel, dtype: type[np.floating[Any]]) -> None:
        super().__init__(model, dtype)
        self._masks: dict[int, str] = {}
        past = self.node("Shape", ["past_key_values.0.key"], start=1, end=2)
        length = self.node("Shape", ["inputs_embeds"], start=1, end=2)
        self._past, self._total = past, self.node("Add", [past, length])
        self._ropes = [self._rope(i, rope) for i, rope in enumerate(model.ropes)]
        positions = self.exact(np.arange(model.positions), "positions")
        rows = self._cut(positions, self._past)
        self._rows = self.node("Unsqueeze", [rows, self.integers(1)])
        self._columns = self._cut(positions, self.integers(0))

    def norm(self, name: str, x: str, weight: Array) -> str:
        """Return the norm of float32 ``x``, as the graph's kind."""
        return self.narrowed(self._norm(name, x, weight))

    def add(self, hidden: str, branch: str, name: str, post_norm: Array | None) -> str:
        """Return ``hidden`` and a branch of the graph's kind, added up in float32."""
        branch = self.widened(branch)
        if post_norm is not None:
            branch = self._norm(name, branch, post_norm)
        return self.node("Add", [hidden, branch])

    def attention(self, i: int, x: str, layer: Layer) -> str:
        model, at = self._model, f"layers.{i}"
        qkv = self.matmul(f"{at}.qkv", x, layer.qkv, layer.qkv_bias)
        counts = [model.heads, model.kv_heads, model.kv_heads]
        widths = self.integers(*[count * model.head_dim for count in counts])
        parts = self.nodes("Split", [qkv, widths], [self.name() for _ in counts], axis=-1)
        q, k, v = (self._heads(part, n) for part, n in zip(parts, counts, strict=True))
        q = self._rotate(self._norm_heads(f"{at}.q_norm", q, layer.q_norm), layer.rope)
        k = self._rotate(self._norm_heads(f"{at}.k_norm", k, layer.k_norm), layer.rope)
        k, v = self._grown(f"{i}.key", k), self._grown(f"{i}.value", v)
        return self.matmul(f"{at}.output", self._attend(q, k, v, layer.window), layer.output)

    def mlp(self, at: str, x: str, layer: Layer) -> str:
        both = self.matmul(f"{at}.gate_up", x, np.concatenate([layer.gate, layer.up]))
        gate, up = self.nodes("Split", [both], [self.name(), self.name()], axis=-1, num_outputs=2)
        return self.matmul(f"{at}.down", self.node("Mul", [self._active(gate), up]), layer.down)

    def tail(self, x: str) -> str:
        """Return the positions whose logits are wanted."""
        # Not a slice: what says where one starts is a shape to TensorRT, with limits of its own.
        return self.node("Gather", [x, "logits_at"], axis=1)

    def finish(self) -> onnx.ModelProto:
        heads = [self._model.kv_heads, self._model.head_dim]
        return self.decoder(
            [info("logits_at", TensorProto.INT32, ["wanted"])],
            past=[1, "past", *heads],
            present=[1, "length", *heads],
            opset=OPSET,
        )

    def _norm(self, name: str, x: str, weight: Array) -> str:
        eps = self.number(self._model.norm_eps)
        square = self.node("Mul", [x, x])
        mean = self.node("ReduceMean", [square, self.integers(-1)], keepdims=1)
        rms = self.node("Sqrt", [self.node("Add", [mean, eps])])
        return self.node("Mul", [self.node("Div", [x, rms]), self.exact(weight, name)])

    def _heads(self, x: str, count: int) -> str:
        """Return (1, s, heads, head_dim) of (1, s, heads · head_dim)."""
        return self.node("Reshape", [x, self.integers(1, -1, count, self._model.head_dim)])

    def _grown(self, name: str, x: str) -> str:
        """Return a cache and the new positions after it; these leave the graph as well."""
        new = self.node("Identity", [x], f"present.{name}")
        return self.node("Concat", [f"past_key_values.{name}", new], axis=1)

    def _norm_heads(self, name: str, x: str, weight: Array | None) -> str:
        return x if weight is None else self.norm(name, self.widened(x), weight)

    def _rope(self, i: int, rope: Rope) -> tuple[str, str]:
        """Return the rows of the tables for what is read now, to be spread over heads."""
        cos, sin = (
            self.constant(rope.cos[:, None], f"rope_cos.{i}"),
            self.constant(rope.sin[:, None], f"rope_sin.{i}"),
        )
        return self._cut(cos, self._past), self._cut(sin, self._past)

    def _rotate(self, x: str, rope: int) -> str:
        cos, sin = self._ropes[rope]
        half = self._model.ropes[rope].cos.shape[1]
        kept = self._model.head_dim - 2 * half
        sizes = [half, half, *([kept] if kept else [])]
        names = [self.name() for _ in sizes]
        a, b, *rest = self.nodes("Split", [x, self.integers(*sizes)], names, axis=-1)
        first = self.node("Sub", [self.node("Mul", [a, cos]), self.node("Mul", [b, sin])])
        second = self.node("Add", [self.node("Mul", [b, cos]), self.node("Mul", [a, sin])])
        return self.node("Concat", [first, second, *rest], axis=-1)

    def _attend(self, q: str, k: str, v: str, window: int) -> str:
        """Return (1, s, heads · head_dim); query heads that share keys stand beside each other."""
        model = self._model
        scale = self.constant(np.array([model.attention_scale], np.float32))
        group = self.integers(1, model.kv_heads, model.heads // model.kv_heads, -1, model.head_dim)
        q = self.node("Transpose", [self.node("Mul", [q, scale])], perm=[0, 2, 1, 3])
        q = self.node("Reshape", [q, group])
        k = self.node("Transpose", [k], perm=[0, 2, 3, 1])
        v = self.node("Transpose", [v], perm=[0, 2, 1, 3])
        k, v = (self.node("Unsqueeze", [x, self.integers(2)]) for x in (k, v))
        scores = self.soft_cap(self.widened(self.node("MatMul", [q, k])), model.attention_softcap)
        scores = self.node("Add", [scores, self._mask(window)])
        weights = self.narrowed(self.node("Softmax", [scores], axis=-1))
        seen = self.node("MatMul", [weights, v])
        seen = self.node("Reshape", [seen, self.integers(1, model.heads, -1, model.head_dim)])
        seen = self.node("Transpose", [seen], perm=[0, 2, 1, 3])
        return self.node("Reshape", [seen, self.integers(1, -1, model.heads * model.head_dim)])

    def _mask(self, window: int) -> str:
        """Return float32 (s, total): 0 where a position is seen."""
        if window not in self._masks:
            seen = self.node("LessOrEqual", [self._columns, self._rows])
            if window:
                before = self.node("Sub", [self._rows, self.integers(window)])
                seen = self.node("And", [seen, self.node("Greater", [self._columns, before])])
            choices = [self.number(value) for value in (0, _HIDDEN)]
            self._masks[window] = self.node("Where", [seen, *choices])
        return self._masks[window]

    def _active(self, x: str) -> str:
        if self._model.activation == "gelu_tanh":
            return self.node("Gelu", [x], approximate="tanh")
        return self.node("Mul", [x, self.node("Sigmoid", [x])])

    def _cut(self, table: str, start: str) -> str:
        """Return the rows of a table from ``start`` to the last position."""
        return self.node("Slice", [table, start, self._total, self.integers(0)])

"""Rewrite a fused BERT graph to int8 with fixed ranges: as fast as dynamic ranges, and steadier.

``quantize_dynamic`` takes one range over a whole batch, so a text's vector moves with the texts
beside it (cosine down to .94 on MiniLM). Here every range is fixed, from a few texts: a vector
depends on its text alone. Channels that stand out are divided down before rounding and their
weights multiplied up (SmoothQuant, Xiao et al. 2023), the strength chosen per layer by the
error it leaves. The few hidden units that carry a hundred times the others' values stay float
(LLM.int8, Dettmers et al. 2022): four of 1536 took the worst cosine from .982 to .992.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgepersona_export.embedder_graph import save_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Floats = NDArray[np.float32]

_STRENGTHS = (0.0, 0.5, 0.6, 0.7, 0.8)
_MARGIN = 1.1  # room above the largest value that calibration saw
_TINY = 1e-5
_OUTLIERS = 4  # channels of a narrowing layer that stay float
_TABLE_ROWS = 1000  # smaller ones are not worth their extra nodes


def quantize_bert(model: Any, folder: Path, tokens: Sequence[Sequence[int]]) -> None:
    """Make ``model`` its int8 form; ``tokens``: the ids of the calibration texts.

    ``folder`` takes what is written on the way.
    """
    graph = _Graph(model)
    seen = _activations(model, graph, tokens, folder)
    for node in list(model.graph.node):
        if node.op_type == "MatMul" and node.input[1] in graph.weights:
            _matmul(graph, node, seen[node.input[0]])
        elif node.op_type == "Attention":
            _attention(graph, node, seen[node.input[0]])
        elif node.op_type == "Gather" and _is_table(graph, node):
            _gather(graph, node)
        else:
            graph.nodes.append(node)
    graph.finish()


class _Layer(NamedTuple):
    """A linear layer as int8: divide x by ``channel``, round with ``zero``, multiply, scale."""

    channel: Floats | None  # None: one number, ``scale``, for all channels
    scale: float
    zero: int
    weight: NDArray[np.int8]
    weight_scale: Floats


class _Graph:
    """The graph under work: its weights by name, the nodes written so far, the new constants."""

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper

        self.model = model
        self.weights = {i.name: i for i in model.graph.initializer}
        self.nodes: list[Any] = []
        self._read: Callable[[Any], NDArray[Any]] = numpy_helper.to_array

    def array(self, name: str) -> NDArray[Any]:
        return self._read(self.weights[name])

    def const(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def scalar(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        self.weights[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        domain = "com.microsoft" if op in ("MatMulIntegerToFloat", "QAttention") else ""
        self.nodes.append(helper.make_node(op, inputs, [output], domain=domain, **attributes))
        return output

    def finish(self) -> None:
        """Put the new nodes into the model, and the constants that they use."""
        graph = self.model.graph
        used = {name for node in self.nodes for name in node.input}
        del graph.node[:], graph.initializer[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(w for name, w in self.weights.items() if name in used)


def _activations(
    model: Any, graph: _Graph, tokens: Sequence[Sequence[int]], folder: Path
) -> dict[str, Floats]:
    """Return what enters each linear layer, all positions of all texts: (positions, k)."""
    import onnx
    import onnxruntime
    from onnx import helper

    names = list(
        dict.fromkeys(
            node.input[0]
            for node in model.graph.node
            if node.op_type in ("MatMul", "Attention") and node.input[1] in graph.weights
        )
    )
    given = len(model.graph.output)
    model.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    probe = save_apart(model, folder / "probe.onnx")
    del model.graph.output[given:]
    session = onnxruntime.InferenceSession(probe, providers=["CPUExecutionProvider"])
    seen: dict[str, list[Floats]] = {name: [] for name in names}
    for ids in tokens:
        row = np.array([ids], np.int64)
        feeds = {"input_ids": row, "attention_mask": np.ones_like(row)}
        for name, value in zip(names, session.run(names, feeds), strict=True):
            seen[name].append(value[0])
    return {name: np.concatenate(values) for name, values in seen.items()}


def _fit(x: Floats, weight: Floats) -> _Layer:
    """Choose the smoothing strength that leaves the least error in ``x @ weight``."""
    exact = x @ weight
    x_peak = np.abs(x).max(0)
    # Only divide down: a channel that was quiet here may not be so in the next text.
    x_peak = np.maximum(x_peak, max(float(np.median(x_peak)), _TINY))
    w_peak = np.maximum(np.abs(weight).max(1), _TINY)
    best, least = None, np.inf
    for strength in _STRENGTHS:
        divisor = x_peak**strength / w_peak ** (1 - strength) if strength else np.ones_like(x_peak)
        smooth = x / divisor
        low, high = min(float(smooth.min()) * _MARGIN, 0.0), float(smooth.max()) * _MARGIN
        scale = max(high - low, _TINY) / 255
        zero = int(np.rint(-low / scale))
        rounded = np.clip(np.rint(smooth / scale) + zero, 0, 255) - zero
        weight_int, weight_scale = _round_weight(weight * divisor[:, None])
        out_scale = (weight_scale * scale).astype(np.float32)
        error = float(np.square(rounded @ weight_int.astype(np.float32) * out_scale - exact).mean())
        if error < least:
            channel = (1 / (divisor * scale)).astype(np.float32) if strength else None
            best, least = _Layer(channel, scale, zero, weight_int, out_scale), error
    assert best is not None
    return best


def _round_weight(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Round each column to int8 such that no processor's 16-bit sums can overflow.

    x86 without VNNI adds two uint8 × int8 products in 16 bits and saturates silently. Scaled such
    that two neighbours of one sign sum to 127, 128 once rounded, they cannot: 255 × 128 < 2**15.
    """
    even = np.pad(weight, ((0, weight.shape[0] % 2), (0, 0)))
    pairs = np.maximum(
        np.maximum(even, 0).reshape(-1, 2, even.shape[1]).sum(1).max(0),
        np.maximum(-even, 0).reshape(-1, 2, even.shape[1]).sum(1).max(0),
    )
    scale = np.maximum(pairs / 127, 1e-12).astype(np.float32)
    return np.rint(weight / scale).clip(-127, 127).astype(np.int8), scale


def _quantized(graph: _Graph, x: str, layer: _Layer, name: str) -> tuple[str, str, str]:
    """Write x's rounding; return the names of the integers, their scale and their zero point."""
    one = graph.scalar(f"{name}_one", np.float32(1))
    zero = graph.scalar(f"{name}_zero", np.uint8(layer.zero))
    if layer.channel is None:
        scale = graph.scalar(f"{name}_scale", np.float32(layer.scale))
    else:
        x = graph.node("Mul", [x, graph.const(f"{name}_channel", layer.channel)], f"{name}_smooth")
        scale = one
    return graph.node("QuantizeLinear", [x, scale, zero], f"{name}_int"), one, zero


def _matmul(graph: _Graph, node: Any, seen: Floats) -> None:
    name, weight = node.output[0], graph.array(node.input[1])
    if weight.shape[0] <= weight.shape[1]:
        _integer_matmul(graph, node.input[0], _fit(seen, weight), name)
        return
    # The layer that narrows again, behind the activation: its input has the outliers.
    outliers = _outliers(seen)
    seen, rest = seen.copy(), weight.copy()
    seen[:, outliers] = rest[outliers] = 0
    ints = _integer_matmul(graph, node.input[0], _fit(seen, rest), f"{name}_rounded")
    which = graph.const(f"{name}_outliers", outliers)
    few = graph.node("Gather", [node.input[0], which], f"{name}_few", axis=-1)
    rows = graph.const(f"{name}_outlier_weight", weight[outliers])
    graph.node("Add", [ints, graph.node("MatMul", [few, rows], f"{name}_exact")], name)


def _outliers(seen: Floats) -> NDArray[np.int64]:
    """Return the channels with the largest values: after the activation, ahead by far."""
    return np.sort(np.argsort(-np.abs(seen).max(0), kind="stable")[:_OUTLIERS]).astype(np.int64)


def _integer_matmul(graph: _Graph, x: str, layer: _Layer, name: str) -> str:
    x, one, zero = _quantized(graph, x, layer, name)
    weight = graph.const(f"{name}_weight", layer.weight)
    scale = graph.const(f"{name}_weight_scale", layer.weight_scale)
    return graph.node("MatMulIntegerToFloat", [x, weight, one, scale, zero], name)


def _attention(graph: _Graph, node: Any, seen: Floats) -> None:
    from onnx import helper

    name = node.output[0]
    layer = _fit(seen, graph.array(node.input[1]))
    x, one, zero = _quantized(graph, node.input[0], layer, name)
    weight = graph.const(f"{name}_weight", layer.weight)
    scale = graph.const(f"{name}_weight_scale", layer.weight_scale)
    none = graph.const(f"{name}_weight_zero", np.zeros(layer.weight.shape[1], np.int8))
    heads = next(helper.get_attribute_value(a) for a in node.attribute if a.name == "num_heads")
    inputs = [x, weight, node.input[2], one, scale, node.input[3], zero, none]
    graph.node("QAttention", inputs, name, num_heads=heads)


def _is_table(graph: _Graph, node: Any) -> bool:
    """Tell whether a Gather reads embeddings, and not a shape or the two token types."""
    name = node.input[0]
    if name not in graph.weights:
        return False
    dims = graph.weights[name].dims
    return len(dims) == 2 and dims[0] > _TABLE_ROWS


def _gather(graph: _Graph, node: Any) -> None:
    """Hold an embedding table as int8 with a scale for each row: a quarter of its size."""
    from onnx import TensorProto

    table, ids = node.input
    name = node.output[0]
    rows = graph.array(table)
    scale = np.maximum(np.abs(rows).max(1, keepdims=True), 1e-12) / 127
    ints = graph.const(f"{table}_int", np.rint(rows / scale).astype(np.int8))
    scales = graph.const(f"{table}_scale", scale.astype(np.float32))
    row = graph.node("Gather", [ints, ids], f"{name}_int")
    row = graph.node("Cast", [row], f"{name}_float", to=TensorProto.FLOAT)
    row_scale = graph.node("Gather", [scales, ids], f"{name}_scale")
    graph.node("Mul", [row, row_scale], name)

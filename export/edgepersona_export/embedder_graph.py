"""Rewrites of a BERT graph: its inputs, its norms, its types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

_DOMAIN = "com.microsoft"


def feed_no_token_types(model: Any) -> None:
    """Drop the ``token_type_ids`` input: one text is all of type 0."""
    from onnx import TensorProto, helper

    graph = model.graph
    kept = [i for i in graph.input if i.name != "token_type_ids"]
    if len(kept) == len(graph.input):
        return
    del graph.input[:]
    graph.input.extend(kept)
    zero = helper.make_tensor("token_type_zero", TensorProto.INT64, [1], [0])
    graph.node.insert(0, helper.make_node("Shape", ["input_ids"], ["token_type_shape"]))
    graph.node.insert(
        1, helper.make_node("ConstantOfShape", ["token_type_shape"], ["token_type_ids"], value=zero)
    )


def speed_up_norms(model: Any) -> None:
    """Write each layer norm as centring and an RMS norm.

    onnxruntime's CPU kernel for LayerNormalization adds up one number at a time; the same
    mathematics in these five nodes took a fifth of its time (100 × 384, AVX-512).
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    nodes: list[Any] = []
    for node in graph.node:
        if node.op_type == "SkipLayerNormalization" and not any(node.output[1:]):
            x, skip, gamma, beta, *bias = node.input
            total = f"{node.output[0]}_sum"
            if bias and bias[0]:
                nodes.append(helper.make_node("Add", [x, bias[0]], [f"{total}_biased"]))
                x = f"{total}_biased"
            nodes.append(helper.make_node("Add", [x, skip], [total]))
        elif node.op_type == "LayerNormalization" and len(node.input) == 3:
            total, gamma, beta = node.input
        else:
            nodes.append(node)
            continue
        values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        name = node.output[0]
        mean, centred, scaled = f"{name}_mean", f"{name}_centred", f"{name}_scaled"
        nodes += [
            helper.make_node("ReduceMean", [total, "last_axis"], [mean], keepdims=1),
            helper.make_node("Sub", [total, mean], [centred]),
            helper.make_node(
                "SimplifiedLayerNormalization",
                [centred, gamma],
                [scaled],
                axis=-1,
                epsilon=values["epsilon"],
                stash_type=1,
            ),
            helper.make_node("Add", [scaled, beta], [name]),
        ]
    graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), "last_axis"))
    _replace(graph, nodes)


def to_fp16(model: Any) -> Any:
    """Return the graph with weights and arithmetic in half precision, its ends in single."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # Shape inference knows nothing of the fused operators.
    return convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)


def save_apart(model: Any, path: Path) -> Path:
    """Save with the weights in a file of their own: one file holds 2 GB. The model stays whole."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.save(copy, path, save_as_external_data=True, location=f"{path.name}.data")
    return path


def _replace(graph: Any, nodes: list[Any]) -> None:
    """Put ``nodes`` in the graph's place and drop what no node reads any more."""
    wanted = {o.name for o in graph.output}
    live: list[Any] = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            live.append(node)
            wanted.update(node.input)
    used = [i for i in graph.initializer if i.name in wanted]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(live))
    graph.initializer.extend(used)

"""Writes ONNX graphs of decoders: nodes, constants, and the parts that all of them have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.helper import make_tensor_value_info as info

from edgepersona_export.decoder_model import Array, DecoderModel

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""


class GraphWriter:
    """Collects nodes and constants, and names what lies between them.

    ``dtype`` is what floating-point constants become.
    """

    def __init__(self, dtype: type[np.floating[Any]]) -> None:
        self.dtype = np.dtype(dtype)
        self.kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        self.whole = self.kind == TensorProto.FLOAT
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._count = 0

    def node(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a node with one output; return that."""
        return self.nodes(kind, inputs, [output or self.name()], **attributes)[0]

    def nodes(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs; return those."""
        self._nodes.append(helper.make_node(kind, list(inputs), list(outputs), **attributes))
        return list(outputs)

    def cast(self, x: str, kind: int, output: str = "") -> str:
        """Add a cast to one of TensorProto's kinds."""
        return self.node("Cast", [x], output, to=kind)

    def constant(self, value: NDArray[Any], name: str = "") -> str:
        """Add a constant; floating point becomes the graph's."""
        name = name or self.name()
        if np.issubdtype(value.dtype, np.floating):
            value = value.astype(self.dtype)
        return self.exact(value, name)

    def exact(self, value: NDArray[Any], name: str = "") -> str:
        """Add a constant as it is."""
        name = name or self.name()
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def number(self, value: float) -> str:
        """Add a float32."""
        return self.exact(np.array([value], np.float32))

    def integers(self, *values: int) -> str:
        """Add a vector of int64, or find the one there is."""
        name = "_".join(["integers", *map(str, values)])
        # Not as raw bytes: those are moved to a file apart, where shapes cannot be read from.
        self._constants[name] = helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        return name

    def name(self) -> str:
        """Return a name that nothing has yet."""
        self._count += 1
        return f"t{self._count}"


class DecoderWriter(GraphWriter):
    """What every graph of a decoder has alike: its matrices, its end, and its inputs and outputs.

    Vectors enter and logits leave in float32, whatever the graph's kind.
    """

    def __init__(self, model: DecoderModel, dtype: type[np.floating[Any]]) -> None:
        super().__init__(dtype)
        self._model = model

    def matmul(
        self, name: str, x: str, weight: Array, bias: Array | None = None, *, output: str = ""
    ) -> str:
        """Add x · weightᵀ + bias."""
        product = self.node(
            "MatMul",
            [x, self.constant(weight.T, f"{name}.weight")],
            output if bias is None else "",
        )
        if bias is None:
            return product
        return self.node("Add", [product, self.constant(bias, f"{name}_bias")], output)

    def widened(self, x: str, output: str = "") -> str:
        """Return ``x`` as float32."""
        return x if self.whole else self.cast(x, TensorProto.FLOAT, output)

    def narrowed(self, x: str) -> str:
        """Return float32 ``x`` as the graph's kind."""
        return x if self.whole else self.cast(x, self.kind)

    def soft_cap(self, x: str, cap: float, output: str = "") -> str:
        """Return cap · tanh(x / cap) of float32 ``x``; a cap of 0 is none."""
        if not cap:
            return x
        limit = self.number(cap)
        bounded = self.node("Tanh", [self.node("Div", [x, limit])])
        return self.node("Mul", [bounded, limit], output)

    def logits(self, normed: str) -> None:
        """Add the head."""
        cap = self._model.logits_softcap
        last = "" if cap else "logits"
        logits = self.matmul("head", normed, self._model.head, output=last if self.whole else "")
        self.soft_cap(self.widened(logits, last), cap, "logits")

    def decoder(
        self,
        lengths: Sequence[onnx.ValueInfoProto],
        *,
        past: Sequence[str | int],
        present: Sequence[str | int],
        opset: int,
    ) -> onnx.ModelProto:
        """Return the finished model; ``past`` and ``present`` are the shapes of its caches."""
        model = self._model
        kv = [f"{i}.{part}" for i in range(len(model.layers)) for part in ("key", "value")]

        def caches(prefix: str, shape: Sequence[str | int]) -> list[onnx.ValueInfoProto]:
            return [info(f"{prefix}.{name}", self.kind, shape) for name in kv]

        inputs = [
            info("inputs_embeds", TensorProto.FLOAT, [1, "length", model.hidden]),
            *lengths,
            *caches("past_key_values", past),
        ]
        logits = info("logits", TensorProto.FLOAT, [1, "wanted", model.vocab])
        outputs = [logits, *caches("present", present)]
        constants = list(self._constants.values())
        graph = helper.make_graph(self._nodes, "decoder", inputs, outputs, constants)
        opsets = [helper.make_opsetid("", opset)]
        if any(node.domain == MICROSOFT for node in self._nodes):
            opsets.append(helper.make_opsetid(MICROSOFT, 1))
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

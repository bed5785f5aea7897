"""Writes a model for the native core: an index, and the weights in the order its kernels read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgepersona.errors import ExportError
from edgepersona_export.decoder_model import DecoderModel, Layer
from edgepersona_export.quantize import Quantised

INDEX = "model.json"
WEIGHTS = "weights.bin"

_GROUP = 16  # rows side by side: native/include/edgepersona/packed_matrix.h
_ALIGNMENT = 64
_VECTORS = (
    "attention_norm", "qkv_bias", "q_norm", "k_norm", "post_attention_norm", "mlp_norm",
    "post_mlp_norm",
)  # fmt: skip
_MATRICES = ("qkv", "output", "gate_up", "down")


def write_native(folder: Path, model: DecoderModel, matrices: Mapping[str, Quantised]) -> None:
    """Write ``folder``/model.json and weights.bin; its format is in docs/format.md.

    ``matrices``: "head", and for each layer i "layers.i.qkv", ".output", ".gate_up" (the gate's
    rows, then those of up) and ".down". Raises ExportError where the MLP's width is none that the
    core takes.
    """
    if model.intermediate % _GROUP:
        raise ExportError(
            f"an MLP of width {model.intermediate} is not supported: no multiple of {_GROUP}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / WEIGHTS).open("wb") as stream:
        file = TensorFile(stream)
        index = {
            "hidden": model.hidden,
            "intermediate": model.intermediate,
            "heads": model.heads,
            "kv_heads": model.kv_heads,
            "head_dim": model.head_dim,
            "vocab": model.vocab,
            "positions": model.positions,
            "norm_eps": model.norm_eps,
            "activation": model.activation,
            "attention_scale": model.attention_scale,
            "attention_softcap": model.attention_softcap,
            "logits_softcap": model.logits_softcap,
            "ropes": [{"cos": file.floats(r.cos), "sin": file.floats(r.sin)} for r in model.ropes],
            "layers": [
                _layer(file, layer, {name: matrices[f"layers.{i}.{name}"] for name in _MATRICES})
                for i, layer in enumerate(model.layers)
            ],
            "final_norm": file.floats(model.final_norm),
            "head": file.matrix(matrices["head"], model.hidden),
        }
    (folder / INDEX).write_text(json.dumps(index), "utf-8")


def pack(matrix: Quantised) -> tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.uint16]]:
    """Return codes, scales and minima (empty with 8 bits) in the order of packed_matrix.h."""
    rows = -(-len(matrix.codes) // _GROUP) * _GROUP
    codes = np.pad(matrix.codes, ((0, rows - len(matrix.codes)), (0, 0)))
    groups: NDArray[np.uint8] = codes.reshape(rows // _GROUP, _GROUP, -1, 4).transpose(0, 2, 1, 3)
    if matrix.bits == 4:
        groups = groups[:, 0::2] | (groups[:, 1::2] << np.uint8(4))

    def by_block(values: NDArray[np.float16]) -> NDArray[np.uint16]:
        values = np.pad(values, ((0, rows - len(values)), (0, 0)))
        grouped = values.reshape(rows // _GROUP, _GROUP, -1).transpose(0, 2, 1)
        return np.ascontiguousarray(grouped).view(np.uint16).reshape(-1)

    minima = np.empty(0, np.uint16) if matrix.mins is None else by_block(matrix.mins)
    return np.ascontiguousarray(groups).reshape(-1), by_block(matrix.scales), minima


def _layer(file: TensorFile, layer: Layer, matrices: Mapping[str, Quantised]) -> dict[str, Any]:
    vectors = {name: getattr(layer, name) for name in _VECTORS}
    columns = {
        "qkv": layer.qkv.shape[1],
        "output": layer.output.shape[1],
        "gate_up": layer.gate.shape[1],
        "down": layer.down.shape[1],
    }
    return {
        "window": layer.window,
        "rope": layer.rope,
        **{name: file.floats(v) for name, v in vectors.items() if v is not None},
        **{name: file.matrix(matrix, columns[name]) for name, matrix in matrices.items()},
    }


class TensorFile:
    """Appends arrays, each at a multiple of a cache line, and says where they are."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def floats(self, values: NDArray[np.float32]) -> dict[str, Any]:
        """Append a vector or table; return its entry in the index."""
        return {"offset": self._append(values.astype("<f4")), "shape": list(values.shape)}

    def matrix(self, matrix: Quantised, columns: int) -> dict[str, Any]:
        """Append a matrix, packed; return its entry in the index."""
        codes, scales, minima = pack(matrix)
        where = {
            "rows": len(matrix.codes),
            "columns": columns,
            "bits": matrix.bits,
            "block": matrix.block,
            "codes": self._append(codes),
            "scales": self._append(scales.astype("<u2")),
        }
        return where | ({"minima": self._append(minima.astype("<u2"))} if minima.size else {})

    def _append(self, values: NDArray[Any]) -> int:
        offset = self._stream.tell()
        offset += -offset % _ALIGNMENT
        self._stream.seek(offset)
        self._stream.write(np.ascontiguousarray(values).tobytes())
        return offset

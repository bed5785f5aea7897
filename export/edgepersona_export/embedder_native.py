"""Write an encoder of the BERT kind for the native core, its matrices in 8 bits.

Weights, and what they meet, are rounded in blocks: nothing is calibrated, and a value that stands
out coarsens its own block alone. What comes from a norm has such values; there, blocks of 384 left
a least cosine of .970 to torch on MiniLM, of 128 .993. Attention and GELU give none: their blocks
are wider, since each costs the time of its scaling.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepersona.errors import ExportError
from edgepersona_export.embedder_files import Recipe
from edgepersona_export.native_file import INDEX, WEIGHTS, TensorFile
from edgepersona_export.quantize import quantise_int8

WORDS = "embeddings.q8"

_BLOCKS = {"qkv": 128, "output": 512, "up": 128, "down": 512}  # at most
_WORDS_BLOCK = 32
_HEAD_MULTIPLE = 16

Array = NDArray[np.float32]


def write_native(source: Path, out: Path, recipe: Recipe) -> None:
    """Write ``out``/model.json, weights.bin and embeddings.q8; their format is in docs/format.md.

    Raises ExportError where the model is none that the core computes.
    """
    from transformers import AutoModel

    model = AutoModel.from_pretrained(source, local_files_only=True, use_safetensors=True)
    _check(source, model.config)
    weights = {name: value.float().numpy() for name, value in model.state_dict().items()}
    out.mkdir(parents=True, exist_ok=True)
    words = quantise_int8(weights["embeddings.word_embeddings.weight"], block=_WORDS_BLOCK)
    with (out / WORDS).open("wb") as stream:
        stream.write((words.codes ^ 0x80).tobytes())
        stream.write(words.scales.astype("<f2").tobytes())
    with (out / WEIGHTS).open("wb") as stream:
        file = TensorFile(stream)
        index = {
            "hidden": recipe.hidden,
            "intermediate": model.config.intermediate_size,
            "heads": recipe.heads,
            "vocab": len(words.codes),
            "norm_eps": model.config.layer_norm_eps,
            "positions": file.floats(_positions(weights, model.config, recipe)),
            **_norm(file, weights, "embeddings.LayerNorm", "embedding_norm"),
            "layers": [_layer(file, weights, f"encoder.layer.{i}") for i in range(recipe.layers)],
        }
    (out / INDEX).write_text(json.dumps(index), "utf-8")


def _check(source: Path, config: Any) -> None:
    if config.hidden_act != "gelu":
        raise ExportError(
            f"{source}: activation {config.hidden_act!r} is not supported in int8; "
            "supported: 'gelu', or precision fp32 or fp16"
        )
    values = config.hidden_size // config.num_attention_heads
    if values % _HEAD_MULTIPLE:
        raise ExportError(
            f"{source}: heads of {values} values are not supported in int8; supported: "
            f"multiples of {_HEAD_MULTIPLE}, or precision fp32 or fp16"
        )


def _positions(weights: dict[str, Array], config: Any, recipe: Recipe) -> Array:
    """Return what is added to the words of a text, from its first on; one text is of type 0."""
    first = 0 if config.model_type == "bert" else config.pad_token_id + 1
    table = weights["embeddings.position_embeddings.weight"][first : first + recipe.max_tokens]
    positions: Array = table + weights["embeddings.token_type_embeddings.weight"][0]
    return positions


def _layer(file: TensorFile, weights: dict[str, Array], name: str) -> dict[str, Any]:
    def joined(kind: str) -> Array:
        parts = ("query", "key", "value")
        return np.concatenate([weights[f"{name}.attention.self.{p}.{kind}"] for p in parts])

    dense = {
        "qkv": (joined("weight"), joined("bias")),
        "output": _dense(weights, f"{name}.attention.output.dense"),
        "up": _dense(weights, f"{name}.intermediate.dense"),
        "down": _dense(weights, f"{name}.output.dense"),
    }
    index: dict[str, Any] = {}
    for key, (weight, bias) in dense.items():
        block = _block(weight.shape[1], _BLOCKS[key])
        index[key] = file.matrix(quantise_int8(weight, block=block), weight.shape[1])
        index[f"{key}_bias"] = file.floats(bias)
    index |= _norm(file, weights, f"{name}.attention.output.LayerNorm", "attention_norm")
    return index | _norm(file, weights, f"{name}.output.LayerNorm", "mlp_norm")


def _block(columns: int, most: int) -> int:
    """Return the widest block that divides the columns; where none does they are filled up."""
    sizes = (size for size in (512, 384, 256, 128, 64) if size <= most)
    return next((size for size in sizes if columns % size == 0), 32)


def _dense(weights: dict[str, Array], name: str) -> tuple[Array, Array]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def _norm(
    file: TensorFile, weights: dict[str, Array], name: str, to: str
) -> dict[str, dict[str, Any]]:
    weight, bias = _dense(weights, name)
    return {to: file.floats(weight), f"{to}_bias": file.floats(bias)}

"""Exports a decoder-only LLM: its graph in blocks of few bits, its embedding table beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgepersona.errors import ExportError
from edgepersona_export import architectures
from edgepersona_export.decoder_graph import build
from edgepersona_export.decoder_model import DecoderModel, read_model
from edgepersona_export.gguf_config import complete
from edgepersona_export.quantize import Scheme

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Read when tqdm loads, which transformers does: its bars would run through our lines.
os.environ.setdefault("TQDM_DISABLE", "1")

SCHEMES: dict[str, Scheme | None] = {
    "fp32": None,
    # Activations are rounded in the same blocks as weights, so wider ones lose more; and where K is
    # no multiple of 128, blocks of 128 would be padded, and the padding read.
    "int8": Scheme(bits=8, block=64, widest=128),
    "int4": Scheme(bits=4, block=32),
}
"""Precision of an export → how weights are stored."""

EMBEDDINGS = "embeddings.f16"
STEP = "step.json"


def load_torch(source: Path) -> PreTrainedModel:
    """Load a folder or GGUF file as a float32 torch model, or raise ExportError saying why not."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    where = (
        {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
        if source.suffix == ".gguf"
        else {"pretrained_model_name_or_path": source}
    )
    try:
        config = AutoConfig.from_pretrained(**where)
        if source.suffix == ".gguf":
            complete(config, source)
    except ExportError:
        raise
    # transformers raises OSError, ValueError, KeyError and struct.error for what it cannot read.
    except Exception as error:
        raise ExportError(f"{source}: is no model transformers can read: {_line(error)}") from error
    architectures.check(config, str(source))
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            **where,
            config=config,
            dtype=torch.float32,
            # Torch's faster attention leaves soft caps out without a word.
            attn_implementation="eager",
            output_loading_info=True,
        )
    except Exception as error:
        raise ExportError(f"{source}: its weights cannot be read: {_line(error)}") from error
    _check_weights(source, found)
    return model.eval()


def _check_weights(source: Path, found: Mapping[str, Any]) -> None:
    """Refuse a model that transformers would fill up with random weights, or leave some out of."""
    if missing := sorted(found["missing_keys"]):
        raise ExportError(f"{source}: lacks {len(missing)} weights, such as {missing[0]}")
    # Tables that old checkpoints keep, and that are computed.
    unread = sorted(k for k in found["unexpected_keys"] if not k.endswith("rotary_emb.inv_freq"))
    if unread:
        raise ExportError(f"{source}: has weights not understood: {', '.join(unread[:3])}")


def write_generator(model: PreTrainedModel, out: Path, *, precision: str) -> dict[str, Any]:
    """Write ``out``/model.onnx with its weights and return the shape, for the manifest.

    The weights lie in ``model.onnx.data``, which ONNX Runtime maps into memory.
    """
    decoder = read_model(model)
    graph = build(decoder, scheme=SCHEMES[precision])
    out.mkdir(parents=True)
    onnx.save_model(
        graph,
        str(out / "model.onnx"),
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )
    if precision == "int8" and _steps(decoder):
        (out / STEP).write_text(json.dumps(_step_index(out / "model.onnx", decoder)), "utf-8")
    return {
        "layers": len(decoder.layers),
        "hidden": decoder.hidden,
        "kv_heads": decoder.kv_heads,
        "head_dim": decoder.head_dim,
        "vocab": decoder.vocab,
        "max_positions": decoder.positions,
    }


def _steps(model: DecoderModel) -> bool:
    """Tell whether the native step computes all that this model has."""
    return (
        model.activation == "silu"
        and not (model.attention_softcap or model.logits_softcap)
        and 2 * model.ropes[0].cos.shape[1] == model.head_dim
        and not any(layer.window or layer.q_norm is not None for layer in model.layers)
    )


def _step_index(model: Path, shape: DecoderModel) -> dict[str, Any]:
    """Say where the native step finds each weight in the graph's file, and of what shape."""
    graph = onnx.load(str(model), load_external_data=False).graph
    columns = {node.input[1]: node for node in graph.node if node.op_type == "MatMulNBits"}
    rows = {
        name.replace(".codes", ".scales"): next(a.i for a in node.attribute if a.name == "N")
        for name, node in columns.items()
    }
    tensors = {}
    for constant in graph.initializer:
        where = {entry.key: entry.value for entry in constant.external_data}
        if not where:
            continue
        dims = list(constant.dims)
        if constant.name.endswith(".codes"):
            dims = [dims[0], dims[1] * dims[2]]
        elif constant.name in rows:
            dims = [rows[constant.name], dims[0] // rows[constant.name]]
        tensors[constant.name] = {"offset": int(where["offset"]), "shape": dims}
    return {"heads": shape.heads, "norm_eps": shape.norm_eps, "tensors": tensors}


def write_embeddings(model: PreTrainedModel, file: Path) -> None:
    """Write the input embedding table as raw little-endian float16, row by row."""
    table = read_model(model).embeddings
    if np.abs(table).max() > np.finfo(np.float16).max:
        raise ExportError("the embedding table exceeds the range of float16")
    table.astype("<f2").tofile(file)


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]

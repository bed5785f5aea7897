"""Exports a decoder-only LLM: its graph in blocks of few bits, its embedding table beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgepersona.errors import ExportError
from edgepersona_export.decoder_graph import DecoderShape, LayerWeights, build
from edgepersona_export.quantize import Scheme

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

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

SUPPORTED = ("llama", "mistral", "qwen2")
"""``model_type`` of the configurations this writer knows; SmolLM and SmolLM2 are llama."""

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
    # transformers raises OSError, ValueError, KeyError and struct.error for what it cannot read.
    except Exception as error:
        raise ExportError(f"{source}: is no model transformers can read: {_line(error)}") from error
    _check_supported(source, config)
    try:
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    except Exception as error:
        raise ExportError(f"{source}: its weights cannot be read: {_line(error)}") from error
    return model.eval()


def write_generator(model: PreTrainedModel, out: Path, *, precision: str) -> dict[str, Any]:
    """Write ``out``/model.onnx with its weights and return the shape, for the manifest.

    The weights lie in ``model.onnx.data``, which ONNX Runtime maps into memory.
    """
    shape = decoder_shape(model.config)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    graph = build(
        shape,
        [_layer(weights, i) for i in range(shape.layers)],
        weights["model.norm.weight"],
        weights["lm_head.weight"],
        scheme=SCHEMES[precision],
    )
    out.mkdir(parents=True)
    onnx.save_model(
        graph,
        str(out / "model.onnx"),
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )
    if precision == "int8":
        (out / STEP).write_text(json.dumps(_step_index(out / "model.onnx", shape)), "utf-8")
    return asdict(shape)


def _step_index(model: Path, shape: DecoderShape) -> dict[str, Any]:
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
        dims = list(constant.dims)
        if constant.name.endswith(".codes"):
            dims = [dims[0], dims[1] * dims[2]]
        elif constant.name in rows:
            dims = [rows[constant.name], dims[0] // rows[constant.name]]
        tensors[constant.name] = {"offset": int(where.get("offset", 0)), "shape": dims}
    return {"heads": shape.heads, "norm_eps": shape.norm_eps, "tensors": tensors}


def write_embeddings(model: PreTrainedModel, file: Path) -> None:
    """Write the input embedding table as raw little-endian float16, row by row."""
    table = model.get_input_embeddings().weight.detach().numpy()
    if np.abs(table).max() > np.finfo(np.float16).max:
        raise ExportError("the embedding table exceeds the range of float16")
    table.astype("<f2").tofile(file)


def decoder_shape(config: PretrainedConfig) -> DecoderShape:
    """Read the graph's dimensions off a transformers configuration."""
    heads = config.num_attention_heads
    return DecoderShape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=heads,
        kv_heads=config.num_key_value_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        vocab=config.vocab_size,
        max_positions=config.max_position_embeddings,
        norm_eps=config.rms_norm_eps,
        rope_theta=config.rope_theta,
    )


def _layer(weights: Mapping[str, NDArray[np.float32]], i: int) -> LayerWeights:
    def get(name: str) -> NDArray[np.float32]:
        return weights[f"model.layers.{i}.{name}"]

    parts = [f"self_attn.{part}_proj" for part in "qkv"]
    biased = f"model.layers.{i}.{parts[0]}.bias" in weights
    return LayerWeights(
        attention_norm=get("input_layernorm.weight"),
        qkv=np.concatenate([get(f"{part}.weight") for part in parts]),
        qkv_bias=np.concatenate([get(f"{part}.bias") for part in parts]) if biased else None,
        output=get("self_attn.o_proj.weight"),
        mlp_norm=get("post_attention_layernorm.weight"),
        gate=get("mlp.gate_proj.weight"),
        up=get("mlp.up_proj.weight"),
        down=get("mlp.down_proj.weight"),
    )


def _check_supported(source: Path, config: PretrainedConfig) -> None:
    """Refuse what the graph would compute wrongly: a silent difference is worse than none."""
    kind = config.model_type
    if kind not in SUPPORTED:
        raise ExportError(
            f"{source}: {kind} models are not supported; supported: {', '.join(SUPPORTED)}"
        )
    rope = (getattr(config, "rope_scaling", None) or {}).get("rope_type", "default")
    unsupported = {
        f"rope scaling {rope!r}": rope != "default",
        f"activation {config.hidden_act!r}": config.hidden_act != "silu",
        "sliding-window attention": bool(
            getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
        ),
        # What ONNX Runtime's attention takes when it rotates the heads itself.
        "heads whose size is no multiple of 16": bool(decoder_shape(config).head_dim % 16),
        "biases in the MLP": getattr(config, "mlp_bias", False),
        "a bias at the attention's output": kind == "llama"
        and getattr(config, "attention_bias", False),
    }
    if found := [what for what, present in unsupported.items() if present]:
        raise ExportError(f"{source}: this {kind} model has {', '.join(found)}: not supported")


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]

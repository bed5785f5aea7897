"""Exports a decoder-only LLM, as a graph or for the native core, its embedding table beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgepersona.errors import ExportError
from edgepersona_export import architectures, native_file, native_weights
from edgepersona_export.decoder_graph import build
from edgepersona_export.decoder_graph_portable import build_portable
from edgepersona_export.decoder_model import DecoderModel, read_model
from edgepersona_export.gguf_blocks import read_blocks
from edgepersona_export.gguf_config import complete
from edgepersona_export.quantize import Quantised

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Read when tqdm loads, which transformers does: its bars would run through our lines.
os.environ.setdefault("TQDM_DISABLE", "1")

EMBEDDINGS = "embeddings.q8"
GRAPH = "model.onnx"


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


def read_generator(source: Path, torch_model: PreTrainedModel) -> DecoderModel:
    """Read a loaded model into the neutral form, with the blocks of the file where it has them."""
    blocks = read_blocks(source, torch_model.config) if source.suffix == ".gguf" else {}
    return replace(read_model(torch_model, source=source), blocks=blocks)


def write_variant(
    model: DecoderModel,
    stage: Path,
    target: str,
    precision: str,
    *,
    calibrated: Mapping[str, Quantised] = MappingProxyType({}),
) -> dict[str, Any]:
    """Write one compiled form under ``stage`` and return what the manifest says of it.

    ``calibrated``: matrices in 4 bits, for a precision that has such.
    """
    folder = f"generator/{target}-{precision}"
    few_bits = precision in native_weights.PRECISIONS
    matrices = native_weights.choose(model, precision, calibrated=calibrated) if few_bits else {}
    if target == "cpu" and few_bits:
        native_file.write_native(stage / folder, model, matrices)
        engine, names = "native", (native_file.INDEX, native_file.WEIGHTS)
    else:
        write_graph(graph_of(model, target, matrices), stage / folder)
        engine, names = "onnx", (GRAPH, f"{GRAPH}.data")
    return {
        "target": target,
        "precision": precision,
        "engine": engine,
        "path": f"{folder}/{names[0]}",
        "files": [f"{folder}/{name}" for name in names],
    }


def graph_of(
    model: DecoderModel, target: str, matrices: Mapping[str, Quantised]
) -> onnx.ModelProto:
    """Build the graph that a target runs: on a GPU whatever is no weight of few bits is float16."""
    if target == "tensorrt":
        return build_portable(model, dtype=np.float16)
    dtype = np.float16 if target == "cuda" else np.float32
    return build(model, matrices=matrices, dtype=dtype)


def write_graph(graph: onnx.ModelProto, out: Path) -> None:
    """Write ``out``/model.onnx; its weights lie in model.onnx.data, which ONNX Runtime maps."""
    out.mkdir(parents=True)
    onnx.save_model(
        graph,
        str(out / GRAPH),
        save_as_external_data=True,
        location=f"{GRAPH}.data",
        size_threshold=0,
    )


def write_embeddings(model: DecoderModel, file: Path) -> None:
    """Write the table of token embeddings: 8-bit codes row by row, then their float16 scales."""
    table = native_weights.embedding_table(model)
    codes = (table.codes ^ 0x80).view(np.int8)
    with file.open("wb") as stream:
        stream.write(codes.tobytes())
        stream.write(table.scales.astype("<f2").tobytes())


def shape_of(model: DecoderModel) -> dict[str, int]:
    """Return the sizes that the manifest keeps of a model."""
    return {
        "layers": len(model.layers),
        "hidden": model.hidden,
        "kv_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "vocab": model.vocab,
        "context": model.positions,
    }


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]

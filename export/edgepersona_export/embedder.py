"""Export a sentence embedder to an ONNX graph, its tokenizer and what the runtime must know."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgepersona.errors import ExportError
from edgepersona_export.embedder_files import ARCHITECTURES, Recipe, read_recipe
from edgepersona_export.embedder_graph import (
    feed_no_token_types,
    save_apart,
    speed_up_norms,
    to_fp16,
)
from edgepersona_export.embedder_native import write_native
from edgepersona_export.tokenizer import write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is first loaded

Precision = Literal["fp32", "fp16", "int8"]
"""``fp16`` is for GPUs: on a CPU it takes half the room and no less time."""

_MOST_BYTES = 2**31 - 1  # of one ONNX file

_LIBRARIES = ("optimum", "transformers", "onnxruntime", "torch")


@dataclass(frozen=True)
class EmbedderInfo:
    """What the manifest keeps of an embedder; ``path`` is its file in its folder."""

    path: str
    engine: str  # "native" or "onnx"
    ndim: int
    max_tokens: int
    pooling: str  # "mean", "cls" or "last"
    normalize: bool
    query_prefix: str
    document_prefix: str
    pad_id: int
    precision: str


def export_embedder(source: Path, out: Path, *, precision: Precision) -> EmbedderInfo:
    """Write an embedder and its ``tokenizer.json`` to ``out`` from the model folder ``source``.

    In int8 it is for the native core. Else it is a graph, ``out``/model.onnx, which takes
    ``input_ids`` and ``attention_mask``, int64 (n, tokens), and gives ``last_hidden_state``,
    float32 (n, tokens, ndim).

    Raises ExportError for an architecture, a pooling or a precision that is not supported.
    """
    if precision not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise ExportError(
            f"precision {precision!r} is not known for an embedder; there are: {known}"
        )
    recipe = read_recipe(source)
    write_tokenizer(source, out)
    with tempfile.TemporaryDirectory(prefix="edgepersona-") as folder, _quietly():
        if precision == "int8":
            write_native(source, out, recipe)
        else:
            model = _fused(source, Path(folder), recipe)
            model = to_fp16(model) if precision == "fp16" else model
            _save(model, out / "model.onnx", source)
    engine = "native" if precision == "int8" else "onnx"
    return EmbedderInfo(
        path="model.json" if engine == "native" else "model.onnx",
        engine=engine,
        ndim=recipe.hidden,
        max_tokens=recipe.max_tokens,
        pooling=recipe.pooling,
        normalize=recipe.normalize,
        query_prefix=recipe.query_prefix,
        document_prefix=recipe.document_prefix,
        pad_id=recipe.pad_id,
        precision=precision,
    )


def reference_embeddings(
    source: Path, texts: Sequence[str], *, role: str = "document"
) -> NDArray[np.float32]:
    """Encode by torch, one text at a time: float32 (n, ndim), L2-normalised; for verification."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    recipe = read_recipe(source)
    prefix = {"query": recipe.query_prefix, "document": recipe.document_prefix}[role]
    vectors = np.zeros((len(texts), recipe.hidden), np.float32)
    with _quietly(), torch.no_grad():
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
        model = AutoModel.from_pretrained(source, local_files_only=True, use_safetensors=True)
        model = model.to(torch.float32).eval()
        for row, text in enumerate(texts):
            feeds = tokenizer(
                prefix + text,
                truncation=True,
                max_length=recipe.max_tokens,
                padding=False,  # the default of some tokenizer files pads to a fixed width
                return_tensors="pt",
            )
            hidden = model(**feeds).last_hidden_state[0]
            pooled = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}
            pooled = pooled[recipe.pooling]
            vectors[row] = torch.nn.functional.normalize(pooled, dim=0).numpy()
    return vectors


def _fused(source: Path, folder: Path, recipe: Recipe) -> Any:
    """Export by optimum, fuse by onnxruntime's BERT optimizer, and drop the token types."""
    import onnx
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions
    from optimum.exporters.onnx import main_export

    try:
        main_export(
            str(source),
            folder,
            task="feature-extraction",
            library_name="transformers",  # else the pooling comes into the graph
            local_files_only=True,
            do_validation=False,  # the bundle as a whole is verified, by what it says
            device="cpu",
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ExportError(f"{source}: optimum could not export it: {reason}") from error
    model = onnx.load(folder / "model.onnx")
    feed_no_token_types(model)
    path = save_apart(model, folder / "untyped.onnx")

    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False  # it would hide the word table from int8
    options.use_raw_attention_mask(True)
    fused = optimizer.optimize_model(
        str(path),
        model_type="bert",
        num_heads=recipe.heads,
        hidden_size=recipe.hidden,
        optimization_options=options,
        opt_level=0,
    ).model
    found = sum(node.op_type == "Attention" for node in fused.graph.node)
    if found != recipe.layers:
        raise ExportError(
            f"{source}: {found} of {recipe.layers} attention layers were recognised; "
            f"models of type {', '.join(ARCHITECTURES)} with absolute positions are supported"
        )
    speed_up_norms(fused)
    return fused


def _save(model: Any, path: Path, source: Path) -> None:
    import onnx

    if (size_bytes := model.ByteSize()) > _MOST_BYTES:
        raise ExportError(
            f"{source}: {size_bytes:,} bytes of weights do not fit one ONNX file, "
            f"which holds {_MOST_BYTES:,}: choose precision int8 or fp16"
        )
    onnx.save(model, path)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the libraries' logs, warnings and progress bars away from the user's terminal."""
    from transformers.utils import logging as hub_logging

    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    levels = [logger.level for logger in loggers]
    bars = hub_logging.is_progress_bar_enabled()
    hub_logging.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            hub_logging.enable_progress_bar()

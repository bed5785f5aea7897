"""Export a sentence embedder to an ONNX graph, its tokenizer and what the runtime must know."""

from __future__ import annotations

import json
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
from edgepersona_export.tokenizer import write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is first loaded

Precision = Literal["fp32", "int8"]

_ARCHITECTURES = ("bert",)
_POOLING = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_LIBRARIES = ("optimum", "transformers", "onnxruntime", "torch")


@dataclass(frozen=True)
class EmbedderInfo:
    """What the manifest keeps of an embedder."""

    ndim: int
    max_tokens: int
    pooling: str  # "mean", "cls" or "last"
    normalize: bool
    query_prefix: str
    document_prefix: str
    inputs: tuple[str, ...]
    pad_id: int
    precision: str


def export_embedder(source: Path, out: Path, *, precision: Precision) -> EmbedderInfo:
    """Write ``out/model.onnx`` and ``out/tokenizer.json`` from the model folder ``source``.

    The graph takes ``input_ids`` and ``attention_mask``, int64 (n, tokens), and gives
    ``last_hidden_state``, float32 (n, tokens, ndim).

    Raises ExportError for an architecture or a pooling that is not supported.
    """
    if precision not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise ExportError(
            f"precision {precision!r} is not known for an embedder; there are: {known}"
        )
    config = _config(source)
    pooling, normalize = _pooling(source)
    query, document = _prefixes(source)
    write_tokenizer(source, out)
    max_tokens = _max_tokens(source, config)
    with tempfile.TemporaryDirectory(prefix="edgepersona-") as folder, _quietly():
        fused = _fused(source, Path(folder), config)
        if precision == "int8":
            from edgepersona_export.calibration import TEXTS
            from edgepersona_export.embedder_int8 import quantize_bert

            quantize_bert(fused, out / "model.onnx", _tokens(out, TEXTS, max_tokens))
        else:
            (out / "model.onnx").write_bytes(fused.read_bytes())
    return EmbedderInfo(
        ndim=config["hidden_size"],
        max_tokens=max_tokens,
        pooling=pooling,
        normalize=normalize,
        query_prefix=query,
        document_prefix=document,
        inputs=("input_ids", "attention_mask"),
        pad_id=config.get("pad_token_id") or 0,
        precision=precision,
    )


def reference_embeddings(source: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """Encode by torch, one text at a time: float32 (n, ndim), L2-normalised; for verification."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    config = _config(source)
    pooling, _ = _pooling(source)
    _, prefix = _prefixes(source)
    vectors = np.zeros((len(texts), config["hidden_size"]), np.float32)
    with _quietly(), torch.no_grad():
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
        model = AutoModel.from_pretrained(source, local_files_only=True, use_safetensors=True)
        model = model.to(torch.float32).eval()
        for row, text in enumerate(texts):
            feeds = tokenizer(
                prefix + text,
                truncation=True,
                max_length=_max_tokens(source, config),
                padding=False,  # the default of some tokenizer files pads to a fixed width
                return_tensors="pt",
            )
            hidden = model(**feeds).last_hidden_state[0]
            pooled = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling]
            vectors[row] = torch.nn.functional.normalize(pooled, dim=0).numpy()
    return vectors


def _fused(source: Path, folder: Path, config: dict[str, Any]) -> Path:
    """Export by optimum, fuse by onnxruntime's BERT optimizer, and drop the token types."""
    import onnx
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions
    from optimum.exporters.onnx import main_export

    from edgepersona_export.embedder_graph import feed_no_token_types, speed_up_norms

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
    path = folder / "model.onnx"
    model = onnx.load(path)
    feed_no_token_types(model)
    onnx.save(model, path)

    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False  # it would hide the word table from int8
    options.use_raw_attention_mask(True)
    fused = optimizer.optimize_model(
        str(path),
        model_type="bert",
        num_heads=config["num_attention_heads"],
        hidden_size=config["hidden_size"],
        optimization_options=options,
        opt_level=0,
    ).model
    found = sum(node.op_type == "Attention" for node in fused.graph.node)
    if found != config["num_hidden_layers"]:
        raise ExportError(
            f"{source}: {found} of {config['num_hidden_layers']} attention layers were recognised; "
            f"models of type {', '.join(_ARCHITECTURES)} with absolute positions are supported"
        )
    speed_up_norms(fused)
    onnx.save(fused, folder / "fused.onnx")
    return folder / "fused.onnx"


def _tokens(out: Path, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    tokenizer.enable_truncation(max_tokens)
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]


def _config(source: Path) -> dict[str, Any]:
    config: dict[str, Any] | None = _read(source / "config.json")
    if not config:
        raise ExportError(f"{source}: no config.json; expected the folder of an embedding model")
    kind = config.get("model_type")
    if kind not in _ARCHITECTURES:
        known = ", ".join(_ARCHITECTURES)
        raise ExportError(f"{source}: an embedder of type {kind!r} is not supported; use: {known}")
    return config


def _pooling(source: Path) -> tuple[str, bool]:
    """Return how tokens become one vector, and whether the model's own recipe normalises it."""
    modules = _read(source / "modules.json") or []
    kinds = [str(m.get("type", "")).rsplit(".", 1)[-1] for m in modules]
    extra = sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"})
    if extra:
        raise ExportError(
            f"{source}: its modules.json adds {', '.join(extra)}; "
            "supported: Transformer, Pooling, Normalize"
        )
    normalize = "Normalize" in kinds
    path = next((m["path"] for m in modules if str(m["type"]).endswith("Pooling")), "1_Pooling")
    config = _read(source / path / "config.json")
    if not config:
        return "mean", normalize  # what sentence-transformers does with a bare model
    active = sorted(k for k, on in config.items() if k.startswith("pooling_mode_") and on is True)
    if len(active) != 1 or active[0] not in _POOLING:
        known = ", ".join(_POOLING.values())
        raise ExportError(
            f"{source / path / 'config.json'}: pooling {' + '.join(active) or 'none'} is not "
            f"supported; supported: one of {known}"
        )
    return _POOLING[active[0]], normalize


def _prefixes(source: Path) -> tuple[str, str]:
    """Return what the model wants before a query and before a document."""
    prompts = (_read(source / "config_sentence_transformers.json") or {}).get("prompts") or {}
    document = prompts.get("document") or prompts.get("passage") or ""
    return prompts.get("query") or "", document


def _max_tokens(source: Path, config: dict[str, Any]) -> int:
    limit = int(config.get("max_position_embeddings", 512))
    own = (_read(source / "sentence_bert_config.json") or {}).get("max_seq_length")
    return min(int(own), limit) if own else limit


def _read(path: Path) -> Any:
    """Return a JSON file's value, None where there is no file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{path}: not valid JSON: {error}") from error


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

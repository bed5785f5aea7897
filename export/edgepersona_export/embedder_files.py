"""Read how an embedding model wants to be used, from the files sentence-transformers keeps."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgepersona.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ARCHITECTURES = ("bert", "roberta", "xlm-roberta")
"""Values of ``model_type`` in config.json: encoders with absolute positions."""

POOLING = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
"""Modes of sentence-transformers' Pooling → what the manifest calls them."""

MAX_TOKENS = 2048
"""A longer window is cut to this: attention's memory grows with its square."""

_DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # in sentence-transformers' own order
# The E5 models' cards ask for these two in quotes, and no other file of theirs does.
_CARD_PREFIXES = ("query: ", "passage: ")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the files of a model say of its shape and of the way to its vectors."""

    hidden: int
    layers: int
    heads: int
    pad_id: int
    max_tokens: int
    pooling: str
    normalize: bool
    query_prefix: str
    document_prefix: str


def read_recipe(source: Path) -> Recipe:
    """Read the files of the model folder ``source``.

    Raises ExportError for what the runtime cannot do, and names what it can.
    """
    config = _config(source)
    pooling, normalize, with_prompt = _pooling(source)
    query, document = _prefixes(source)
    if not with_prompt and (query or document):
        raise ExportError(
            f"{source}: its pooling leaves the prompt's tokens out (include_prompt is false); "
            "supported: pooling that takes them in, or a model without prompts"
        )
    return Recipe(
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        pad_id=config.get("pad_token_id") or 0,
        max_tokens=_max_tokens(source, config),
        pooling=pooling,
        normalize=normalize,
        query_prefix=query,
        document_prefix=document,
    )


def _config(source: Path) -> dict[str, Any]:
    config: dict[str, Any] | None = _read(source / "config.json")
    if not config:
        raise ExportError(f"{source}: no config.json; expected the folder of an embedding model")
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ExportError(f"{source}: an embedder of type {kind!r} is not supported; use: {known}")
    positions = config.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise ExportError(
            f"{source}: {positions!r} positions are not supported; supported: 'absolute'"
        )
    if "auto_map" in config:
        raise ExportError(
            f"{source}: its config.json asks for program code of the model's own (auto_map); "
            "supported: models that transformers knows by itself"
        )
    return config


def _pooling(source: Path) -> tuple[str, bool, bool]:
    """Return how tokens become one vector, whether it is normalised, and if prompts count."""
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
    file = source / path / "config.json"
    config = _read(file)
    if not config:
        return "mean", normalize, True  # what sentence-transformers does with a bare model
    return _pooling_mode(config, file), normalize, config.get("include_prompt") is not False


def _pooling_mode(config: Mapping[str, Any], file: Path) -> str:
    active = sorted(k for k, on in config.items() if k.startswith("pooling_mode_") and on is True)
    if len(active) != 1 or active[0] not in POOLING:
        known = ", ".join(POOLING.values())
        raise ExportError(
            f"{file}: pooling {' + '.join(active) or 'none'} is not supported; "
            f"supported: one of {known}"
        )
    return POOLING[active[0]]


def _prefixes(source: Path) -> tuple[str, str]:
    """Return what the model wants before a query and before a document."""
    config = _read(source / "config_sentence_transformers.json") or {}
    prompts = config.get("prompts") or {}
    usual = prompts.get(config.get("default_prompt_name") or "", "")
    document = next((prompts[name] for name in _DOCUMENT_PROMPTS if name in prompts), usual)
    query = prompts.get("query", usual)
    if not any(prompts.values()) and _card_asks_for_prefixes(source):
        return _CARD_PREFIXES
    return query, document


def _card_asks_for_prefixes(source: Path) -> bool:
    card = source / "README.md"
    if not card.is_file():
        return False
    text = card.read_text(encoding="utf-8", errors="replace")
    return all(re.search(f"[\"'`]{prefix}[\"'`]", text) for prefix in _CARD_PREFIXES)


def _max_tokens(source: Path, config: Mapping[str, Any]) -> int:
    limit = int(config.get("max_position_embeddings", 512))
    if config["model_type"] != "bert":
        limit -= int(config.get("pad_token_id", 1)) + 1  # RoBERTa counts positions from there
    transformer = _read(source / "sentence_bert_config.json") or {}
    if transformer.get("do_lower_case"):
        raise ExportError(
            f"{source / 'sentence_bert_config.json'}: do_lower_case is not supported; "
            "supported: a tokenizer that does it by itself"
        )
    tokenizer = _read(source / "tokenizer_config.json") or {}
    own = transformer.get("max_seq_length") or tokenizer.get("model_max_length") or limit
    return min(int(own), limit, MAX_TOKENS)


def _read(path: Path) -> Any:
    """Return a JSON file's value, None where there is no file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{path}: not valid JSON: {error}") from error

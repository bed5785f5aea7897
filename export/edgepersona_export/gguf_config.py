"""What a GGUF file says of its model and transformers leaves unread."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgepersona.errors import ExportError

_TENSORS = re.compile(
    r"token_embd|output|output_norm|rope_freqs|rope_factors_(long|short)"
    r"|blk\.\d+\.(attn_(q|k|v|qkv|output|norm|q_norm|k_norm)|ffn_(gate|up|down|norm)"
    r"|post_attention_norm|post_ffw_norm)"
)
_LARGEST = {("gemma2", 46), ("gemma3_text", 62)}
"""The models whose attention is scaled by the share of a head: their files do not say so."""


def complete(config: Any, file: Path) -> None:
    """Set what the file says and ``config`` lacks: without it the model would be another one.

    Raises ExportError where the file holds tensors that no supported family has, which
    transformers would leave out.
    """
    from gguf import GGUFReader

    reader = GGUFReader(file)
    family = reader.fields["general.architecture"].contents()
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    if unknown := [name for name in tensors if not _is_known(name, family)]:
        named = ", ".join(unknown[:3])
        raise ExportError(f"{file}: this {family} model has weights not understood: {named}")

    def value(key: str) -> Any:
        field = reader.fields.get(f"{family}.{key}")
        return None if field is None else field.contents()

    def replace(name: str, key: str) -> None:
        if (found := value(key)) is not None:
            setattr(config, name, found)

    kind = value("rope.scaling.type")
    if kind not in (None, "none"):
        config.rope_scaling = {"rope_type": kind, "factor": value("rope.scaling.factor")}
    if "rope_freqs.weight" in tensors:  # what llama3's scaling comes to, pair by pair
        factors = tensors["rope_freqs.weight"].tolist()
        config.rope_scaling = _longrope(factors, factors, 1.0)
    if config.model_type in ("mistral", "phi3"):
        config.sliding_window = value("attention.sliding_window") or None
    if config.model_type == "phi3":
        replace("original_max_position_embeddings", "rope.scaling.original_context_length")
        size = config.hidden_size // config.num_attention_heads
        config.partial_rotary_factor = (value("rope.dimension_count") or size) / size
        if "rope_factors_short.weight" in tensors:
            factors, long = (
                tensors[f"rope_factors_{length}.weight"].tolist() for length in ("short", "long")
            )
            config.rope_scaling = _longrope(factors, long, value("rope.scaling.attn_factor"))
    if config.model_type == "qwen3":
        replace("head_dim", "attention.key_length")
    if config.model_type == "gemma2":
        replace("attn_logit_softcapping", "attn_logit_softcapping")
        replace("final_logit_softcapping", "final_logit_softcapping")
    if (config.model_type, config.num_hidden_layers) in _LARGEST:
        config.query_pre_attn_scalar = config.hidden_size // config.num_attention_heads


def _is_known(name: str, family: str) -> bool:
    stem, _, kind = name.rpartition(".")
    if kind == "bias":
        return family == "qwen2" and bool(re.fullmatch(r"blk\.\d+\.attn_[qkv]", stem))
    return kind == "weight" and bool(_TENSORS.fullmatch(stem))


def _longrope(short: list[float], long: list[float], magnitude: float | None) -> dict[str, Any]:
    return {
        "rope_type": "longrope",
        "short_factor": short,
        "long_factor": long,
        "attention_factor": magnitude,
    }

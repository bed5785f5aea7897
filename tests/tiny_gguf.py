"""A torch model as the GGUF file that llama.cpp's converter would write of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

ARCHITECTURES = {"mistral": "llama", "gemma3_text": "gemma3"}
"""``model_type`` → what such a file calls it, where that differs."""


def write(
    file: Path,
    model,
    *,
    left_out: tuple[str, ...] = (),
    more: dict | None = None,
    matrices: str = "F32",
) -> Path:
    """Write ``model``; ``left_out`` names tensors to leave out, ``more`` some to add.

    Matrices are of the kind ``matrices``, the rest is in float32.
    """
    import gguf

    kinds = gguf.GGMLQuantizationType
    config = model.config
    family = ARCHITECTURES.get(config.model_type, config.model_type)
    writer = gguf.GGUFWriter(file, family)
    _write_config(writer, config)
    names = gguf.get_tensor_name_map(
        next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == family),
        config.num_hidden_layers,
    )
    for name, tensor in model.state_dict().items():
        stem, _, kind = name.rpartition(".")
        if stem == "lm_head" and config.tie_word_embeddings:
            continue
        array = tensor.numpy()
        if family == "llama" and stem.endswith(("q_proj", "k_proj")):
            array = _permuted(array, config, stem)
        if family.startswith("gemma") and stem.endswith("norm"):
            array = array + np.float32(1)
        if (known := f"{names.get_name(stem)}.{kind}") not in left_out:
            own = kinds[matrices] if array.ndim == 2 else kinds.F32
            writer.add_tensor(known, gguf.quantize(array, own), raw_dtype=own)
    for name, array in (_rope_tensors(config) | (more or {})).items():
        writer.add_tensor(name, np.asarray(array, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _write_config(writer, config) -> None:
    import gguf

    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(int(size * getattr(config, "partial_rotary_factor", 1)))
    writer.add_vocab_size(config.vocab_size)
    writer.add_pad_token_id(config.pad_token_id)
    scaling = getattr(config, "rope_scaling", None) or {}
    if scaling.get("rope_type") in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(scaling["rope_type"]))
        writer.add_rope_scaling_factor(scaling["factor"])
    if config.model_type in ("qwen3", "gemma2", "gemma3_text"):
        writer.add_key_length(size)
        writer.add_value_length(size)
    if config.model_type in ("gemma2", "gemma3_text", "phi3"):
        writer.add_sliding_window(config.sliding_window or 0)
    if config.model_type == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if config.model_type == "phi3":
        original = config.original_max_position_embeddings
        writer.add_rope_scaling_orig_ctx_len(original)
        if scaling:
            stretched = math.log(config.max_position_embeddings / original)
            writer.add_rope_scaling_attn_factors(math.sqrt(1 + stretched / math.log(original)))


def _rope_tensors(config) -> dict[str, object]:
    scaling = getattr(config, "rope_scaling", None) or {}
    if "short_factor" in scaling:
        return {f"rope_factors_{k}.weight": scaling[f"{k}_factor"] for k in ("short", "long")}
    if scaling.get("rope_type") != "llama3":
        return {}
    size = config.hidden_size // config.num_attention_heads
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    factors = []
    for i in range(0, size, 2):
        length = 2 * math.pi * config.rope_theta ** (i / size)
        turns = scaling["original_max_position_embeddings"] / length
        smooth = (turns - low) / (high - low)
        if turns > high:
            factors.append(1.0)
        elif turns < low:
            factors.append(scaling["factor"])
        else:
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return {"rope_freqs.weight": factors}


def _permuted(rows: np.ndarray, config, stem: str) -> np.ndarray:
    """Put the rows of a head in llama.cpp's order: those that rotate together beside each other."""
    queries = stem.endswith("q_proj")
    heads = config.num_attention_heads if queries else config.num_key_value_heads
    return rows.reshape(heads, 2, -1, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)

"""A tiny random model of every architecture that can be exported, of its real torch class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

VOCAB = 131
WINDOW = 12
"""Narrower than the texts that tests read."""

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_GEMMA = {
    "head_dim": 32,
    "query_pre_attn_scalar": 24,
    "sliding_window": WINDOW,
    "num_hidden_layers": 4,
}
_ALTERNATING = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]


def _longrope(pairs: int) -> dict[str, Any]:
    short = [1 + 0.1 * i for i in range(pairs)]
    return {"type": "longrope", "short_factor": short, "long_factor": [9.0] * pairs}


_SPECIAL: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"rope_theta": 5000.0}),
    "smollm2": ("Llama", {"tie_word_embeddings": True, "rope_theta": 100000.0}),
    "llama-3.2": ("Llama", {"rope_scaling": _LLAMA3, "tie_word_embeddings": True}),
    "llama-linear": ("Llama", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    "mistral": ("Mistral", {"head_dim": 32, "sliding_window": WINDOW}),
    "mistral-nemo": ("Mistral", {"head_dim": 48, "sliding_window": None}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2-window": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
    "gemma2": ("Gemma2", {**_GEMMA, "attn_logit_softcapping": 8.0, "final_logit_softcapping": 9.0}),
    "gemma3_text": (
        "Gemma3",
        {
            **_GEMMA,
            "layer_types": _ALTERNATING,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            "rope_local_base_freq": 100.0,
        },
    ),
    "phi3": ("Phi3", {"sliding_window": WINDOW}),
    "phi-3.5": (
        "Phi3",
        {"rope_scaling": _longrope(8), "original_max_position_embeddings": 128},
    ),
    "phi-4-mini": (
        "Phi3",
        {
            "hidden_size": 192,
            "partial_rotary_factor": 0.5,
            "rope_scaling": _longrope(8),
            "original_max_position_embeddings": 128,
            "tie_word_embeddings": True,
        },
    ),
}

NAMES = (*_SPECIAL, "gemma3")
"""What ``make`` makes."""


def make(name: str, **overrides: object):
    """Make a model; its attention is the plain one, which alone knows soft caps."""
    import torch

    torch.manual_seed(1)
    model = _seeing(**overrides) if name == "gemma3" else _text(*_SPECIAL[name], overrides)
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            if key.endswith("bias"):
                tensor.normal_()
            elif "norm" in key:
                tensor.add_(torch.empty_like(tensor).normal_(std=0.2))
            if name.startswith("gemma") and ("post_" in key or "q_norm" in key):
                tensor.add_(3)  # else all attend to all, and the next token is the last one
    return model.eval().float()


def _text(family: str, special: dict[str, Any], overrides: dict[str, Any]):
    import transformers

    kind = "Gemma3Text" if family == "Gemma3" else family
    config = getattr(transformers, f"{kind}Config")(**(_SHAPE | special | overrides))
    config._attn_implementation = "eager"
    make_: Callable = getattr(transformers, f"{family}ForCausalLM")
    return make_(config)


def _seeing(**overrides: object):
    """A Gemma 3 with eyes; only its text part is exported."""
    import transformers

    text = _SHAPE | _SPECIAL["gemma3_text"][1] | overrides
    sight = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 1, "image_size": 16, "patch_size": 8,
    }  # fmt: skip
    config = transformers.Gemma3Config(
        text_config=text, vision_config=sight, mm_tokens_per_image=4, image_token_index=3
    )
    config._attn_implementation = "eager"
    return transformers.Gemma3ForConditionalGeneration(config)

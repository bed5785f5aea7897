"""Gemma 2: norms on both sides of a branch, soft caps, and a window in every other layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepersona_export.architectures.checkpoint import Checkpoint, decoder
from edgepersona_export.decoder_model import Array, DecoderModel, Layer


def read(checkpoint: Checkpoint) -> DecoderModel:
    """Read a Gemma 2."""
    config, kinds = checkpoint.config, checkpoint.config.layer_types
    return whole(
        checkpoint,
        [layer(checkpoint, i, window=checkpoint.window(kind)) for i, kind in enumerate(kinds)],
        attention_softcap=config.attn_logit_softcapping or 0.0,
    )


def whole(checkpoint: Checkpoint, layers: list[Layer], **special: Any) -> DecoderModel:
    """Put a Gemma's layers and what surrounds them together."""
    config = checkpoint.config
    # Rounded as torch rounds it: the tables would differ otherwise.
    scale = np.float32(config.hidden_size**0.5)
    return decoder(
        checkpoint,
        layers,
        activation="gelu_tanh",
        attention_scale=config.query_pre_attn_scalar**-0.5,
        logits_softcap=config.final_logit_softcapping or 0.0,
        embeddings=checkpoint.take("model.embed_tokens.weight") * scale,
        final_norm=plus_one(checkpoint.take("model.norm.weight")),
        **special,
    )


def layer(checkpoint: Checkpoint, i: int, **special: Any) -> Layer:
    """Read layer ``i`` by Gemma's names."""
    take = checkpoint.layer(i)
    return Layer(
        attention_norm=plus_one(take("input_layernorm.weight")),
        qkv=np.concatenate([take(f"self_attn.{part}_proj.weight") for part in "qkv"]),
        output=take("self_attn.o_proj.weight"),
        post_attention_norm=plus_one(take("post_attention_layernorm.weight")),
        mlp_norm=plus_one(take("pre_feedforward_layernorm.weight")),
        gate=take("mlp.gate_proj.weight"),
        up=take("mlp.up_proj.weight"),
        down=take("mlp.down_proj.weight"),
        post_mlp_norm=plus_one(take("post_feedforward_layernorm.weight")),
        **special,
    )


def plus_one(weight: Array) -> Array:
    """Return what a norm multiplies by: Gemma keeps how far that is from one."""
    return weight + np.float32(1)

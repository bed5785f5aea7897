"""Llama, and what is built like it: SmolLM and SmolLM2 among others."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepersona_export.architectures.checkpoint import Checkpoint, decoder
from edgepersona_export.decoder_model import Array, DecoderModel, Layer


def read(checkpoint: Checkpoint) -> DecoderModel:
    """Read a Llama."""
    count = checkpoint.config.num_hidden_layers
    return decoder(checkpoint, [layer(checkpoint, i) for i in range(count)])


def layer(checkpoint: Checkpoint, i: int, **special: Any) -> Layer:
    """Read layer ``i`` by Llama's names; ``special`` is what a family has besides."""

    def take(name: str) -> Array:
        return checkpoint.take(f"model.layers.{i}.{name}.weight")

    return Layer(
        attention_norm=take("input_layernorm"),
        qkv=np.concatenate([take(f"self_attn.{part}_proj") for part in "qkv"]),
        output=take("self_attn.o_proj"),
        mlp_norm=take("post_attention_layernorm"),
        gate=take("mlp.gate_proj"),
        up=take("mlp.up_proj"),
        down=take("mlp.down_proj"),
        **special,
    )

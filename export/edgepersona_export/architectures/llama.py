"""Llama, and what is built like it: SmolLM and SmolLM2 among others."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepersona_export.architectures.checkpoint import Checkpoint, decoder
from edgepersona_export.decoder_model import DecoderModel, Layer


def read(checkpoint: Checkpoint) -> DecoderModel:
    """Read a Llama."""
    count = checkpoint.config.num_hidden_layers
    return decoder(checkpoint, [layer(checkpoint, i) for i in range(count)])


def layer(checkpoint: Checkpoint, i: int, **special: Any) -> Layer:
    """Read layer ``i`` by Llama's names; ``special`` is what another family has besides."""
    take = checkpoint.layer(i)
    return Layer(
        attention_norm=take("input_layernorm.weight"),
        qkv=np.concatenate([take(f"self_attn.{part}_proj.weight") for part in "qkv"]),
        output=take("self_attn.o_proj.weight"),
        mlp_norm=take("post_attention_layernorm.weight"),
        gate=take("mlp.gate_proj.weight"),
        up=take("mlp.up_proj.weight"),
        down=take("mlp.down_proj.weight"),
        **special,
    )

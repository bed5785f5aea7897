"""Phi-3, Phi-3.5 and Phi-4-mini: Llama with its matrices joined and part of a head rotated."""

from __future__ import annotations

from edgepersona_export.architectures.checkpoint import Checkpoint, decoder
from edgepersona_export.decoder_model import DecoderModel, Layer


def read(checkpoint: Checkpoint) -> DecoderModel:
    """Read a Phi-3."""
    count = checkpoint.config.num_hidden_layers
    return decoder(checkpoint, [_layer(checkpoint, i) for i in range(count)])


def _layer(checkpoint: Checkpoint, i: int) -> Layer:
    take = checkpoint.layer(i)
    gate_up = take("mlp.gate_up_proj.weight")
    return Layer(
        attention_norm=take("input_layernorm.weight"),
        qkv=take("self_attn.qkv_proj.weight"),
        output=take("self_attn.o_proj.weight"),
        mlp_norm=take("post_attention_layernorm.weight"),
        gate=gate_up[: checkpoint.config.intermediate_size],
        up=gate_up[checkpoint.config.intermediate_size :],
        down=take("mlp.down_proj.weight"),
        window=checkpoint.window(),
    )

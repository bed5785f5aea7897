"""Qwen 3: Llama with norms on the heads of queries and keys, and in some layers a window."""

from __future__ import annotations

from edgepersona_export.architectures.checkpoint import Checkpoint, decoder
from edgepersona_export.architectures.llama import layer
from edgepersona_export.decoder_model import DecoderModel, Layer


def read(checkpoint: Checkpoint) -> DecoderModel:
    """Read a Qwen 3."""
    kinds = checkpoint.config.layer_types
    return decoder(checkpoint, [_layer(checkpoint, i, kind) for i, kind in enumerate(kinds)])


def _layer(checkpoint: Checkpoint, i: int, kind: str) -> Layer:
    take = checkpoint.layer(i)
    return layer(
        checkpoint,
        i,
        q_norm=take("self_attn.q_norm.weight"),
        k_norm=take("self_attn.k_norm.weight"),
        window=checkpoint.window(kind),
    )

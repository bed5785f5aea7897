"""Qwen 2 and 2.5: Llama with a bias on queries, keys and values, and in some layers a window."""

from __future__ import annotations

import numpy as np

from edgepersona_export.architectures.checkpoint import Checkpoint, decoder
from edgepersona_export.architectures.llama import layer
from edgepersona_export.decoder_model import DecoderModel, Layer


def read(checkpoint: Checkpoint) -> DecoderModel:
    """Read a Qwen 2."""
    kinds = checkpoint.config.layer_types
    return decoder(checkpoint, [_layer(checkpoint, i, kind) for i, kind in enumerate(kinds)])


def _layer(checkpoint: Checkpoint, i: int, kind: str) -> Layer:
    take = checkpoint.layer(i)
    bias = np.concatenate([take(f"self_attn.{part}_proj.bias") for part in "qkv"])
    return layer(checkpoint, i, qkv_bias=bias, window=checkpoint.window(kind))

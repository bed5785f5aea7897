"""Qwen 2 and 2.5: Llama with a bias on queries, keys and values."""

from __future__ import annotations

import numpy as np

from edgepersona_export.architectures.checkpoint import Checkpoint, decoder
from edgepersona_export.architectures.llama import layer
from edgepersona_export.decoder_model import Array, DecoderModel


def read(checkpoint: Checkpoint) -> DecoderModel:
    """Read a Qwen 2."""

    def bias(i: int) -> Array:
        names = [f"model.layers.{i}.self_attn.{part}_proj.bias" for part in "qkv"]
        return np.concatenate([checkpoint.take(name) for name in names])

    count = checkpoint.config.num_hidden_layers
    return decoder(checkpoint, [layer(checkpoint, i, qkv_bias=bias(i)) for i in range(count)])

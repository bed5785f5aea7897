"""Mistral: Llama with heads of any size, and in some a window over all layers."""

from __future__ import annotations

from edgepersona_export.architectures.checkpoint import Checkpoint, decoder
from edgepersona_export.architectures.llama import layer
from edgepersona_export.decoder_model import DecoderModel


def read(checkpoint: Checkpoint) -> DecoderModel:
    """Read a Mistral."""
    count, window = checkpoint.config.num_hidden_layers, checkpoint.window()
    return decoder(checkpoint, [layer(checkpoint, i, window=window) for i in range(count)])

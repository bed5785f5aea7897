"""Mistral: Llama with a size of heads of its own."""

from __future__ import annotations

from edgepersona_export.architectures.checkpoint import Checkpoint, decoder
from edgepersona_export.architectures.llama import layer
from edgepersona_export.decoder_model import DecoderModel


def read(checkpoint: Checkpoint) -> DecoderModel:
    """Read a Mistral."""
    count = checkpoint.config.num_hidden_layers
    return decoder(checkpoint, [layer(checkpoint, i) for i in range(count)])

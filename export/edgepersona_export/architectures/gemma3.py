"""Gemma 3: Gemma 2 with norms on heads for soft caps, and ropes of their own for its windows."""

from __future__ import annotations

from collections.abc import Mapping

from edgepersona_export.architectures.checkpoint import Checkpoint
from edgepersona_export.architectures.gemma2 import layer, plus_one, whole
from edgepersona_export.architectures.rope import plain_rope, rope
from edgepersona_export.decoder_model import Array, DecoderModel, Layer

_LANGUAGE = "model.language_model."
_PICTURES = ("model.vision_tower.", "model.multi_modal_projector.")


def read(checkpoint: Checkpoint) -> DecoderModel:
    """Read a Gemma 3, or the text part of one that sees."""
    config, size = checkpoint.config, checkpoint.head_dim
    ropes = (
        rope(config, size, checkpoint.positions),
        plain_rope(config.rope_local_base_freq, size, checkpoint.positions),
    )
    layers = [_layer(checkpoint, i, kind) for i, kind in enumerate(config.layer_types)]
    return whole(checkpoint, layers, ropes=ropes)


def text_part(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Return the tensors of the text part, under the names that a model of text alone has."""
    return {
        name.replace(_LANGUAGE, "model."): tensor
        for name, tensor in tensors.items()
        if not name.startswith(_PICTURES)
    }


def _layer(checkpoint: Checkpoint, i: int, kind: str) -> Layer:
    take = checkpoint.layer(i)
    return layer(
        checkpoint,
        i,
        q_norm=plus_one(take("self_attn.q_norm.weight")),
        k_norm=plus_one(take("self_attn.k_norm.weight")),
        window=checkpoint.window(kind),
        rope=int(kind == "sliding_attention"),
    )

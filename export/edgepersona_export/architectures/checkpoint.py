"""A torch checkpoint by its names, and what surrounds the layers of every family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgepersona_export.architectures.rope import longest, rope
from edgepersona_export.decoder_model import Array, DecoderModel, Layer


class Checkpoint:
    """The configuration and tensors of a model; ``unread`` names what nobody took yet."""

    def __init__(self, config: Any, tensors: Mapping[str, Array], positions: int) -> None:
        self.config = config
        self.head_dim = head_dim(config)
        self.positions = min(positions, longest(config))
        self.unread = set(tensors)
        self._tensors = tensors

    def take(self, name: str) -> Array:
        """Return a tensor."""
        self.unread.discard(name)
        return self._tensors[name]

    def layer(self, i: int) -> Callable[[str], Array]:
        """Return what takes the tensors of layer ``i`` by their names within it."""
        return lambda name: self.take(f"model.layers.{i}.{name}")

    def window(self, kind: str = "sliding_attention") -> int:
        """Return the window of a layer of this kind; 0 where it has none, or none ever filled."""
        size: int = self.config.sliding_window or 0
        return size if kind == "sliding_attention" and size < self.positions else 0


def head_dim(config: Any) -> int:
    """Return the size of an attention head."""
    size: int | None = getattr(config, "head_dim", None)
    return size or config.hidden_size // config.num_attention_heads


def decoder(checkpoint: Checkpoint, layers: Sequence[Layer], **special: Any) -> DecoderModel:
    """Put the layers and what surrounds them together, by the names that all families share.

    ``special`` is what a family has of its own, by its name in DecoderModel.
    """
    config, size = checkpoint.config, checkpoint.head_dim
    common = {
        "ropes": (rope(config, size, checkpoint.positions),),
        "attention_scale": size**-0.5,
        "final_norm": checkpoint.take("model.norm.weight"),
        "embeddings": checkpoint.take("model.embed_tokens.weight"),
        "head": checkpoint.take("lm_head.weight"),
    }
    return DecoderModel(
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=size,
        vocab=config.vocab_size,
        positions=checkpoint.positions,
        norm_eps=config.rms_norm_eps,
        layers=tuple(layers),
        **(common | special),
    )

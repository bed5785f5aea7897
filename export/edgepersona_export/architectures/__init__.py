"""The families of LLMs that can be exported: which file reads which, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgepersona.errors import ExportError
from edgepersona_export.architectures import llama, mistral, qwen2
from edgepersona_export.architectures.checkpoint import Checkpoint, head_dim
from edgepersona_export.architectures.rope import ROPES, rope_kind
from edgepersona_export.decoder_model import Array, DecoderModel

if TYPE_CHECKING:
    from transformers import PretrainedConfig

FAMILIES = {
    "llama": llama.read,  # SmolLM and SmolLM2 too
    "mistral": mistral.read,
    "qwen2": qwen2.read,  # Qwen 2.5 too
}
"""``model_type`` of a configuration → what reads such a model."""


def check(config: PretrainedConfig, where: str) -> None:
    """Refuse what would be computed wrongly: a silent difference is worse than none."""
    kind = config.model_type
    if kind not in FAMILIES:
        raise ExportError(
            f"{where}: {kind} models are not supported; supported: {', '.join(FAMILIES)}"
        )
    rope = rope_kind(config)
    activation = config.hidden_act
    unsupported = {
        f"rope scaling {rope!r} (supported: {', '.join(ROPES)})": rope not in ROPES,
        f"activation {activation!r} (supported: silu)": activation != "silu",
        "sliding-window attention": bool(
            getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
        ),
        # What ONNX Runtime's attention takes when it rotates the heads itself.
        f"heads of {head_dim(config)} (supported: multiples of 16)": bool(head_dim(config) % 16),
        "biases in the MLP": getattr(config, "mlp_bias", False),
        "biases in the attention": getattr(config, "attention_bias", False),
    }
    if found := [what for what, present in unsupported.items() if present]:
        raise ExportError(f"{where}: this {kind} model has {', '.join(found)}: not supported")


def read(
    config: PretrainedConfig, tensors: Mapping[str, Array], where: str, positions: int
) -> DecoderModel:
    """Read a checked model; ExportError where it has weights that no family would have."""
    checkpoint = Checkpoint(config, tensors, positions)
    model = FAMILIES[config.model_type](checkpoint)
    if checkpoint.unread:
        raise ExportError(
            f"{where}: this {config.model_type} model has weights that are not understood: "
            f"{', '.join(sorted(checkpoint.unread)[:3])}"
        )
    return model

"""The families of LLMs that can be exported: which file reads which, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgepersona.errors import ExportError
from edgepersona_export.architectures import gemma2, gemma3, llama, mistral, phi3, qwen2, qwen3
from edgepersona_export.architectures.checkpoint import Checkpoint, head_dim
from edgepersona_export.architectures.rope import ROPES, rope_kind, rotary_dim
from edgepersona_export.decoder_model import Array, DecoderModel

if TYPE_CHECKING:
    from transformers import PretrainedConfig

FAMILIES = {
    "llama": llama.read,  # SmolLM and SmolLM2 too
    "mistral": mistral.read,
    "qwen2": qwen2.read,  # Qwen 2.5 too
    "qwen3": qwen3.read,
    "gemma2": gemma2.read,
    "gemma3_text": gemma3.read,
    "gemma3": gemma3.read,  # its text part
    "phi3": phi3.read,  # Phi-3.5 and Phi-4-mini too
}
"""``model_type`` of a configuration → what reads such a model."""


def check(config: PretrainedConfig, where: str) -> None:
    """Refuse what would be computed wrongly: a silent difference is worse than none."""
    kind = config.model_type
    if kind not in FAMILIES:
        raise ExportError(
            f"{where}: {kind} models are not supported; supported: {', '.join(FAMILIES)}"
        )
    if found := _unsupported(config.get_text_config()):
        raise ExportError(f"{where}: this {kind} model has {', '.join(found)}: not supported")


def _unsupported(config: PretrainedConfig) -> list[str]:
    rope, size = rope_kind(config), head_dim(config)
    activation = getattr(config, "hidden_activation", None) or config.hidden_act
    expected = "gelu_pytorch_tanh" if config.model_type.startswith("gemma") else "silu"
    unsupported = {
        f"rope scaling {rope!r} (supported: {', '.join(ROPES)})": rope not in ROPES,
        f"activation {activation!r} (supported: {expected})": activation != expected,
        # What ONNX Runtime's attention takes when it rotates the heads itself.
        f"heads of {size} (supported: multiples of 16)": size % 16,
        f"{rotary_dim(config, size)} values of a head rotated (supported: multiples of 16)": (
            rotary_dim(config, size) % 16
        ),
        "biases in the MLP": getattr(config, "mlp_bias", False),
        "a bias at the attention's output": getattr(config, "attention_bias", False),
        "attention to later tokens": getattr(config, "use_bidirectional_attention", False),
        "soft caps beside norms of queries and keys": (
            config.model_type == "gemma3_text" and config.attn_logit_softcapping
        ),
    }
    return [what for what, present in unsupported.items() if present]


def read(
    config: PretrainedConfig, tensors: Mapping[str, Array], where: str, positions: int
) -> DecoderModel:
    """Read a checked model; ExportError where it has weights that its family does not know."""
    kind = config.model_type
    text = gemma3.text_part(tensors) if kind == "gemma3" else tensors
    checkpoint = Checkpoint(config.get_text_config(), text, positions)
    model = FAMILIES[kind](checkpoint)
    if checkpoint.unread:
        named = ", ".join(sorted(checkpoint.unread)[:3])
        raise ExportError(f"{where}: this {kind} model has weights not understood: {named}")
    return model

"""A decoder-only LLM as plain arrays, whatever its family: what every engine's file is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edgepersona_export.quantize import Quantised

POSITIONS = 8192
"""The most positions an export has room for: rotary tables and caches are no longer."""

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Rope:
    """Rotary tables float32 (positions, rotary_dim / 2), any scaling folded in.

    The first ``rotary_dim`` values of a head are rotated, in pairs (i, i + rotary_dim / 2).
    """

    cos: Array
    sin: Array


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One layer's weights, float32, matrices (out, in) as torch keeps them.

    ``qkv`` holds the rows of all query heads, then of the key heads, then of the value heads.
    ``window`` 0 sees every earlier position, else a position sees itself and the ``window`` - 1
    before it. What ``post_attention_norm`` and ``post_mlp_norm`` norm is a branch, before it is
    added. ``rope`` counts in the model's ropes.
    """

    attention_norm: Array
    qkv: Array
    output: Array
    mlp_norm: Array
    gate: Array
    up: Array
    down: Array
    qkv_bias: Array | None = None
    q_norm: Array | None = None
    k_norm: Array | None = None
    post_attention_norm: Array | None = None
    post_mlp_norm: Array | None = None
    window: int = 0
    rope: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class DecoderModel:
    """The whole LLM: what its family is no longer matters to who writes or runs it.

    A norm is x / rms(x) times its weight, whatever the family keeps as weight. A soft cap c turns x
    into c · tanh(x / c); 0 is none. ``embeddings`` are what enters the first layer. ``blocks`` are
    matrices exactly as the model's file holds them, by names such as ``layers.0.gate_up``.
    """

    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    positions: int
    norm_eps: float
    attention_scale: float
    ropes: tuple[Rope, ...]
    layers: tuple[Layer, ...]
    final_norm: Array
    head: Array
    embeddings: Array
    activation: str = "silu"  # or "gelu_tanh"
    attention_softcap: float = 0.0
    logits_softcap: float = 0.0
    blocks: Mapping[str, Quantised] = field(default_factory=dict)


def read_model(
    torch_model: PreTrainedModel, *, source: Path | None = None, positions: int = POSITIONS
) -> DecoderModel:
    """Read a torch model of a supported family; ExportError says what of it cannot be.

    ``source`` is the folder or GGUF file it was loaded from, named in errors. At most
    ``positions`` are kept room for, or what the model was made for.
    """
    from edgepersona_export.architectures import check, read

    where = str(source or torch_model.config.name_or_path or "the model")
    check(torch_model.config, where)
    tensors = {name: tensor.float().numpy() for name, tensor in torch_model.state_dict().items()}
    return read(torch_model.config, tensors, where, positions)

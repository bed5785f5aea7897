"""Attention to go back through on a processor: eager attention's figures for less memory.

A module of transformers' eager attention keeps the weights three times for the way back, twice of
them in float32, and the keys and values of each head's group as many times as the group has heads.
With hundreds of soft tokens that is most of what a step holds, and moving it much of its time.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

LEAN = "edgepersona-lean"
"""What transformers knows it by."""


def lean_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend from ``query`` (n, heads, q, d) to ``key`` and ``value`` (n, groups, k, d).

    ``attention_mask`` (n or 1, 1, q, k) is added to the scores. Returns (n, q, heads, d), and no
    weights. Softmax sums in float32 whatever its precision, and only what it returns is kept.
    """
    n, heads, asked, width = query.shape
    groups, known = key.shape[1:3]
    # All heads of a group in one product: nothing is repeated for them.
    together = (query * scaling).reshape(n, groups, -1, width)
    scores = (together @ key.transpose(2, 3)).view(n, groups, heads // groups, asked, known)
    if attention_mask is not None:
        scores.add_(attention_mask[:, :, None, :, :known])  # a product is not needed to go back
    weights = scores.softmax(-1).view(n, groups, -1, known)
    found = (weights @ value).view(n, heads, asked, width)
    return found.transpose(1, 2).contiguous(), None


AttentionInterface.register(LEAN, lean_attention)
AttentionMaskInterface.register(LEAN, eager_mask)

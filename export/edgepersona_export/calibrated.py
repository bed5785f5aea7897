"""Quantises a model's layers to 4 bits for the inputs that their matrices meet on real text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgepersona_export.decoder_model import DecoderModel
from edgepersona_export.decoder_torch import hidden_states, matrix
from edgepersona_export.gptq import quantise_gptq
from edgepersona_export.quantize import BLOCK_4, Quantised, dequantise

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[int, int], None]
"""Called with the number of matrices that are done, and of all."""


def calibrate(
    model: DecoderModel,
    texts: NDArray[np.int64],
    *,
    kept: Mapping[str, Quantised] = MappingProxyType({}),
    progress: Progress = lambda done, total: None,
) -> dict[str, Quantised]:
    """Quantise all matrices but the head to 4 bits; ``texts`` are token ids (texts, tokens).

    Each is met in turn, with inputs that have passed those before it as they are quantised: so
    later ones answer for what earlier ones lost. One is held at a time. ``kept`` are taken as they
    are.
    """
    import torch

    found: dict[str, Quantised] = {}
    total = len(model.layers) * 4

    def linear(name: str, x: Tensor) -> Tensor:
        weight, x = matrix(model, name), rounded(x)
        moments = (x.T @ x / len(x)).numpy() if name not in kept else None
        own = kept[name] if moments is None else quantise_gptq(weight, moments)
        found[name] = own
        progress(len(found), total)
        return x @ torch.from_numpy(dequantise(own, weight.shape[1])).T

    hidden_states(model, torch.from_numpy(texts), linear)
    return found


def rounded(x: Tensor) -> Tensor:
    """Round inputs (tokens, k) to 8 bits in blocks of 32, as the native core does."""
    import torch

    k = x.shape[1]
    blocks = torch.nn.functional.pad(x, (0, -k % BLOCK_4)).reshape(len(x), -1, BLOCK_4)
    scales = blocks.abs().amax(-1, keepdim=True) / 127
    codes = (blocks / torch.where(scales == 0, 1, scales)).round()
    return (codes * scales).reshape(len(x), -1)[:, :k]

"""Rounds a weight to 4 bits column by column, each making up for the errors of those before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepersona_export.quantize import BLOCK_4, Quantised, fit_int4, round_int4, stored_int4

_Floats = NDArray[np.float32]

_DAMPING = 0.01
"""What each column's own moment grows by, as a share of all columns' mean: texts were few."""


def quantise_gptq(weight: _Floats, moments: _Floats) -> Quantised:
    """Quantise a weight (n, k) to blocks of 4 bits, for inputs whose moments E[x xᵀ] are (k, k).

    GPTQ (Frantar et al. 2022): what rounding a column adds to the outputs is taken off the columns
    after it, as far as their inputs go together. A block's scale and minimum are found when its
    turn comes, by the search of ``quantise_int4``, each column weighed by its moment.
    """
    n, k = weight.shape
    damped = np.pad(moments.astype(np.float64), (0, -k % BLOCK_4))
    damped[np.diag_indices_from(damped)] += _DAMPING * moments.diagonal().mean() or 1.0
    factors = _factors(damped)
    left = np.zeros((len(damped), n), np.float32)  # a column of the weight is a row here
    left[:k] = weight.T
    found = []
    for start in range(0, len(left), BLOCK_4):
        here, after = slice(start, start + BLOCK_4), slice(start + BLOCK_4, None)
        block, own = left[here], factors[here, here]
        importance = damped.diagonal()[here].astype(np.float32)
        _, scales, mins = fit_int4(np.ascontiguousarray(block.T), importance)
        codes, errors = np.empty_like(block), np.empty_like(block)
        for i, column in enumerate(block):
            codes[i], *_ = (x[:, 0] for x in round_int4(column[:, None], scales, mins))
            errors[i] = (column - codes[i] * scales[:, 0] - mins[:, 0]) / own[i, i]
            block[i + 1 :] -= np.outer(own[i, i + 1 :], errors[i])
        left[after] -= factors[here, after].T @ errors
        found.append((codes.T, scales, mins))
    codes, scales, mins = (np.stack(part, axis=1) for part in zip(*found, strict=True))
    return stored_int4(codes, scales, mins)


def _factors(moments: NDArray[np.float64]) -> _Floats:
    """Return the upper triangle U for which UᵀU is the inverse of ``moments``."""
    import torch

    # With both axes turned around, the usual factor is that of the inverse, inverted.
    turned = torch.linalg.cholesky(torch.from_numpy(moments).flip(0, 1)).flip(0, 1)
    inverse = torch.linalg.solve_triangular(
        turned, torch.eye(len(moments), dtype=turned.dtype), upper=True
    )
    factors: _Floats = inverse.float().numpy()
    return factors

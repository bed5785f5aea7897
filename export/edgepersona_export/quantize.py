"""Weights in blocks of few bits: how codes and scales are chosen, and what they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float32]

BLOCK_4 = 32
"""Values that share a scale and a minimum with 4 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """A weight (n, k) in blocks along k, which is padded to whole ones.

    ``codes`` uint8 (n, k'), ``scales`` float16 (n, k'/block), ``mins`` the same or None. A value is
    ``(code - 128)·scale`` with 8 bits and ``code·scale + min`` with 4: the blocks of GGUF's Q8_0,
    Q4_0 and Q4_1 fit as they are.
    """

    codes: NDArray[np.uint8]
    scales: NDArray[np.float16]
    mins: NDArray[np.float16] | None
    bits: int
    block: int

    @property
    def size_bytes(self) -> int:
        """Bytes that are read for one product with a vector."""
        mins = 0 if self.mins is None else self.mins.nbytes
        return self.codes.size * self.bits // 8 + self.scales.nbytes + mins


def quantise_int8(weight: NDArray[np.float32], *, block: int = 128) -> Quantised:
    """Quantise a weight (n, k) symmetrically to 8 bits; a block's largest value sets its scale.

    Blocks halve down to 32 until they divide k: what would be padded would be read.
    """
    while block > 32 and weight.shape[1] % block:
        block //= 2
    blocks = _split(weight, block)
    scales = (np.abs(blocks).max(axis=-1) / np.float32(127)).astype(np.float16)
    steps = np.rint(blocks / _nonzero(scales.astype(np.float32))[..., None])
    codes = (np.clip(steps, -127, 127) + 128).astype(np.uint8)
    return Quantised(codes.reshape(len(weight), -1), scales, None, bits=8, block=block)


def quantise_int4(
    weight: NDArray[np.float32], importance: NDArray[np.float32] | None = None
) -> Quantised:
    """Quantise a weight (n, k) to 4 bits in blocks of 32, each with its own scale and minimum.

    Both are chosen among candidates by squared error, each column weighed by its ``importance``
    (k,), such as the mean square of the input it meets. A weight that lies on such a grid, with
    both ends of it in use, comes back exactly.
    """
    blocks = _split(weight, BLOCK_4)
    if importance is None:
        importance = np.ones(weight.shape[1], np.float32)
    # A column that no text reached still counts a little: zeros would leave a fit undetermined.
    weights = _split(np.maximum(importance, importance.mean() * 1e-3)[None], BLOCK_4)[0]
    rows = max(1, _CHUNK // blocks[0].size)
    parts = [fit_int4(blocks[i : i + rows], weights) for i in range(0, len(blocks), rows)]
    codes, scales, mins = (np.concatenate(part) for part in zip(*parts, strict=True))
    return stored_int4(codes, scales, mins)


def stored_int4(codes: _Floats, scales: _Floats, mins: _Floats) -> Quantised:
    """Store codes (n, blocks, 32) with scales and mins (n, blocks, 1) as they are kept."""
    return Quantised(
        codes.astype(np.uint8).reshape(len(codes), -1),
        scales[..., 0].astype(np.float16),
        mins[..., 0].astype(np.float16),
        bits=4,
        block=BLOCK_4,
    )


def dequantise(matrix: Quantised, k: int) -> NDArray[np.float32]:
    """Return the float32 weight (n, k) that a quantised one stands for."""
    codes = matrix.codes.reshape(*matrix.scales.shape, matrix.block).astype(np.float32)
    scales = matrix.scales.astype(np.float32)[..., None]
    if matrix.bits == 8:
        codes -= 128
    codes *= scales
    if matrix.mins is not None:
        codes += matrix.mins.astype(np.float32)[..., None]
    return codes.reshape(len(codes), -1)[:, :k]


_CHUNK = 1 << 18
"""Values that a search holds at once: few enough to stay in cache."""

_STRETCHES = np.linspace(-1.5, 1.5, 13)
"""By how many steps more or fewer than 15 a block's range is divided, as candidates."""


def fit_int4(blocks: _Floats, importance: _Floats) -> tuple[_Floats, _Floats, _Floats]:
    """Return codes (…, 32), scales and mins (…, 1) for blocks, weighed by ``importance`` (…, 32).

    Each candidate rounds to a grid over a little more or less than the range, then the scale and
    minimum that suit its codes best are solved for, and the codes chosen anew for these. All are
    float32; scales and mins are such as float16 holds.
    """
    low, span = blocks.min(-1, keepdims=True), np.ptp(blocks, -1, keepdims=True)
    total, weighed = importance.sum(-1, keepdims=True), blocks * importance
    sum_x = weighed.sum(-1, keepdims=True)
    best = round_int4(blocks, span / np.float32(15), low)
    best_error = _error(blocks, importance, *best)
    for stretch in _STRETCHES:
        codes = np.rint((blocks - low) * (np.float32(15 + stretch) / _nonzero(span))).clip(0, 15)
        heavy = codes * importance
        sum_q = heavy.sum(-1, keepdims=True)
        spread = total * (heavy * codes).sum(-1, keepdims=True) - sum_q**2
        shared = total * (codes * weighed).sum(-1, keepdims=True) - sum_q * sum_x
        scale = np.where(spread > 0, shared / _nonzero(spread), np.float32(0))
        found = round_int4(blocks, scale, (sum_x - scale * sum_q) / total)
        error = _error(blocks, importance, *found)
        better = error < best_error
        best_error = np.where(better, error, best_error)
        codes, scale, minimum = (np.where(better, a, b) for a, b in zip(found, best, strict=True))
        best = codes, scale, minimum
    return best


def round_int4(blocks: _Floats, scales: _Floats, mins: _Floats) -> tuple[_Floats, _Floats, _Floats]:
    """Round scales and mins to float16, and blocks to the codes that are nearest by these."""
    scales, mins = (x.astype(np.float16).astype(np.float32) for x in (scales, mins))
    return np.rint((blocks - mins) / _nonzero(scales)).clip(0, 15), scales, mins


def _error(
    blocks: _Floats, importance: _Floats, codes: _Floats, scales: _Floats, mins: _Floats
) -> _Floats:
    missed = codes * scales + mins - blocks
    error: _Floats = (missed * missed * importance).sum(-1, keepdims=True)
    return error


def _split(weight: _Floats, block: int) -> _Floats:
    padded: _Floats = np.pad(weight, ((0, 0), (0, -weight.shape[1] % block)))
    return padded.reshape(len(weight), -1, block)


def _nonzero(x: _Floats) -> _Floats:
    divisors: _Floats = np.where(x == 0, np.float32(1), x)
    return divisors

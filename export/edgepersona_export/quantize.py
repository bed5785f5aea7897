"""Block-wise weight quantisation in the layout of ONNX Runtime's MatMulNBits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Scheme:
    """How weights are stored: ``bits`` a value, one scale for ``block`` values along K.

    Blocks are up to ``widest`` wide where K is a multiple of that: fewer scales to read.
    """

    bits: int
    block: int
    widest: int = 0

    def fitted(self, k: int) -> Scheme:
        """Return the scheme for weights with ``k`` columns."""
        wide = bool(self.widest) and k % self.widest == 0
        return Scheme(self.bits, self.widest if wide else self.block)


@dataclass(frozen=True, slots=True)
class Blocks:
    """A quantised weight: values uint8 (n, k/block, block·bits/8), scales float32 (n, k/block)."""

    values: NDArray[np.uint8]
    scales: NDArray[np.float32]


def quantize(weight: NDArray[np.float32], scheme: Scheme) -> Blocks:
    """Quantise a weight (n, k) symmetrically; K is padded with zeros to whole blocks.

    Values are offset by ``2**(bits-1)``, the zero point MatMulNBits assumes when none is given.
    A 4-bit scale is chosen among candidates by squared error; with 8 bits the largest sets it.
    """
    blocks = _split(weight, scheme.block)
    offset = 1 << (scheme.bits - 1)
    scales = _scales(blocks, scheme.bits)
    codes = np.rint(blocks / _nonzero(scales)[..., None]) + offset
    codes = np.clip(codes, 0, 2 * offset - 1).astype(np.uint8)
    if scheme.bits == 4:
        codes = codes[..., 0::2] | (codes[..., 1::2] << 4)
    return Blocks(values=codes, scales=scales)


def dequantize(blocks: Blocks, scheme: Scheme, k: int) -> NDArray[np.float32]:
    """Return the float32 weight (n, k) that a quantised one stands for."""
    codes = blocks.values
    if scheme.bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:2], -1)
    offset = 1 << (scheme.bits - 1)
    weight: NDArray[np.float32] = (codes.astype(np.float32) - offset) * blocks.scales[..., None]
    return weight.reshape(weight.shape[0], -1)[:, :k]


def _split(weight: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    n, k = weight.shape
    padded: NDArray[np.float32] = np.pad(weight, ((0, 0), (0, -k % block)))
    return padded.reshape(n, -1, block)


def _scales(blocks: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    if bits == 8:
        largest: NDArray[np.float32] = np.abs(blocks).max(axis=-1)
        return largest / np.float32(127)
    # The value furthest from zero may take either end of the asymmetric range [-8, 7].
    furthest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)[..., 0]
    best, best_error = furthest / -8, np.full(furthest.shape, np.inf)
    for divisor in np.linspace(-9.0, -6.0, 13):
        scale = (furthest / divisor).astype(np.float32)
        rounded = np.clip(np.rint(blocks / _nonzero(scale)[..., None]), -8, 7) * scale[..., None]
        error = ((rounded - blocks) ** 2).sum(-1)
        better = error < best_error
        best, best_error = np.where(better, scale, best), np.where(better, error, best_error)
    return best.astype(np.float32)


def _nonzero(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    divisors: NDArray[np.float32] = np.where(scales == 0, np.float32(1), scales)
    return divisors

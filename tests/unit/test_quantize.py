"""Blocks of few bits stand for nearly the weight they were made of."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="export extra is not installed")

from edgepersona_export.quantize import Scheme, dequantize, quantize


def _weight(n: int, k: int) -> np.ndarray:
    return np.random.default_rng(n * k).standard_normal((n, k)).astype(np.float32)


@pytest.mark.parametrize("k", [1, 31, 32, 33, 128, 200])
def test_8_bit_error_is_at_most_half_a_step(k: int) -> None:
    weight, scheme = _weight(5, k), Scheme(bits=8, block=32)
    blocks = quantize(weight, scheme)
    step = np.repeat(blocks.scales, 32, axis=1)[:, :k]
    assert blocks.values.shape == (5, -(-k // 32), 32)
    assert (np.abs(dequantize(blocks, scheme, k) - weight) <= step * 0.5001).all()


@pytest.mark.parametrize("k", [32, 70, 256])
def test_4_bit_scales_beat_the_plain_choice(k: int) -> None:
    weight, scheme = _weight(8, k), Scheme(bits=4, block=32)
    blocks = quantize(weight, scheme)
    error = ((dequantize(blocks, scheme, k) - weight) ** 2).sum()
    padded = np.pad(weight, ((0, 0), (0, -k % 32))).reshape(8, -1, 32)
    scales = np.abs(padded).max(-1, keepdims=True) / 7
    plain = ((np.clip(np.rint(padded / scales), -8, 7) * scales - padded) ** 2).sum()
    assert blocks.values.shape == (8, -(-k // 32), 16)
    assert error < plain


@pytest.mark.parametrize("bits", [4, 8])
def test_a_block_of_zeros_stays_zero(bits: int) -> None:
    scheme = Scheme(bits=bits, block=32)
    assert not dequantize(quantize(np.zeros((3, 64), np.float32), scheme), scheme, 64).any()


@pytest.mark.parametrize("bits", [4, 8])
def test_values_a_block_can_hold_come_back_exactly(bits: int) -> None:
    # The extreme value on the side that has one code more, as the 4-bit range is lopsided.
    codes = np.arange(-8, 8, dtype=np.float32) if bits == 4 else np.arange(-127, 128, 17)
    weight = np.resize(codes, (2, 32)).astype(np.float32) * np.float32(0.5)
    weight[:, 0] = codes[0] * 0.5
    scheme = Scheme(bits=bits, block=32)
    np.testing.assert_allclose(dequantize(quantize(weight, scheme), scheme, 32), weight, atol=1e-6)

"""Blocks of few bits stand for nearly the weight they were made of."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="export extra is not installed")

from edgepersona_export.quantize import (
    Quantised,
    dequantise,
    quantise_int4,
    quantise_int8,
)


def _weight(n: int, k: int) -> np.ndarray:
    return np.random.default_rng(n * k).standard_normal((n, k)).astype(np.float32)


def test_int8_blocks_are_as_wide_as_divides_the_columns() -> None:
    widths = {k: quantise_int8(_weight(2, k)).block for k in (256, 576, 96, 33)}
    assert widths == {256: 128, 576: 64, 96: 32, 33: 32}


@pytest.mark.parametrize("k", [31, 33, 128, 576])
def test_int8_error_is_at_most_half_a_step(k: int) -> None:
    weight = _weight(5, k)
    matrix = quantise_int8(weight)
    step = np.repeat(matrix.scales.astype(np.float32), matrix.block, axis=1)[:, :k]
    # Float16 scales are off by 2**-11 at most, which counts 127 times at a block's largest value.
    assert (np.abs(dequantise(matrix, k) - weight) <= step * (0.5 + 127 / 2048)).all()


def _on_a_grid(n: int, k: int) -> Quantised:
    random = np.random.default_rng(n * k)
    codes = random.integers(0, 16, (n, k // 32, 32), np.uint8)
    codes[..., :2] = 0, 15  # both ends are in use
    scales = random.uniform(0.001, 0.1, (n, k // 32)).astype(np.float16)
    mins = random.uniform(-1, 0, (n, k // 32)).astype(np.float16)
    return Quantised(codes.reshape(n, k), scales, mins, bits=4, block=32)


def test_int4_finds_a_grid_that_a_weight_lies_on() -> None:
    grid = _on_a_grid(40, 96)
    weight = dequantise(grid, 96)
    np.testing.assert_array_equal(dequantise(quantise_int4(weight), 96), weight)


@pytest.mark.parametrize("k", [32, 70, 256])
def test_int4_search_beats_the_plain_range(k: int) -> None:
    weight = _weight(64, k)
    error = ((dequantise(quantise_int4(weight), k) - weight) ** 2).sum()
    blocks = np.pad(weight, ((0, 0), (0, -k % 32))).reshape(64, -1, 32)
    low, step = blocks.min(-1, keepdims=True), np.ptp(blocks, -1, keepdims=True) / 15
    plain = ((np.rint((blocks - low) / step) * step + low - blocks) ** 2).sum()
    assert error < 0.95 * plain


def test_int4_errs_less_where_columns_matter_more() -> None:
    weight, importance = _weight(64, 64), np.ones(64, np.float32)
    importance[::4] = 100
    missed = {
        name: (dequantise(matrix, 64) - weight)[:, ::4]
        for name, matrix in (
            ("even", quantise_int4(weight)),
            ("weighed", quantise_int4(weight, importance)),
        )
    }
    assert (missed["weighed"] ** 2).sum() < 0.8 * (missed["even"] ** 2).sum()


@pytest.mark.parametrize("value", [0.0, 0.5, -2.0])
def test_a_constant_block_stays_what_it_is(value: float) -> None:
    weight = np.full((3, 64), value, np.float32)
    for matrix in (quantise_int4(weight), quantise_int8(weight)):
        np.testing.assert_allclose(dequantise(matrix, 64), weight, rtol=1e-3)


def test_size_counts_what_a_product_reads() -> None:
    weight = _weight(10, 128)
    assert quantise_int4(weight).size_bytes == 10 * (64 + 4 * 4)
    assert quantise_int8(weight, block=32).size_bytes == 10 * (128 + 4 * 2)

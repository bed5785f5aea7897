"""Columns that make up for each other's rounding lose less than columns rounded alone."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="export extra is not installed")

from edgepersona_export.gptq import quantise_gptq
from edgepersona_export.quantize import Quantised, dequantise, quantise_int4


def _weight(n: int, k: int) -> np.ndarray:
    return np.random.default_rng(n * k).standard_normal((n, k)).astype(np.float32)


def _inputs(k: int, *, tokens: int = 400, seed: int = 0) -> np.ndarray:
    """Inputs whose columns go together: few causes, and little of their own."""
    random = np.random.default_rng(k)
    causes = random.standard_normal((k // 4, k))
    random = np.random.default_rng(seed)
    x = random.standard_normal((tokens, k // 4)) @ causes
    return (x + random.standard_normal((tokens, k))).astype(np.float32)


def _moments(x: np.ndarray) -> np.ndarray:
    return x.T @ x / np.float32(len(x))


def _missed(matrix: Quantised, weight: np.ndarray, x: np.ndarray) -> float:
    return float((((dequantise(matrix, weight.shape[1]) - weight) @ x.T) ** 2).sum())


@pytest.mark.parametrize("k", [32, 70, 160])
def test_outputs_err_less_on_inputs_never_seen(k: int) -> None:
    weight, unseen = _weight(48, k), _inputs(k, seed=1)
    calibrated = quantise_gptq(weight, _moments(_inputs(k)))
    assert calibrated.codes.shape == (48, -(-k // 32) * 32)
    assert _missed(calibrated, weight, unseen) < 0.7 * _missed(
        quantise_int4(weight), weight, unseen
    )


@pytest.mark.parametrize("k", [32, 70, 160])
@pytest.mark.parametrize("moment", [0.0, 1e-6, 3.0])
def test_columns_that_never_go_together_are_rounded_alone(k: int, moment: float) -> None:
    weight = _weight(48, k)
    ours = quantise_gptq(weight, np.eye(k, dtype=np.float32) * np.float32(moment))
    if k % 32 == 0:  # else a block has columns that are there to fill it
        alone = quantise_int4(weight)
        np.testing.assert_array_equal(ours.codes, alone.codes)
        np.testing.assert_array_equal(ours.scales, alone.scales)
    assert np.abs(dequantise(ours, k) - weight).max() < 0.6


def test_a_weight_that_lies_on_a_grid_stays_there() -> None:
    random = np.random.default_rng(1)
    codes = random.integers(0, 16, (40, 3, 32), np.uint8)
    codes[..., :2] = 0, 15  # both ends are in use
    scales = random.uniform(0.001, 0.1, (40, 3)).astype(np.float16)
    mins = random.uniform(-1, 0, (40, 3)).astype(np.float16)
    grid = Quantised(codes.reshape(40, 96), scales, mins, bits=4, block=32)
    weight = dequantise(grid, 96)
    ours = dequantise(quantise_gptq(weight, _moments(_inputs(96))), 96)
    np.testing.assert_allclose(ours, weight, atol=1e-4)


def test_inputs_that_no_text_reached_do_no_harm() -> None:
    weight, x = _weight(48, 96), _inputs(96)
    x[:, 20:50] = 0
    matrix = quantise_gptq(weight, _moments(x))
    assert np.abs(dequantise(matrix, 96) - weight)[:, 20:50].max() < 1
    assert _missed(matrix, weight, x) < _missed(quantise_int4(weight), weight, x)


def test_fewer_texts_than_columns_are_enough_to_go_on() -> None:
    weight, x = _weight(48, 160), _inputs(160, tokens=9)
    assert _missed(quantise_gptq(weight, _moments(x)), weight, x) < _missed(
        quantise_int4(weight), weight, x
    )

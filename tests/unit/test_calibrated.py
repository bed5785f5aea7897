"""Every family's layers, calibrated on texts, answer others more like the model they were."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="export extra is not installed")
pytest.importorskip("transformers", reason="export extra is not installed")

import torch

from edgepersona_export import decoder_torch
from edgepersona_export.calibrated import calibrate, rounded
from edgepersona_export.calibration import token_windows
from edgepersona_export.decoder_model import DecoderModel, read_model
from edgepersona_export.native_weights import choose
from edgepersona_export.quantize import Quantised, dequantise, quantise_int4
from tests import tiny_models

random = np.random.default_rng(3)
TEXTS, OTHERS = (random.integers(0, tiny_models.VOCAB, (n, 24)) for n in (40, 10))


def _model(name: str = "llama") -> DecoderModel:
    return read_model(tiny_models.make(name, initializer_range=0.05))


def _missed(model: DecoderModel, matrices: dict[str, Quantised]) -> float:
    """Return how far what the head takes is off, on texts that calibration did not see."""

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        k = x.shape[1]
        return rounded(x) @ torch.from_numpy(dequantise(matrices[name], k)).T

    texts = torch.from_numpy(OTHERS)
    exact = decoder_torch.hidden_states(model, texts, decoder_torch.plain(model))
    return float((decoder_torch.hidden_states(model, texts, linear) - exact).square().mean())


@pytest.mark.parametrize("name", tiny_models.NAMES)
def test_calibrated_layers_err_less_than_others(name: str) -> None:
    model = _model(name)
    assert _missed(model, calibrate(model, TEXTS)) < _missed(model, choose(model, "int4"))


def test_all_but_the_head_are_calibrated_in_turn() -> None:
    model, told = _model(), []
    matrices = calibrate(model, TEXTS, progress=lambda *numbers: told.append(numbers))
    assert list(matrices) == decoder_torch.names(model)[:-1]
    assert told == [(i, 12) for i in range(1, 13)]
    chosen = choose(model, "int4", calibrated=matrices)
    assert all(chosen[name] is matrix for name, matrix in matrices.items())
    assert chosen["head"].bits == 8


def test_the_same_texts_give_the_same_bytes() -> None:
    first, again = (calibrate(_model(), TEXTS) for _ in range(2))
    for name, matrix in first.items():
        np.testing.assert_array_equal(matrix.codes, again[name].codes)
        np.testing.assert_array_equal(matrix.scales, again[name].scales)
        np.testing.assert_array_equal(matrix.mins, again[name].mins)


def test_what_is_kept_is_taken_as_it_is_and_answered_for_by_what_follows() -> None:
    model, coarse = _model(), "layers.0.qkv"
    kept = {coarse: quantise_int4(np.round(decoder_torch.matrix(model, coarse), 1))}
    with_it, without = calibrate(model, TEXTS, kept=kept), calibrate(model, TEXTS)
    assert with_it[coarse] is kept[coarse]
    assert (with_it["layers.0.down"].codes != without["layers.0.down"].codes).any()
    assert _missed(model, with_it) < _missed(model, without | kept)


def _letters(text: str) -> list[int]:
    return list(text.encode())


def test_windows_are_full_and_begin_as_the_model_expects() -> None:
    plain = token_windows(_letters)
    assert plain.shape == (64, 256)
    np.testing.assert_array_equal(plain[0, :2], _letters("ok"))
    begun = token_windows(_letters, first=7, positions=100)
    assert begun.shape == (64, 100)
    assert (begun[:, 0] == 7).all()
    np.testing.assert_array_equal(begun[:, 1:].ravel()[:256], plain[0])


def test_few_tokens_make_few_windows() -> None:
    assert token_windows(lambda text: [1] * (text == "ok")).tolist() == [[1]]
    assert token_windows(lambda text: [1] * 300 * (text == "ok")).shape == (1, 256)

"""The neutral model in torch computes what the model it was read from does."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="export extra is not installed")

import torch

from edgepersona_export import decoder_torch
from edgepersona_export.decoder_model import read_model
from tests import tiny

TEXTS = torch.from_numpy(np.random.default_rng(3).integers(0, 60, (4, 33)))


def test_logits_are_those_of_the_torch_model() -> None:
    source = tiny.llama(60)
    model = read_model(source)
    linear = decoder_torch.plain(model)
    hidden = decoder_torch.hidden_states(model, TEXTS, linear)
    with torch.inference_mode():
        expected = source(TEXTS).logits
    for ours, theirs in zip(hidden, expected, strict=True):
        torch.testing.assert_close(
            decoder_torch.logits(model, ours, linear), theirs, atol=1e-4, rtol=1e-4
        )


def test_every_matrix_is_met_once_in_the_order_of_their_names() -> None:
    model = read_model(tiny.llama(60))
    plain, met = decoder_torch.plain(model), []

    def linear(name, x):
        met.append(name)
        return plain(name, x)

    hidden = decoder_torch.hidden_states(model, TEXTS, linear)
    decoder_torch.logits(model, hidden[0], linear)
    assert met == decoder_torch.names(model)

"""What export says that a token costs is what the file holds and the machine does."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="export extra is not installed")

from edgepersona.decoder import open_decoder
from edgepersona_export.cost import bytes_a_token, costs
from edgepersona_export.decoder_model import read_model
from edgepersona_export.native_weights import choose
from tests import tiny

VOCAB = 259


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_bytes_a_token_are_those_of_every_matrix(precision: str, tmp_path: Path) -> None:
    model = tiny.llama(VOCAB)
    bundle = tiny.write_bundle(tmp_path, model, precision=precision)
    expected = sum(matrix.size_bytes for matrix in choose(read_model(model), precision).values())
    assert bytes_a_token(bundle, bundle.generator.variants[0]) == expected


def test_a_graph_is_read_as_it_lies_on_disk(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="neither the cpu nor the gpu extra is installed")
    bundle = tiny.write_bundle(tmp_path, tiny.llama(VOCAB), precision="fp32")
    (variant,) = bundle.generator.variants
    assert bytes_a_token(bundle, variant) == (tmp_path / f"{variant.path}.data").stat().st_size


def test_costs_are_told_without_a_bound(tmp_path: Path) -> None:
    bundle = tiny.write_bundle(tmp_path, tiny.llama(VOCAB), precision="int8")
    decoder = open_decoder(bundle, threads=1)
    size, speed = costs(bundle, decoder.variant, decoder, [1, 2, 3], "x")
    assert (size.name, speed.name) == ("x: MB a token", "x: tokens/s here")
    assert size.passed
    assert speed.passed
    assert 0 < size.value < 1 < speed.value

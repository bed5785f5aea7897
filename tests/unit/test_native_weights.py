"""A file's own blocks are kept where they are the weight still, and only there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepersona_export.decoder_model import DecoderModel, Layer, Rope
from edgepersona_export.native_weights import choose, embedding_table, kept_int4
from edgepersona_export.quantize import Quantised, dequantise, quantise_int4, quantise_int8

HIDDEN, MLP, VOCAB = 64, 96, 10
SIZES = {"qkv": (64, 64), "output": (64, 32), "gate_up": (2 * MLP, 64), "down": (64, MLP)}


def _weight(rows: int, columns: int) -> np.ndarray:
    random = np.random.default_rng(rows * columns)
    return random.standard_normal((rows, columns)).astype(np.float32)


def _model(kinds: dict[str, Quantised]) -> DecoderModel:
    """Make a model of what such blocks stand for, which come from its file."""
    weights = {
        name: dequantise(kinds[name], size[1]) if name in kinds else _weight(*size)
        for name, size in {**SIZES, "head": (VOCAB, HIDDEN), "embeddings": (VOCAB, HIDDEN)}.items()
    }
    ones = np.ones(HIDDEN, np.float32)
    gate, up = np.split(weights["gate_up"], 2)
    layer = Layer(ones, weights["qkv"], weights["output"], ones, gate, up, weights["down"])
    rope = Rope(np.ones((4, 8), np.float32), np.zeros((4, 8), np.float32))
    return DecoderModel(
        hidden=HIDDEN, intermediate=MLP, heads=2, kv_heads=1, head_dim=16, vocab=VOCAB, positions=4,
        norm_eps=1e-5, attention_scale=0.25, ropes=(rope,), layers=(layer,), final_norm=ones,
        head=weights["head"], embeddings=weights["embeddings"],
        blocks={f"layers.0.{k}" if k in SIZES else k: v for k, v in kinds.items()},
    )  # fmt: skip


def _blocks(bits: int, *names: str) -> dict[str, Quantised]:
    sizes = {**SIZES, "head": (VOCAB, HIDDEN), "embeddings": (VOCAB, HIDDEN)}
    make = quantise_int4 if bits == 4 else lambda weight: quantise_int8(weight, block=32)
    return {name: make(_weight(*sizes[name])) for name in names}


@pytest.mark.parametrize(("precision", "bits"), [("int8", 8), ("int4", 4)])
def test_blocks_of_the_bits_that_are_asked_for_are_kept(precision: str, bits: int) -> None:
    model = _model(_blocks(bits, *SIZES))
    chosen = choose(model, precision)
    assert set(chosen) == {*model.blocks, "head"}
    for name, blocks in model.blocks.items():
        assert chosen[name] is blocks


def test_what_the_file_has_in_4_bits_needs_no_calibration() -> None:
    assert set(kept_int4(_model(_blocks(4, *SIZES, "head")))) == {f"layers.0.{k}" for k in SIZES}
    assert kept_int4(_model(_blocks(8, *SIZES))) == {}
    model = _model(_blocks(4, "qkv", "down"))
    calibrated = {name: quantise_int4(_weight(*SIZES["down"])) for name in ("qkv", "gate_up")}
    calibrated = {f"layers.0.{name}": matrix for name, matrix in calibrated.items()}
    chosen = choose(model, "int4", calibrated=calibrated)
    assert chosen["layers.0.qkv"] is model.blocks["layers.0.qkv"]
    assert chosen["layers.0.gate_up"] is calibrated["layers.0.gate_up"]


def test_the_head_keeps_8_bits_with_either_precision() -> None:
    model = _model(_blocks(8, "head"))
    for precision in ("int8", "int4"):
        assert choose(model, precision)["head"] is model.blocks["head"]
    assert choose(_model(_blocks(4, "head")), "int4")["head"].bits == 8


@pytest.mark.parametrize(("precision", "bits"), [("int8", 8), ("int4", 4)])
def test_weights_of_other_blocks_are_rounded_anew(precision: str, bits: int) -> None:
    kinds = _blocks(12 - bits, *SIZES)
    model = _model(kinds)
    for name, matrix in choose(model, precision).items():
        assert matrix.bits == (8 if name == "head" else bits)
        if name != "head":
            weight = dequantise(kinds[name.removeprefix("layers.0.")], SIZES[name[9:]][1])
            error = dequantise(matrix, weight.shape[1]) - weight
            assert np.abs(error).max() < (0.5 if bits == 4 else 0.05)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w * np.float32(2),
        lambda w: w + np.float32(1e-3) * (np.arange(w.size).reshape(w.shape) == 77),
        lambda w: w[::-1],
    ],
)
def test_blocks_that_are_not_the_weight_are_dropped(change) -> None:
    model = _model(_blocks(8, "qkv", "output", "head", "embeddings"))
    (layer,) = model.layers
    changed = replace(
        model,
        layers=(replace(layer, qkv=change(layer.qkv)),),
        head=change(model.head),
        embeddings=change(model.embeddings),
    )
    chosen = choose(changed, "int8")
    assert chosen["layers.0.output"] is model.blocks["layers.0.output"]
    found = chosen["layers.0.qkv"], chosen["head"], embedding_table(changed)
    weights = changed.layers[0].qkv, changed.head, changed.embeddings
    for matrix, weight in zip(found, weights, strict=True):
        assert not any(matrix is blocks for blocks in model.blocks.values())
        error = np.abs(dequantise(matrix, HIDDEN) - weight)
        assert (error < np.abs(weight).max() / 200).all()


def test_blocks_of_other_rows_are_dropped() -> None:
    model = _model(_blocks(8, "head"))
    longer = replace(model, head=np.concatenate([model.head, model.head]))
    assert len(choose(longer, "int8")["head"].codes) == 2 * VOCAB


def test_an_embedding_table_keeps_8_bits_in_blocks_of_32_alone() -> None:
    kept = _model(_blocks(8, "embeddings"))
    assert embedding_table(kept) is kept.blocks["embeddings"]
    for other in (quantise_int8(_weight(VOCAB, HIDDEN), block=64), *_blocks(4, "head").values()):
        model = _model({"embeddings": other})
        table = embedding_table(model)
        assert (table.bits, table.block) == (8, 32)
        assert np.abs(dequantise(table, HIDDEN) - model.embeddings).max() < 0.02


@pytest.mark.parametrize("name", ["gemma2", "gemma3_text"])
def test_a_table_that_its_family_scales_is_not_the_files(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="export extra is not installed")
    pytest.importorskip("transformers", reason="export extra is not installed")
    pytest.importorskip("gguf", reason="export extra is not installed")
    from edgepersona_export.generator import load_torch, read_generator
    from tests import tiny_gguf, tiny_models

    file = tiny_gguf.write(tmp_path / "tiny.gguf", tiny_models.make(name), matrices="Q8_0")
    model = read_generator(file, load_torch(file))
    names = [f"layers.{i}.{part}" for i in range(len(model.layers)) for part in SIZES]
    assert set(model.blocks) == {*names, "head", "embeddings"}
    chosen, table = choose(model, "int8"), embedding_table(model)
    for own in (*names, "head"):  # tied, but not scaled
        assert chosen[own] is model.blocks[own]
    assert table is not model.blocks["embeddings"]
    error = np.abs(dequantise(table, model.hidden) - model.embeddings).max()
    assert error < np.abs(model.embeddings).max() / 200

"""What export packs lies where packed_matrix.h says, place for place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgepersona.errors import ExportError
from edgepersona.nativedecoder import _weights
from edgepersona.nativeweights import Tensors
from edgepersona_export.decoder_model import DecoderModel, Layer, Rope
from edgepersona_export.native_file import pack, write_native
from edgepersona_export.quantize import Quantised, dequantise
from tests.packed import unpacked


def _quantised(rows: int, columns: int, *, bits: int, block: int) -> Quantised:
    random, blocks = np.random.default_rng(rows * columns), -(-columns // block)
    return Quantised(
        codes=random.integers(0, 1 << bits, (rows, blocks * block)).astype(np.uint8),
        scales=random.uniform(0.5, 1, (rows, blocks)).astype(np.float16),
        mins=random.normal(size=(rows, blocks)).astype(np.float16) if bits == 4 else None,
        bits=bits,
        block=block,
    )


KINDS = pytest.mark.parametrize(("bits", "block"), [(8, 32), (8, 64), (8, 128), (4, 32)])
SIZES = pytest.mark.parametrize("rows", [1, 15, 16, 17, 40])


@KINDS
@SIZES
@pytest.mark.parametrize("columns", [1, 32, 33, 130])
def test_every_code_and_scale_is_packed_into_its_place(
    rows: int, columns: int, bits: int, block: int
) -> None:
    matrix = _quantised(rows, columns, bits=bits, block=block)
    codes, scales, minima = pack(matrix)
    width, blocks = matrix.codes.shape[1], matrix.scales.shape[1]
    per_line = 32 // bits
    for row in range(rows):
        group, lane = divmod(row, 16)
        for column in range(width):
            line = group * (width // per_line) + column // per_line
            code = int(codes[(line * 16 + lane) * 4 + column % 4])
            if bits == 4:
                code = code >> 4 if column % 8 >= 4 else code & 15
            assert code == matrix.codes[row, column]
        for i in range(blocks):
            at = (group * blocks + i) * 16 + lane
            assert scales[at : at + 1].view(np.float16) == matrix.scales[row, i]
            if matrix.mins is not None:
                assert minima[at : at + 1].view(np.float16) == matrix.mins[row, i]


@KINDS
@SIZES
def test_rows_are_filled_up_with_zeros_to_sixteens(rows: int, bits: int, block: int) -> None:
    matrix = _quantised(rows, 70, bits=bits, block=block)
    codes, scales, minima = pack(matrix)
    filled, blocks = -(-rows // 16) * 16, matrix.scales.shape[1]
    assert (codes.dtype, codes.shape) == (np.uint8, (filled * blocks * block * bits // 8,))
    assert (scales.dtype, scales.shape) == (np.uint16, (filled * blocks,))
    assert (minima.dtype, minima.size) == (np.uint16, filled * blocks * (bits == 4))
    for halves in (scales, minima):
        beyond = halves.reshape(-1, blocks, 16)[-1:, :, rows % 16 or 16 :]
        assert not beyond.any()
    assert not codes.reshape(filled // 16, -1, 16, 4)[-1, :, rows % 16 or 16 :].any()


def _model(*, bias: bool, intermediate: int = 48) -> tuple[DecoderModel, dict[str, Quantised]]:
    random = np.random.default_rng(1)

    def floats(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    layer = Layer(
        attention_norm=floats(36), qkv=floats(64, 36), output=floats(36, 32), mlp_norm=floats(36),
        gate=floats(intermediate, 36), up=floats(intermediate, 36), down=floats(36, intermediate),
        qkv_bias=floats(64) if bias else None, window=3, rope=1,
    )  # fmt: skip
    ropes = (Rope(floats(8, 8), floats(8, 8)), Rope(floats(8, 3), floats(8, 3)))
    sizes = {"qkv": (64, 36), "output": (36, 32), "gate_up": (96, 36), "down": (36, 48)}
    matrices = {
        f"layers.0.{name}": _quantised(*size, bits=4 if name == "down" else 8, block=32)
        for name, size in sizes.items()
    }
    matrices["head"] = _quantised(21, 36, bits=8, block=64)
    model = DecoderModel(
        hidden=36, intermediate=intermediate, heads=2, kv_heads=1, head_dim=16, vocab=21,
        positions=8, norm_eps=1e-6, attention_scale=0.25, ropes=ropes, layers=(layer,),
        final_norm=floats(36), head=floats(21, 36), embeddings=floats(21, 36),
        activation="gelu_tanh", attention_softcap=50.0, logits_softcap=30.0,
    )  # fmt: skip
    return model, matrices


@pytest.mark.parametrize("bias", [True, False])
def test_what_is_written_is_what_the_runtime_reads(tmp_path: Path, bias: bool) -> None:
    model, matrices = _model(bias=bias)
    write_native(tmp_path / "native", model, matrices)
    index = json.loads((tmp_path / "native/model.json").read_text("utf-8"))
    found = _weights(index, Tensors(tmp_path / "native/weights.bin"))
    for name in ("hidden", "intermediate", "heads", "kv_heads", "head_dim", "vocab", "positions",
                 "norm_eps", "activation", "attention_scale", "attention_softcap",
                 "logits_softcap"):  # fmt: skip
        assert found[name] == getattr(model, name), name
    for ours, theirs in zip(found["ropes"], model.ropes, strict=True):
        np.testing.assert_array_equal(ours["cos"], theirs.cos)
        np.testing.assert_array_equal(ours["sin"], theirs.sin)
    np.testing.assert_array_equal(found["final_norm"], model.final_norm)
    (layer,) = found["layers"]
    assert (layer["window"], layer["rope"]) == (3, 1)
    np.testing.assert_array_equal(layer["mlp_norm"], model.layers[0].mlp_norm)
    assert ("qkv_bias" in layer) is bias
    assert "q_norm" not in layer
    packed = {f"layers.0.{name}": layer[name] for name in ("qkv", "output", "gate_up", "down")}
    for name, matrix in (packed | {"head": found["head"]}).items():
        weight = dequantise(matrices[name], matrix["columns"])
        np.testing.assert_allclose(unpacked(matrix), weight, rtol=1e-6, atol=1e-6)


def test_every_array_starts_at_a_cache_line(tmp_path: Path) -> None:
    write_native(tmp_path, *_model(bias=True))
    offsets = []

    def collect(value: object) -> None:
        if isinstance(value, dict):
            offsets.extend(value[k] for k in ("offset", "codes", "scales", "minima") if k in value)
        for inner in value.values() if isinstance(value, dict) else value:
            if isinstance(inner, dict | list):
                collect(inner)

    collect(json.loads((tmp_path / "model.json").read_text("utf-8")))
    assert len(offsets) == len(set(offsets)) == 4 + 3 + 1 + 5 * 2 + 1
    assert not any(offset % 64 for offset in offsets)


def test_an_mlp_of_a_width_that_the_core_does_not_take_is_refused(tmp_path: Path) -> None:
    model, matrices = _model(bias=False, intermediate=40)
    with pytest.raises(ExportError, match="an MLP of width 40 is not supported: no multiple of 16"):
        write_native(tmp_path, model, matrices)

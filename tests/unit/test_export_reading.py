"""A model read from a folder or a GGUF file is the one that was written, or is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepersona.errors import ExportError

torch = pytest.importorskip("torch", reason="export extra is not installed")
pytest.importorskip("transformers", reason="export extra is not installed")
pytest.importorskip("gguf", reason="export extra is not installed")

from edgepersona_export.decoder_model import read_model  # noqa: E402
from edgepersona_export.generator import load_torch  # noqa: E402
from tests import tiny_gguf, tiny_models  # noqa: E402

IDS = list(range(5, 60))

# What a GGUF file has no field for is as transformers takes it to be.
_GEMMA = {"query_pre_attn_scalar": 256}
GGUF: dict[str, dict[str, object]] = {
    "llama": {},
    "smollm2": {},
    "llama-3.2": {},
    "llama-linear": {},
    "mistral-nemo": {},
    "qwen2": {},
    "qwen3": {},
    "gemma2": _GEMMA,
    "gemma3_text": {
        **_GEMMA, "rope_local_base_freq": 10000.0, "layer_types": None, "num_hidden_layers": 6,
    },
    "phi3": {},
    "phi-3.5": {},
    "phi-4-mini": {},
}  # fmt: skip


def _assert_same(read, written) -> None:
    with torch.inference_mode():
        ours, theirs = (m(input_ids=torch.tensor([IDS])).logits[0] for m in (read, written))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-4)
    for rope, expected in zip(read_model(read).ropes, read_model(written).ropes, strict=True):
        np.testing.assert_allclose(rope.cos, expected.cos, atol=1e-4)


@pytest.mark.parametrize("name", GGUF)
def test_a_gguf_file_gives_back_its_model(name: str, tmp_path: Path) -> None:
    written = tiny_models.make(name, **GGUF[name])
    _assert_same(load_torch(tiny_gguf.write(tmp_path / "tiny.gguf", written)), written)


@pytest.mark.parametrize("name", ["smollm2", "gemma2", "gemma3"])
def test_a_folder_gives_back_its_model(name: str, tmp_path: Path) -> None:
    written = tiny_models.make(name)
    written.save_pretrained(tmp_path)
    _assert_same(load_torch(tmp_path), written)


def test_a_gguf_file_without_some_weights_is_refused(tmp_path: Path) -> None:
    file = tiny_gguf.write(
        tmp_path / "tiny.gguf", tiny_models.make("llama"), left_out=("blk.1.ffn_up.weight",)
    )
    with pytest.raises(ExportError, match=r"lacks 1 weights, such as .*layers\.1\.mlp\.up_proj"):
        load_torch(file)


@pytest.mark.parametrize("name", ["blk.0.ffn_gate_exps.weight", "blk.0.attn_q.bias"])
def test_a_gguf_file_with_weights_of_another_kind_is_refused(name: str, tmp_path: Path) -> None:
    file = tiny_gguf.write(
        tmp_path / "tiny.gguf", tiny_models.make("llama"), more={name: np.ones(96)}
    )
    with pytest.raises(ExportError, match=f"has weights not understood: {name}"):
        load_torch(file)


def test_a_gguf_file_with_another_rope_scaling_is_refused(tmp_path: Path) -> None:
    written = tiny_models.make("qwen2", rope_scaling={"rope_type": "yarn", "factor": 4.0})
    with pytest.raises(ExportError, match="rope scaling 'yarn'"):
        load_torch(tiny_gguf.write(tmp_path / "tiny.gguf", written))


def test_a_folder_without_some_weights_is_refused(tmp_path: Path) -> None:
    written = tiny_models.make("qwen3")
    state = written.state_dict()
    del state["model.layers.2.self_attn.k_norm.weight"]
    written.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ExportError, match=r"lacks 1 weights, such as model\.layers\.2\.self_attn"):
        load_torch(tmp_path)


def test_a_folder_with_weights_that_its_kind_has_no_place_for_is_refused(tmp_path: Path) -> None:
    written = tiny_models.make("llama")
    state = written.state_dict() | {"model.layers.0.self_attn.q_proj.bias": torch.ones(96)}
    written.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ExportError, match=r"not understood: model\.layers\.0\.self_attn\.q"):
        load_torch(tmp_path)

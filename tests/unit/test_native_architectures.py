"""Every architecture, on the native core, computes what torch computes on the same weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepersona.decoder import open_decoder
from edgepersona.nativedecoder import NativeDecoder

torch = pytest.importorskip("torch", reason="export extra is not installed")
pytest.importorskip("transformers", reason="export extra is not installed")

from edgepersona_export import generator as generators  # noqa: E402
from edgepersona_export.decoder_model import DecoderModel, Rope  # noqa: E402
from tests import tiny, tiny_models  # noqa: E402

DOC = Path(__file__).parents[2] / "docs/architectures.md"
VOCAB = 259
# Longer than the window, and than a block of the cache.
TEXT = [int(i) for i in np.random.default_rng(5).integers(4, VOCAB, 40)]


def make(name: str):
    """Make a model whose logits depend on all it has, and not on how activations are rounded.

    Weights are small, since large ones multiply every rounding; queries and keys are sharpened, so
    that positions still differ, and what hides the text in such a small model is damped.
    """
    model = tiny_models.make(name, vocab_size=VOCAB, initializer_range=0.05)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "q_proj.weight" in key or "k_proj.weight" in key:
                weight.mul_(2)
            if "qkv_proj" in key:
                weight[: len(weight) * 3 // 5].mul_(2)
            if key.endswith("bias"):
                weight.mul_(0.3)
            if "gemma3" in name and "q_norm" in key:
                weight.sub_(3)
            if name == "gemma2" and key == "model.norm.weight":
                weight.mul_(20)  # so that the cap of the logits is felt
    tiny.put_on_grid(model)
    return model


def _torch_logits(model) -> np.ndarray:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([TEXT])).logits[0].numpy()


def _decoder(folder: Path, model) -> NativeDecoder:
    decoder = open_decoder(tiny.write_bundle(folder, model, precision="int8"), threads=2)
    assert isinstance(decoder, NativeDecoder)
    return decoder


def _in_chunks(decoder: NativeDecoder, *sizes: int) -> np.ndarray:
    state, rows = decoder.start(capacity=len(TEXT)), []
    for size in sizes:
        part = TEXT[state.length : state.length + size]
        rows.append(state.extend(decoder.embed(part), wanted=size))
    return np.concatenate(rows)


@pytest.mark.parametrize("name", tiny_models.NAMES)
def test_logits_are_torchs_but_for_rounded_activations(name: str, tmp_path: Path) -> None:
    model = make(name)
    decoder = _decoder(tmp_path, model)
    ours = _in_chunks(decoder, 23, 17)
    state = decoder.start(capacity=len(TEXT))
    np.testing.assert_array_equal(np.stack([state.step(i).copy() for i in TEXT]), ours)
    least = tiny.cosines(ours, _torch_logits(model)).min()
    print(f"\n{model.config.model_type} {name}: least cosine {least:.5f}")  # for the table: -s
    assert least >= 0.999


Change = Callable[[DecoderModel], DecoderModel]


def _layers(**changed: object) -> Change:
    def change(model: DecoderModel) -> DecoderModel:
        return replace(model, layers=tuple(replace(own, **changed) for own in model.layers))

    return change


def _wider_windows(model: DecoderModel) -> DecoderModel:
    return replace(
        model,
        layers=tuple(replace(own, window=own.window and own.window + 1) for own in model.layers),
    )


def _unturned(model: DecoderModel) -> DecoderModel:
    ropes = (Rope(np.ones_like(rope.cos), np.zeros_like(rope.sin)) for rope in model.ropes)
    return replace(model, ropes=tuple(ropes))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((name, _unturned) for name in tiny_models.NAMES),
        *((n, _wider_windows) for n in ("mistral", "qwen2-window", "gemma2", "gemma3", "phi3")),
        ("qwen2", _layers(qkv_bias=None)),
        ("qwen3", _layers(q_norm=None)),
        ("qwen3", _layers(k_norm=None)),
        ("gemma2", _layers(post_attention_norm=None)),
        ("gemma2", _layers(post_mlp_norm=None)),
        ("gemma2", lambda model: replace(model, attention_softcap=0.0)),
        ("gemma2", lambda model: replace(model, logits_softcap=0.0)),
        ("gemma2", lambda model: replace(model, activation="silu")),
        ("gemma2", lambda model: replace(model, embeddings=model.embeddings / 2)),
        ("gemma3", lambda model: replace(model, attention_scale=model.head_dim**-0.5)),
        ("gemma3_text", _layers(rope=0)),
    ],
)
def test_a_model_that_lacks_a_trait_of_its_family_would_be_seen(
    name: str, change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = generators.read_generator
    monkeypatch.setattr(generators, "read_generator", lambda *where: change(read(*where)))
    model = make(name)
    ours = _in_chunks(_decoder(tmp_path, model), len(TEXT))
    assert tiny.cosines(ours, _torch_logits(model)).min() < 0.999


def test_the_documentation_says_how_near_every_family_comes() -> None:
    rows = [line.split("|") for line in DOC.read_text("utf-8").splitlines() if line[:1] == "|"]
    assert rows[0][4].strip() == "Native, cosine"
    for row in rows[2:]:
        assert re.fullmatch(r" 0\.999\d ", row[4]), row[1]

"""The exported graph computes what torch computes, however the tokens are handed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepersona.decoder import open_decoder
from edgepersona.errors import BundleError, ExportError, InputError
from edgepersona.onnxdecoder import OnnxDecoder

torch = pytest.importorskip("torch", reason="export extra is not installed")
transformers = pytest.importorskip("transformers", reason="export extra is not installed")

from tests import tiny  # noqa: E402
from tests.tiny import open_onnx  # noqa: E402

VOCAB = 259
IDS = [int(i) for i in np.random.default_rng(7).integers(3, VOCAB, 70)]


@pytest.fixture(scope="module")
def model():
    model = tiny.llama(VOCAB)
    # The table is kept in 8 bits: give torch the same one, so that only the graph is compared.
    with torch.no_grad():
        table = model.model.embed_tokens.weight
        table.copy_(torch.tensor(tiny.as_stored(table.numpy())))
    return model


@pytest.fixture(scope="module")
def decoder(model, tmp_path_factory: pytest.TempPathFactory) -> OnnxDecoder:
    return open_onnx(tiny.write_bundle(tmp_path_factory.mktemp("bundle"), model))


def _torch_logits(model, ids: list[int]) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].numpy()


def test_fp32_logits_equal_torchs_at_every_position(decoder: OnnxDecoder, model) -> None:
    ours = decoder.start(capacity=70).extend(decoder.embed(IDS), wanted=len(IDS))
    np.testing.assert_allclose(ours, _torch_logits(model, IDS), atol=1e-3)


def test_greedy_tokens_equal_torchs(decoder: OnnxDecoder, model) -> None:
    prompt, ours = IDS[:9], []
    state = decoder.start(capacity=80)
    logits = state.extend(decoder.embed(prompt))[0]
    for _ in range(64):
        ours.append(int(logits.argmax()))
        logits = state.step(ours[-1])
    theirs = model.generate(
        torch.tensor([prompt]), max_new_tokens=64, min_new_tokens=64, do_sample=False,
        eos_token_id=None, pad_token_id=0,
    )[0, 9:].tolist()  # fmt: skip
    assert ours == theirs


@pytest.mark.parametrize("cut", [1, 33, 69])
def test_prefill_in_pieces_equals_prefill_at_once(decoder: OnnxDecoder, cut: int) -> None:
    whole = decoder.start(capacity=70).extend(decoder.embed(IDS))
    state = decoder.start(capacity=70)
    state.extend(decoder.embed(IDS[:cut]))
    pieces = state.extend(decoder.embed(IDS[cut:]))
    np.testing.assert_allclose(pieces, whole, atol=1e-4)


def test_sequences_side_by_side_do_not_touch_each_other(decoder: OnnxDecoder) -> None:
    alone = decoder.start(capacity=70)
    alone.extend(decoder.embed(IDS[:20]))
    expected = alone.step(IDS[20]).copy()
    first, second = decoder.start(capacity=70), decoder.start(capacity=70)
    first.extend(decoder.embed(IDS[:20]))
    second.extend(decoder.embed(IDS[40:]))
    np.testing.assert_array_equal(first.step(IDS[20]), expected)


def test_a_full_cache_is_refused_before_anything_is_written(decoder: OnnxDecoder) -> None:
    state = decoder.start(capacity=64)
    state.extend(decoder.embed(IDS[:60]))
    with pytest.raises(InputError, match="65 tokens do not fit a cache of 64"):
        state.extend(decoder.embed(IDS[:5]))
    assert state.length == 60


@pytest.mark.parametrize(("precision", "least"), [("int8", 0.995), ("int4", 0.85)])
def test_quantised_logits_follow_torchs(tmp_path: Path, precision: str, least: float) -> None:
    # Small weights: a random model with large ones is chaotic and multiplies every rounding. Of
    # its logits only the direction tells; the likeliest token is a toss-up.
    model = tiny.llama(VOCAB, initializer_range=0.05)
    decoder = open_decoder(tiny.write_bundle(tmp_path, model, precision=precision))
    ours = decoder.start(capacity=70).extend(decoder.embed(IDS), wanted=len(IDS))
    correlation = np.corrcoef(ours.ravel(), _torch_logits(model, IDS).ravel())[0, 1]
    assert correlation >= least


def test_a_bias_of_qwen2_is_carried_over(tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = transformers.Qwen2Config(
        vocab_size=VOCAB, hidden_size=64, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        initializer_range=0.3,
    )  # fmt: skip
    model = transformers.Qwen2ForCausalLM(config).eval().float()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.q_proj.bias.normal_()
        table = model.model.embed_tokens.weight
        table.copy_(torch.tensor(tiny.as_stored(table.numpy())))
    decoder = open_onnx(tiny.write_bundle(tmp_path, model))
    ours = decoder.start(capacity=70).extend(decoder.embed(IDS), wanted=len(IDS))
    np.testing.assert_allclose(ours, _torch_logits(model, IDS), atol=1e-3)


def test_a_graph_of_garbage_is_a_bundle_error(model, tmp_path: Path) -> None:
    from edgepersona.bundle import Bundle, write_manifest

    bundle = tiny.write_bundle(tmp_path, model)
    (tmp_path / "generator/cpu-fp32/model.onnx").write_bytes(b"no graph")
    write_manifest(tmp_path, {k: bundle.manifest[k] for k in ("embedder", "generator")})
    with pytest.raises(BundleError, match=r"model\.onnx: cannot be loaded"):
        open_onnx(Bundle.open(tmp_path))


def test_an_unknown_architecture_is_named_with_those_supported(tmp_path: Path) -> None:
    from edgepersona_export.generator import load_torch

    transformers.GPT2Config(n_layer=1, n_head=1, n_embd=8).save_pretrained(tmp_path)
    with pytest.raises(ExportError, match="gpt2 models are not supported; supported: llama"):
        load_torch(tmp_path)

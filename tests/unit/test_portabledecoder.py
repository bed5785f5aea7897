"""TensorRT's engine computes what the fused graph computes, and builds nothing unasked."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgepersona import engines, portabledecoder, providers, runtime
from edgepersona.bundle import Bundle, write_manifest
from edgepersona.decoder import log_probs, open_best
from edgepersona.errors import EdgePersonaError, InputError
from edgepersona.gpu import Gpu
from edgepersona.onnxdecoder import OnnxDecoder
from edgepersona.portabledecoder import PortableDecoder, build_engines, profiles
from tests.pretend import PretendedOrt

torch = pytest.importorskip("torch", reason="export extra is not installed")
onnx = pytest.importorskip("onnx", reason="export extra is not installed")

from edgepersona_export.decoder_graph_portable import build_portable  # noqa: E402
from edgepersona_export.decoder_model import read_model  # noqa: E402
from tests import tiny  # noqa: E402

VOCAB = 259
IDS = [int(i) for i in np.random.default_rng(7).integers(3, VOCAB, 90)]
GPU = Gpu("NVIDIA Pretend 1", (8, 9), 8 << 30, 64e9, "13.0")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    """A tiny model for the CPU and for TensorRT, in float32 so that they can be compared."""
    folder = tmp_path_factory.mktemp("bundle")
    model = tiny.llama(VOCAB)
    manifest = tiny.write_bundle(folder, model).manifest
    path = "generator/tensorrt-fp16/model.onnx"
    (folder / path).parent.mkdir()
    onnx.save(build_portable(read_model(model)), folder / path)
    variant = {
        "target": "tensorrt",
        "precision": "fp16",
        "path": path,
        "engine": "onnx",
        "files": [path],
    }
    manifest["generator"]["variants"].append(variant)
    write_manifest(folder, {k: manifest[k] for k in ("embedder", "generator")})
    return Bundle.open(folder)


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """Let the runtime find a GPU with TensorRT."""
    ort = PretendedOrt(runtime.onnxruntime())
    for module in (runtime, engines):
        monkeypatch.setattr(module, "onnxruntime", lambda: ort)
    for module in (providers, engines):
        monkeypatch.setattr(module, "find_gpu", lambda: GPU)
        monkeypatch.setattr(module, "tensorrt_version", lambda: "10.9.0")
    monkeypatch.setenv("EDGEPERSONA_HOME", str(tmp_path))
    monkeypatch.delenv("EDGEPERSONA_TARGET", raising=False)
    return ort


@pytest.fixture
def variant(bundle):
    return bundle.generator.variants[1]


@pytest.fixture
def decoder(bundle, variant, gpu) -> PortableDecoder:
    build_engines(bundle, variant, log=lambda name: None)
    return PortableDecoder(bundle, variant)


@pytest.fixture(scope="module")
def expected(bundle) -> np.ndarray:
    return log_probs(OnnxDecoder(bundle, bundle.generator.variants[0]), IDS)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_its_logits_equal_the_fused_graphs(decoder, expected, one_by_one):
    ours = log_probs(decoder, IDS, one_by_one=one_by_one)
    np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_pieces_that_outgrow_an_engine_are_read_in_more(decoder, expected, monkeypatch):
    monkeypatch.setattr(decoder, "limits", portabledecoder.Limits(256, 7, 3))
    np.testing.assert_allclose(log_probs(decoder, IDS), expected, atol=1e-3)
    logits = decoder.start(capacity=90).extend(decoder.embed(IDS), wanted=1)
    assert logits[0].argmax() == expected[-1].argmax()


def test_near_the_end_of_the_context_tokens_are_read_one_by_one(decoder, expected, monkeypatch):
    monkeypatch.setattr(decoder, "limits", portabledecoder.Limits(90, 40, 40))
    np.testing.assert_allclose(log_probs(decoder, IDS), expected, atol=1e-3)


def test_no_logits_may_be_wanted(decoder, expected):
    state = decoder.start(capacity=90)
    assert state.extend(decoder.embed(IDS[:-1]), wanted=0).shape == (0, VOCAB)
    assert state.step(IDS[-1]).argmax() == expected[-1].argmax()


def test_a_sequence_goes_back_and_is_carried_over(decoder, expected):
    state = decoder.start(capacity=90)
    state.verify(IDS[:50])
    state.verify([5, 6, 7])
    state.rewind(50)
    other = decoder.start(capacity=90)
    other.load(state.save(30), 30)
    for sequence, length in ((state, 50), (other, 30)):
        logits = sequence.verify(IDS[length:])
        assert (logits.argmax(axis=-1) == expected[length:].argmax(axis=-1)).all()


def test_what_does_not_fit_is_refused_before_anything_is_written(decoder):
    state = decoder.start(capacity=5)
    with pytest.raises(InputError, match="6 tokens do not fit a cache of 5"):
        state.verify([1] * 6)
    with pytest.raises(InputError, match="no first 1"):
        state.rewind(1)
    with pytest.raises(InputError, match="do not fit this model"):
        state.load(b"1234", 1)
    assert state.length == 0


def test_engines_that_are_not_built_are_left_for_what_needs_none(bundle, gpu):
    decoder, choice = open_best(bundle)
    assert (decoder.provider, choice.variant.target) == ("CPUExecutionProvider", "cpu")
    (refusal,) = choice.refusals
    assert refusal.name == "tensorrt-fp16"
    assert "run 'edgepersona doctor --warm'" in refusal.reason


def test_engines_that_are_built_are_taken_first(bundle, decoder):
    found, choice = open_best(bundle)
    assert (found.provider, choice.refusals) == ("TensorrtExecutionProvider", ())


def test_each_engine_is_built_for_its_own_shapes(bundle, variant, gpu):
    built: list[str] = []
    build_engines(bundle, variant, log=built.append)
    assert built == ["prompt", "token"]
    prompt, token = (s.options["TensorrtExecutionProvider"] for s in gpu.sessions)
    assert prompt["trt_engine_cache_prefix"] == "prompt"
    assert prompt["trt_profile_min_shapes"].startswith("inputs_embeds:1x1x96,logits_at:1,past")
    assert "inputs_embeds:1x128x96,logits_at:64," in prompt["trt_profile_max_shapes"]
    assert prompt["trt_profile_max_shapes"].endswith("past_key_values.2.value:1x128x2x16")
    assert token["trt_profile_max_shapes"].startswith("inputs_embeds:1x1x96,logits_at:1,")
    assert token["trt_profile_max_shapes"].endswith("past_key_values.2.value:1x255x2x16")
    assert token["trt_engine_cache_path"] == prompt["trt_engine_cache_path"]


def test_no_profile_reaches_beyond_the_graphs_tables(bundle):
    for profile in profiles(bundle.generator).values():
        most = {name: shapes[2] for name, shapes in profile.items()}
        total = most["inputs_embeds"][1] + most["past_key_values.0.key"][1]
        assert total <= bundle.generator.context


def test_every_input_of_the_graph_has_its_range(bundle, variant):
    graph = onnx.load(bundle.file(variant.path)).graph
    for profile in profiles(bundle.generator).values():
        assert profile.keys() == {i.name for i in graph.input}


@pytest.mark.parametrize("part", ["gpu", "tensorrt", "onnxruntime", "graph", "profiles"])
def test_engines_are_kept_apart_by_all_they_depend_on(bundle, variant, decoder, monkeypatch, part):
    warm = portabledecoder.engines(bundle, variant)
    assert warm.is_warm()
    assert part in warm.built_for
    changes = {
        "gpu": lambda: monkeypatch.setattr(
            engines, "find_gpu", lambda: Gpu("Another", (9, 0), 1, 0, "")
        ),
        "tensorrt": lambda: monkeypatch.setattr(engines, "tensorrt_version", lambda: "10.9.1"),
        "onnxruntime": lambda: monkeypatch.setattr(PretendedOrt, "__version__", "1.99"),
        "graph": lambda: monkeypatch.setitem(
            bundle.manifest["files"], variant.path, {"sha256": "0" * 64}
        ),
        "profiles": lambda: monkeypatch.setattr(portabledecoder, "_WANTED", 5),
    }
    changes[part]()
    assert not portabledecoder.engines(bundle, variant).is_warm()


@pytest.mark.parametrize("damage", ["engine gone", "engine cut", "seal damaged", "seal foreign"])
def test_damaged_engines_are_not_taken_for_warm(bundle, variant, decoder, damage):
    cache = portabledecoder.engines(bundle, variant)
    engine, seal = next(cache.folder.glob("*.engine")), cache.folder / "engines.json"
    if damage == "engine gone":
        engine.unlink()
    elif damage == "engine cut":
        engine.write_bytes(b"an")
    else:
        seal.write_text("{" if damage == "seal damaged" else json.dumps([1]))
    with pytest.raises(EdgePersonaError, match="doctor --warm"):
        PortableDecoder(bundle, variant)


def test_a_session_in_which_tensorrt_runs_nothing_is_refused(bundle, variant, gpu, monkeypatch):
    monkeypatch.setattr(runtime.Session, "placement", lambda self: {"CUDAExecutionProvider": 9})
    with pytest.raises(EdgePersonaError, match="TensorRT took no part of generator/tensorrt"):
        build_engines(bundle, variant, log=lambda name: None)


def test_nothing_is_sealed_where_no_engine_was_written(bundle, variant, gpu, monkeypatch):
    monkeypatch.setattr(engines.EngineCache, "options", lambda self, name, profile: {})
    with pytest.raises(EdgePersonaError, match="TensorRT built no engine"):
        build_engines(bundle, variant, log=lambda name: None)

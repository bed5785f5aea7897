"""The fused graph gives the same on a GPU's memory, which is read and written in place there."""

from __future__ import annotations

import numpy as np
import pytest

from edgepersona import providers, runtime
from edgepersona.bundle import Bundle, write_manifest
from edgepersona.decoder import log_probs, open_best
from edgepersona.errors import BundleError, EdgePersonaError
from edgepersona.generator import Generator
from edgepersona.onnxdecoder import OnnxDecoder
from edgepersona.prompt import Prompt, TextSegment
from tests.pretend import PretendedOrt

torch = pytest.importorskip("torch", reason="export extra is not installed")
onnx = pytest.importorskip("onnx", reason="export extra is not installed")

from edgepersona_export.decoder_graph import build  # noqa: E402
from edgepersona_export.decoder_model import read_model  # noqa: E402
from tests import tiny  # noqa: E402

VOCAB = 259
IDS = [int(i) for i in np.random.default_rng(7).integers(3, VOCAB, 40)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    """A tiny model for the CPU in float32, and for CUDA in both kinds."""
    folder = tmp_path_factory.mktemp("bundle")
    model = tiny.llama(VOCAB, initializer_range=0.05)
    manifest = tiny.write_bundle(folder, model).manifest
    for precision, dtype in (("fp32", np.float32), ("fp16", np.float16)):
        path = f"generator/cuda-{precision}/model.onnx"
        (folder / path).parent.mkdir()
        onnx.save(build(read_model(model), dtype=dtype), folder / path)
        variant = {"target": "cuda", "precision": precision, "path": path, "engine": "onnx"}
        manifest["generator"]["variants"].append({**variant, "files": [path]})
    write_manifest(folder, {k: manifest[k] for k in ("embedder", "generator")})
    return Bundle.open(folder)


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    ort = PretendedOrt(runtime.onnxruntime())
    monkeypatch.setattr(runtime, "onnxruntime", lambda: ort)
    monkeypatch.setattr(providers, "find_gpu", lambda: None)
    monkeypatch.delenv("EDGEPERSONA_TARGET", raising=False)
    return ort


@pytest.fixture
def expected(bundle) -> np.ndarray:
    return log_probs(OnnxDecoder(bundle, bundle.generator.variants[0]), IDS)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_its_logits_equal_the_cpus(bundle, expected, one_by_one):
    decoder, choice = open_best(bundle, target="cuda-fp32")
    assert (decoder.provider, choice.refusals) == ("CUDAExecutionProvider", ())
    ours = log_probs(decoder, IDS, one_by_one=one_by_one)
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_its_caches_are_kept_in_the_graphs_kind(bundle, expected):
    decoder, _ = open_best(bundle, target="cuda-fp16")
    state = decoder.start(capacity=40)
    logits = state.verify(IDS)
    assert np.corrcoef(logits.ravel(), expected.ravel())[0, 1] > 0.999
    assert len(state.save(10)) == 10 * 3 * 2 * 2 * 16 * 2  # positions, layers, both, heads, size


def test_a_sequence_goes_back_and_is_carried_over(bundle, expected):
    decoder, _ = open_best(bundle, target="cuda-fp32")
    state = decoder.start(capacity=40)
    state.verify(IDS[:30])
    state.verify([5, 6, 7])
    state.rewind(30)
    other = decoder.start(capacity=40)
    other.load(state.save(20), 20)
    for sequence, length in ((state, 30), (other, 20)):
        logits = sequence.verify(IDS[length:])
        assert (logits.argmax(axis=-1) == expected[length:].argmax(axis=-1)).all()


def test_without_a_gpu_an_answer_comes_from_the_cpu_and_says_so(bundle, monkeypatch):
    def none():
        raise EdgePersonaError("no NVIDIA GPU: for a test")

    monkeypatch.setattr(providers, "find_gpu", none)
    stream = Generator(bundle).stream(Prompt("", (TextSegment("Hi"),)))
    for _ in stream:
        pass
    answer = stream.result
    assert answer.provider == "CPUExecutionProvider"
    assert answer.left_out == (
        "cuda-fp32: no NVIDIA GPU: for a test",
        "cuda-fp16: no NVIDIA GPU: for a test",
    )
    with pytest.raises(BundleError, match="none of the bundle's generators runs here: cuda-fp32"):
        Generator(bundle, target="cuda")

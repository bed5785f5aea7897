"""Every architecture computes what torch computes, in ONNX Runtime's operators and in standard."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from edgepersona.errors import ExportError
from edgepersona.runtime import onnxruntime

torch = pytest.importorskip("torch", reason="export extra is not installed")
transformers = pytest.importorskip("transformers", reason="export extra is not installed")

import onnx  # noqa: E402

from edgepersona_export import decoder_graph, decoder_graph_portable  # noqa: E402
from edgepersona_export.architectures import FAMILIES, check  # noqa: E402
from edgepersona_export.decoder_model import DecoderModel, Layer, read_model  # noqa: E402
from edgepersona_export.native_weights import choose  # noqa: E402
from edgepersona_export.quantize import Quantised, dequantise  # noqa: E402
from tests import tiny_models  # noqa: E402

DOC = Path(__file__).parents[2] / "docs/architectures.md"
CAPACITY = 128
TEXT = [int(i) for i in np.random.default_rng(5).integers(4, tiny_models.VOCAB, 40)]


class Fused:
    """A sequence through ONNX Runtime's operators, on caches of a fixed size."""

    build = staticmethod(decoder_graph.build)

    def __init__(self, session, model: DecoderModel, dtype: type = np.float32) -> None:
        shape = (1, model.kv_heads, CAPACITY, model.head_dim)
        self._session = session
        self._cache = [np.full(shape, np.nan, dtype) for _ in range(2 * len(model.layers))]
        self._length = 0

    def extend(self, vectors: np.ndarray, wanted: int) -> np.ndarray:
        self._length += len(vectors)
        lengths = {
            "seqlens_k": np.array([self._length - 1], np.int32),
            "total_sequence_length": np.array(self._length, np.int32),
            "logits_from": np.array([len(vectors) - wanted]),
        }
        logits, *self._cache = _run(self._session, vectors, self._cache, lengths)
        return logits[0]


class Portable:
    """A sequence through standard operators, whose caches grow."""

    build = staticmethod(decoder_graph_portable.build_portable)

    def __init__(self, session, model: DecoderModel, dtype: type = np.float32) -> None:
        shape = (1, 0, model.kv_heads, model.head_dim)
        self._session = session
        self._cache = [np.empty(shape, dtype) for _ in range(2 * len(model.layers))]

    def extend(self, vectors: np.ndarray, wanted: int) -> np.ndarray:
        at = np.arange(len(vectors) - wanted, len(vectors), dtype=np.int32)
        logits, *new = _run(self._session, vectors, self._cache, {"logits_at": at})
        grown = zip(self._cache, new, strict=True)
        self._cache = [np.concatenate(parts, axis=1) for parts in grown]
        return logits[0]


def _session(graph):
    options = onnxruntime().SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime().InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _run(session, vectors, cache, lengths) -> list[np.ndarray]:
    names = [i.name for i in session.get_inputs() if i.name.startswith("past")]
    feeds = dict(zip(names, cache, strict=True)) | lengths
    feeds["inputs_embeds"] = vectors[None]
    return session.run(None, feeds)


def _read(sequence, vectors: np.ndarray) -> np.ndarray:
    """Hand the vectors over in two pieces; return the logits after each."""
    pieces = vectors[:23], vectors[23:]
    return np.concatenate([sequence.extend(piece, len(piece)) for piece in pieces])


@pytest.fixture(scope="module", params=tiny_models.NAMES)
def torch_model(request: pytest.FixtureRequest):
    return tiny_models.make(request.param)


@pytest.fixture(scope="module")
def model(torch_model) -> DecoderModel:
    return read_model(torch_model)


@pytest.fixture(scope="module", params=[Fused, Portable])
def start(model: DecoderModel, request: pytest.FixtureRequest) -> Callable:
    """Start a sequence; the graph is built once."""
    return partial(request.param, _session(request.param.build(model)), model)


def _torch_logits(torch_model, ids: list[int]) -> np.ndarray:
    with torch.inference_mode():
        return torch_model(input_ids=torch.tensor([ids])).logits[0].numpy()


def test_logits_equal_torchs_over_a_text_longer_than_the_window(
    torch_model, model: DecoderModel, start: Callable
) -> None:
    theirs = _torch_logits(torch_model, TEXT)
    assert theirs.std() > 1, "without spread the comparison says little"
    ours = _read(start(), model.embeddings[TEXT])
    np.testing.assert_allclose(ours, theirs, atol=1e-3, rtol=0)


def test_64_greedy_tokens_equal_torchs_one_by_one(
    torch_model, model: DecoderModel, start: Callable
) -> None:
    sequence, ids = start(), TEXT[:9]
    logits = sequence.extend(model.embeddings[ids], 1)
    for _ in range(64):
        ids = [*ids, int(logits[0].argmax())]
        logits = sequence.extend(model.embeddings[ids[-1:]], 1)
    # Each is torch's choice after those before it, so all of them together are torch's.
    theirs = _torch_logits(torch_model, ids).argmax(axis=-1)
    assert ids[9:] == theirs[8:-1].tolist()
    assert len(set(ids[9:])) > 4, "a model that repeats one token says little"


# Between them they have windows, two ropes, norms on all sides, soft caps and half-rotated heads.
RICH = ["gemma2", "gemma3_text", "phi-4-mini"]


@pytest.mark.parametrize("engine", [Fused, Portable])
@pytest.mark.parametrize("name", RICH)
def test_float16_graphs_follow_float32(name: str, engine: Callable) -> None:
    model = read_model(tiny_models.make(name, initializer_range=0.05))
    vectors = model.embeddings[TEXT]
    exact = _read(engine(_session(engine.build(model)), model), vectors)
    session = _session(engine.build(model, dtype=np.float16))
    halved = _read(engine(session, model, np.float16), vectors)
    assert halved.dtype == np.float32
    assert np.corrcoef(halved.ravel(), exact.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("engine", [Fused, Portable])
def test_sums_that_outgrow_float16_are_no_harm(engine: Callable) -> None:
    torch_model = tiny_models.make("gemma2", initializer_range=0.05)
    with torch.no_grad():
        for layer in torch_model.model.layers:
            layer.post_feedforward_layernorm.weight.mul_(10_000)
    model = read_model(torch_model)
    vectors = model.embeddings[TEXT]
    exact = _read(engine(_session(engine.build(model)), model), vectors)
    session = _session(engine.build(model, dtype=np.float16))
    halved = _read(engine(session, model, np.float16), vectors)
    assert np.corrcoef(halved.ravel(), exact.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("name", RICH)
def test_quantised_graphs_follow_float32(name: str) -> None:
    model = read_model(tiny_models.make(name, initializer_range=0.05))
    vectors = model.embeddings[TEXT]
    exact = _read(Fused(_session(Fused.build(model)), model), vectors)
    rounded = Fused(_session(Fused.build(model, matrices=choose(model, "int8"))), model)
    assert np.corrcoef(_read(rounded, vectors).ravel(), exact.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_quantised_graphs_compute_what_their_codes_stand_for(precision: str) -> None:
    model = read_model(tiny_models.make("llama", intermediate_size=80))  # no multiple of a block
    matrices = choose(model, precision)
    whole = replace(
        model,
        head=dequantise(matrices["head"], model.hidden),
        layers=tuple(_dequantised(matrices, i, layer) for i, layer in enumerate(model.layers)),
    )
    vectors = model.embeddings[TEXT]
    expected = _read(Fused(_session(Fused.build(whole)), whole), vectors)
    ours = _read(Fused(_session(Fused.build(model, matrices=matrices)), model), vectors)
    np.testing.assert_allclose(ours, expected, atol=1e-3)


def _dequantised(matrices: dict[str, Quantised], i: int, layer: Layer) -> Layer:
    def whole(name: str, k: int) -> np.ndarray:
        return dequantise(matrices[f"layers.{i}.{name}"], k)

    gate, up = np.split(whole("gate_up", layer.gate.shape[1]), 2)
    qkv, output = whole("qkv", layer.qkv.shape[1]), whole("output", layer.output.shape[1])
    down = whole("down", layer.down.shape[1])
    return replace(layer, qkv=qkv, output=output, gate=gate, up=up, down=down)


def test_the_portable_graph_has_standard_operators_that_tensorrt_10_reads() -> None:
    model = read_model(tiny_models.make("gemma3_text"))
    graph = decoder_graph_portable.build_portable(model, dtype=np.float16)
    onnx.checker.check_model(graph, full_check=True)
    assert {node.domain for node in graph.graph.node} == {""}
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 20)]


def test_a_stretched_rope_ends_where_its_short_factors_do() -> None:
    assert read_model(tiny_models.make("phi-4-mini")).positions == 128


def test_room_is_kept_for_no_more_positions_than_asked_for() -> None:
    model = read_model(tiny_models.make("mistral"), positions=8)
    assert (model.positions, len(model.ropes[0].cos)) == (8, 8)
    assert [layer.window for layer in model.layers] == [0, 0, 0], "no window is ever filled"


def test_an_unknown_architecture_is_named_with_those_supported() -> None:
    config = transformers.GPT2Config(n_layer=1, n_head=1, n_embd=8)
    supported = ", ".join(FAMILIES)
    with pytest.raises(ExportError, match=f"gpt2 models are not supported; supported: {supported}"):
        check(config, "somewhere")


UNSUPPORTED: dict[str, tuple[str, dict[str, object], str]] = {
    "mixtral": ("Mixtral", {}, "mixtral models are not supported; supported: llama, mistral, "),
    "a bias in the MLP": ("Llama", {"mlp_bias": True}, "has biases in the MLP: not supported"),
    "a bias at the output": ("Qwen3", {"attention_bias": True}, "a bias at the attention's output"),
    "a rope": (
        "Qwen2",
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
        "rope scaling 'yarn' .supported: default, linear, llama3, longrope.",
    ),
    "an activation": ("Llama", {"hidden_act": "relu"}, "activation 'relu' .supported: silu."),
    "heads": ("Llama", {"head_dim": 20}, "heads of 20 .supported: multiples of 16."),
    "part of a head": (
        "Phi3",
        {"hidden_size": 96, "num_attention_heads": 3, "partial_rotary_factor": 0.75},
        "24 values of a head rotated .supported: multiples of 16.",
    ),
    "sight of what follows": (
        "Gemma3Text",
        {"use_bidirectional_attention": True},
        "attention to later tokens",
    ),
}


@pytest.mark.parametrize(("family", "options", "message"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_is_not_supported_is_said_with_what_is(family, options, message) -> None:
    with pytest.raises(ExportError, match=message):
        check(getattr(transformers, f"{family}Config")(**options), "somewhere")


def test_weights_that_a_family_does_not_know_are_refused() -> None:
    torch_model = tiny_models.make("llama")
    torch_model.model.layers[1].self_attn.sinks = torch.nn.Parameter(torch.ones(6))
    with pytest.raises(ExportError, match=r"not understood: model\.layers\.1\.self_attn\.sinks"):
        read_model(torch_model)


def test_every_supported_family_is_tried() -> None:
    tried = {tiny_models.make(name).config.model_type for name in tiny_models.NAMES}
    assert tried == set(FAMILIES)


def test_the_documentation_lists_every_supported_family() -> None:
    rows = [line.split("|") for line in DOC.read_text("utf-8").splitlines() if line[:1] == "|"]
    listed = {kind for row in rows[2:] for kind in re.findall("`([a-z0-9_]+)`", row[2])}
    assert listed == set(FAMILIES)

"""An exported embedder gives torch's vectors: nearly exactly in floats, closely in int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="export extra is not installed")
pytest.importorskip("optimum", reason="export extra is not installed")
pytest.importorskip("onnxruntime", reason="neither the cpu nor the gpu extra is installed")

from edgepersona.errors import ExportError
from edgepersona_export.calibration import TEXTS
from edgepersona_export.embedder import (
    EmbedderInfo,
    Precision,
    export_embedder,
    reference_embeddings,
)
from edgepersona_export.embedder_int8 import _round_weight
from edgepersona_export.presets import resolve
from tests.tiny_embedders import write_json, write_model

# torch, optimum and numpy warn of each other's future at import and in tracing.
pytestmark = pytest.mark.filterwarnings("default")

SAMPLES = ["a", "dogs and cats", "the quick brown fox jumps over the lazy dog", "12 3 !", "cafe"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as sentence-transformers writes it: two layers of BERT, weights of no meaning."""
    folder = tmp_path_factory.mktemp("tiny-embedder")
    write_model("bert", folder)
    write_json(folder / "modules.json", [{"path": "", "type": "x.Transformer"}])
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 48})
    return folder


def _variant(source: Path, folder: Path, files: dict[str, Any]) -> Path:
    """Link the model elsewhere and change some of its files."""
    folder.mkdir()
    for file in source.iterdir():
        if file.is_file() and file.name not in files:
            (folder / file.name).symlink_to(file)
    for name, value in files.items():
        write_json(folder / name, value)
    return folder


def _encode(out: Path, info: EmbedderInfo, texts: list[str]) -> np.ndarray:
    """Encode all texts in one padded batch, mean or first token."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    tokenizer.enable_truncation(info.max_tokens)
    tokenizer.enable_padding(pad_id=info.pad_id)
    encodings = tokenizer.encode_batch(texts)
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    assert {i.name for i in session.get_inputs()} == set(info.inputs)
    mask = np.array([e.attention_mask for e in encodings])
    ids = np.array([e.ids for e in encodings])
    [hidden] = session.run(["last_hidden_state"], {"input_ids": ids, "attention_mask": mask})
    weights = mask[..., None] if info.pooling == "mean" else np.eye(1, ids.shape[1])[..., None]
    pooled = (hidden * weights).sum(1)
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def _cosines(out: Path, info: EmbedderInfo, source: Path, texts: list[str]) -> np.ndarray:
    return (_encode(out, info, texts) * reference_embeddings(source, texts)).sum(1)


def test_fp32_gives_torch_vectors_in_a_padded_batch(source: Path, tmp_path: Path) -> None:
    info = export_embedder(source, tmp_path, precision="fp32")
    assert info == EmbedderInfo(
        ndim=64,
        max_tokens=48,
        pooling="mean",
        normalize=False,
        query_prefix="",
        document_prefix="",
        inputs=("input_ids", "attention_mask"),
        pad_id=0,
        precision="fp32",
    )
    assert _cosines(tmp_path, info, source, [*SAMPLES, *TEXTS]).min() > 0.99999


def test_int8_is_close_to_torch(source: Path, tmp_path: Path) -> None:
    info = export_embedder(source, tmp_path, precision="int8")
    assert _cosines(tmp_path, info, source, SAMPLES).min() > 0.98


def test_fp16_keeps_torch_vectors_in_half_the_size(source: Path, tmp_path: Path) -> None:
    info = export_embedder(source, tmp_path / "half", precision="fp16")
    assert _cosines(tmp_path / "half", info, source, SAMPLES).min() > 0.9999
    export_embedder(source, tmp_path / "whole", precision="fp32")
    half, whole = ((tmp_path / n / "model.onnx").stat().st_size for n in ("half", "whole"))
    assert half < 0.6 * whole


def test_int8_vector_depends_on_its_text_alone(source: Path, tmp_path: Path) -> None:
    info = export_embedder(source, tmp_path, precision="int8")
    together = _encode(tmp_path, info, SAMPLES)
    alone = np.concatenate([_encode(tmp_path, info, [text]) for text in SAMPLES])
    np.testing.assert_allclose(together, alone, atol=0.02)  # a sum's order may move one rounding


def test_export_twice_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_embedder(source, tmp_path / name, precision="int8")
    assert (tmp_path / "a/model.onnx").read_bytes() == (tmp_path / "b/model.onnx").read_bytes()


def test_export_prints_nothing(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export_embedder(source, tmp_path, precision="int8")
    reference_embeddings(source, ["a"])
    assert capfd.readouterr() == ("", "")


def test_pooling_prefixes_and_norm_come_from_the_model(source: Path, tmp_path: Path) -> None:
    folder = _variant(
        source,
        tmp_path / "m",
        {
            "modules.json": [
                {"path": "", "type": "x.Transformer"},
                {"path": "1_Pooling", "type": "x.Pooling"},
                {"path": "2_Normalize", "type": "x.Normalize"},
            ],
            "1_Pooling/config.json": {
                "pooling_mode_cls_token": True,
                "pooling_mode_mean_tokens": False,
            },
            "config_sentence_transformers.json": {"prompts": {"query": "q ", "document": "d "}},
        },
    )
    info = export_embedder(folder, tmp_path / "out", precision="fp32")
    assert (info.pooling, info.normalize) == ("cls", True)
    assert (info.query_prefix, info.document_prefix) == ("q ", "d ")
    mine = _encode(tmp_path / "out", info, ["d cats"])
    np.testing.assert_allclose(mine, reference_embeddings(folder, ["cats"]), atol=1e-5)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"config.json": {"model_type": "nomic_bert"}},
            "type 'nomic_bert' is not supported; use: bert, roberta, xlm-roberta",
        ),
        (
            {"config.json": {"model_type": "bert", "position_embedding_type": "alibi"}},
            "'alibi' positions are not supported; supported: 'absolute'",
        ),
        (
            {"config.json": {"model_type": "bert", "auto_map": {"AutoModel": "m.Model"}}},
            "program code of the model's own",
        ),
        ({"sentence_bert_config.json": {"do_lower_case": True}}, "do_lower_case is not supported"),
        (
            {
                "1_Pooling/config.json": {"pooling_mode_cls_token": True, "include_prompt": False},
                "config_sentence_transformers.json": {"prompts": {"query": "q "}},
            },
            "include_prompt is false",
        ),
        (
            {"1_Pooling/config.json": {"pooling_mode_max_tokens": True}},
            "pooling_mode_max_tokens is not supported; supported: one of mean, cls, last",
        ),
        ({"modules.json": [{"path": "2", "type": "x.Dense"}]}, "adds Dense; supported"),
    ],
)
def test_what_is_not_supported_is_named(
    source: Path, tmp_path: Path, files: dict[str, Any], message: str
) -> None:
    folder = _variant(source, tmp_path / "m", files)
    with pytest.raises(ExportError, match=message):
        export_embedder(folder, tmp_path / "out", precision="fp32")
    assert not (tmp_path / "out").exists()


def test_unknown_precision_and_missing_config_are_said(source: Path, tmp_path: Path) -> None:
    wrong: Any = "int2"
    with pytest.raises(ExportError, match="'int2' is not known for an embedder"):
        export_embedder(source, tmp_path, precision=wrong)
    with pytest.raises(ExportError, match=r"no config\.json"):
        export_embedder(tmp_path, tmp_path, precision="fp32")


@pytest.mark.parametrize("k", [7, 64])
def test_rounded_weights_cannot_saturate_16_bit_sums(k: int) -> None:
    weight = np.random.default_rng(k).standard_t(2, (k, 50)).astype(np.float32)
    ints, scale = _round_weight(weight)
    wide = np.pad(ints.astype(np.int64), ((0, k % 2), (0, 0))).reshape(-1, 2, 50) * 255
    assert np.maximum(wide, 0).sum(1).max() < 2**15
    assert np.minimum(wide, 0).sum(1).min() >= -(2**15)
    assert (np.abs(ints * scale - weight) <= scale * 0.5001).all()


@pytest.mark.parametrize(
    ("precision", "mean", "least"),
    [("fp32", 0.99999, 0.9999), ("fp16", 0.9999, 0.9999), ("int8", 0.995, 0.98)],
)
def test_minilm_agrees_with_torch(
    tmp_path: Path, precision: Precision, mean: float, least: float
) -> None:
    try:
        model = resolve().embedder
    except ExportError as error:
        pytest.skip(str(error))
    info = export_embedder(model, tmp_path, precision=precision)
    texts = ["Thanks!", "ok", "Rent is due on Friday", "x = 1", "Ich bin müde", *TEXTS]
    cosines = _cosines(tmp_path, info, model, texts)
    assert cosines.mean() > mean
    assert cosines.min() > least

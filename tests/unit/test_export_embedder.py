"""An exported embedder gives torch's vectors: nearly exactly in floats, closely in int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="export extra is not installed")
pytest.importorskip("optimum", reason="export extra is not installed")
pytest.importorskip("onnxruntime", reason="neither the cpu nor the gpu extra is installed")

from dataclasses import asdict

from edgepersona.bundle import Bundle, write_manifest
from edgepersona.embedder import Embedder
from edgepersona.errors import ExportError
from edgepersona_export.embedder import (
    EmbedderInfo,
    Precision,
    export_embedder,
    reference_embeddings,
)
from edgepersona_export.presets import resolve
from tests.tiny import GENERATOR
from tests.tiny_embedders import write_json, write_model

# torch, optimum and numpy warn of each other's future at import and in tracing.
pytestmark = pytest.mark.filterwarnings("default")

SAMPLES = ["a", "dogs and cats", "the quick brown fox jumps over the lazy dog", "12 3 !", "cafe"]
TEXTS = [
    "Thanks!",
    "Rent is due on Friday",
    "Ich bin müde",
    "昨日は友達と映画を見に行きました。",
    "def half(x):\n    return x / 2",
    "Dear Ms Okafor, your application is complete and will be decided within six weeks. " * 3,
]


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
    """Encode as the runtime does, in one call."""
    described = {**asdict(info), "path": f"embedder/{info.path}", "source": "x"}
    described["tokenizer"] = "embedder/tokenizer.json"
    write_manifest(out, {"embedder": described, "generator": GENERATOR})
    return Embedder(Bundle.open(out), threads=1).encode(texts)


def _export(source: Path, out: Path, precision: Precision) -> EmbedderInfo:
    return export_embedder(source, out / "embedder", precision=precision)


def _cosines(out: Path, info: EmbedderInfo, source: Path, texts: list[str]) -> np.ndarray:
    return (_encode(out, info, texts) * reference_embeddings(source, texts)).sum(1)


def test_fp32_gives_torch_vectors_in_a_padded_batch(source: Path, tmp_path: Path) -> None:
    info = _export(source, tmp_path, "fp32")
    assert info == EmbedderInfo(
        path="model.onnx",
        engine="onnx",
        ndim=64,
        max_tokens=48,
        pooling="mean",
        normalize=False,
        query_prefix="",
        document_prefix="",
        pad_id=0,
        precision="fp32",
    )
    assert _cosines(tmp_path, info, source, [*SAMPLES, *TEXTS]).min() > 0.99999


def test_int8_is_close_to_torch(source: Path, tmp_path: Path) -> None:
    info = _export(source, tmp_path, "int8")
    assert _cosines(tmp_path, info, source, SAMPLES).min() > 0.98


def test_fp16_keeps_torch_vectors_in_half_the_size(source: Path, tmp_path: Path) -> None:
    info = _export(source, tmp_path / "half", "fp16")
    assert _cosines(tmp_path / "half", info, source, SAMPLES).min() > 0.9999
    _export(source, tmp_path / "whole", "fp32")
    half, whole = (
        (tmp_path / name / "embedder" / "model.onnx").stat().st_size for name in ("half", "whole")
    )
    assert half < 0.6 * whole


def test_int8_vector_depends_on_its_text_alone(source: Path, tmp_path: Path) -> None:
    info = _export(source, tmp_path, "int8")
    together = _encode(tmp_path, info, SAMPLES)
    alone = np.concatenate([_encode(tmp_path, info, [text]) for text in SAMPLES])
    np.testing.assert_array_equal(together, alone)


def test_export_twice_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        _export(source, tmp_path / name, "int8")
    for file in ("model.json", "weights.bin", "embeddings.q8"):
        a, b = (tmp_path / name / "embedder" / file for name in ("a", "b"))
        assert a.read_bytes() == b.read_bytes()


def test_export_prints_nothing(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _export(source, tmp_path, "int8")
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
    info = _export(folder, tmp_path / "out", "fp32")
    assert (info.pooling, info.normalize) == ("cls", True)
    assert (info.query_prefix, info.document_prefix) == ("q ", "d ")
    mine = _encode(tmp_path / "out", info, ["cats"])
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
        _export(folder, tmp_path / "out", "fp32")
    assert not (tmp_path / "out").exists()


def test_unknown_precision_and_missing_config_are_said(source: Path, tmp_path: Path) -> None:
    wrong: Any = "int2"
    with pytest.raises(ExportError, match="'int2' is not known for an embedder"):
        _export(source, tmp_path, wrong)
    with pytest.raises(ExportError, match=r"no config\.json"):
        export_embedder(tmp_path, tmp_path, precision="fp32")


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
    info = _export(model, tmp_path, precision)
    texts = ["Thanks!", "ok", "Rent is due on Friday", "x = 1", "Ich bin müde", *TEXTS]
    cosines = _cosines(tmp_path, info, model, texts)
    assert cosines.mean() > mean
    assert cosines.min() > least

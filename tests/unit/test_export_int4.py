"""A model in full precision is calibrated on its way into int4, without data of anybody's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="export extra is not installed")
pytest.importorskip("optimum", reason="export extra is not installed")
pytest.importorskip("onnxruntime", reason="neither the cpu nor the gpu extra is installed")

from edgepersona.bundle import Bundle
from edgepersona_export import calibrated
from edgepersona_export.pipeline import ExportOptions, export_bundle
from tests import tiny
from tests.tiny_embedders import write_family

# torch, optimum and numpy warn of each other's future at import and in tracing.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family("MiniLM", tmp_path_factory.mktemp("embedder") / "MiniLM")


def _llm(folder: Path) -> Path:
    vocab = tiny.write_tokenizer(folder)
    tiny.llama(vocab, initializer_range=0.05).save_pretrained(folder)
    settings = {"chat_template": tiny.TEMPLATE, "eos_token": tiny.CONTROL[2]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def _export(embedder: Path, llm: Path, out: Path, precision: str) -> tuple[Bundle, list[str]]:
    told: list[str] = []
    options = ExportOptions(embedder, llm, out, precision=precision, embedder_precision="fp32")
    return export_bundle(options, log=told.append).bundle, told


def test_a_full_precision_source_is_calibrated_and_comes_out_the_same_twice(
    embedder: Path, tmp_path: Path
) -> None:
    llm = _llm(tmp_path / "llm")
    first, told = _export(embedder, llm, tmp_path / "a", "int4")
    assert "calibrating int4 on 16,384 tokens" in told
    assert told[told.index("calibrating int4 on 16,384 tokens") + 1 :][:-1] == [
        f"calibrated {i} of 12 matrices" for i in (2, 3, 4, 5, 6, 8, 9, 10, 11, 12)
    ]
    again, _ = _export(embedder, llm, tmp_path / "b", "int4")
    assert first.generator_hash == again.generator_hash


def test_what_needs_no_calibration_gets_none(
    embedder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrated, "calibrate", None)
    _export(embedder, _llm(tmp_path / "llm"), tmp_path / "a", "int8")

"""Every family of embedders that is said to be supported gives torch's vectors, by its files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

pytest.importorskip("torch", reason="export extra is not installed")
pytest.importorskip("optimum", reason="export extra is not installed")
pytest.importorskip("onnxruntime", reason="neither the cpu nor the gpu extra is installed")

from dataclasses import asdict

from edgepersona.bundle import Bundle, write_manifest
from edgepersona.embedder import Embedder
from edgepersona.errors import ExportError
from edgepersona_export.embedder import Precision, export_embedder, reference_embeddings
from edgepersona_export.embedder_files import ARCHITECTURES, POOLING
from edgepersona_export.verify import COSINE_BOUND
from tests.tiny import GENERATOR
from tests.tiny_embedders import FAMILIES, write_family, write_json

# torch, optimum and numpy warn of each other's future at import and in tracing.
pytestmark = pytest.mark.filterwarnings("default")

PAGE = Path(__file__).parents[2] / "docs" / "embedders.md"
TEXTS = [
    "a",
    "dogs and cats",
    "the quick brown fox jumps over the lazy dog",
    "12 3 !",
    "longer than the window " * 8,
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("families")
    return {name: write_family(name, folder / str(i)) for i, name in enumerate(FAMILIES)}


def open_exported(source: Path, folder: Path, precision: Precision) -> Embedder:
    """Export as ``precision`` and open as the runtime does."""
    info = export_embedder(source, folder / "embedder", precision=precision)
    described = {**asdict(info), "path": f"embedder/{info.path}", "source": "x"}
    described["tokenizer"] = "embedder/tokenizer.json"
    write_manifest(folder, {"embedder": described, "generator": GENERATOR})
    return Embedder(Bundle.open(folder), threads=1)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("role", ["document", "query"])
def test_fp32_is_torch(name: str, role: str, folders: dict[str, Path], tmp_path: Path) -> None:
    embedder = open_exported(folders[name], tmp_path, "fp32")
    ours, theirs = (
        embedder.encode(TEXTS, role=role),
        reference_embeddings(folders[name], TEXTS, role=role),
    )
    assert (ours * theirs).sum(axis=1).min() > 0.9999


def test_what_the_native_core_does_not_compute_is_named(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    source = tmp_path / "model"
    shutil.copytree(folders["MiniLM"], source)
    config = json.loads((source / "config.json").read_text())
    for change, message in (
        ({"hidden_act": "relu"}, "activation 'relu' is not supported in int8; supported: 'gelu'"),
        ({"num_attention_heads": 8}, "heads of 8 values are not supported in int8"),
    ):
        write_json(source / "config.json", {**config, **change})
        with pytest.raises(ExportError, match=message):
            export_embedder(source, tmp_path / "out", precision="int8")


@pytest.mark.parametrize("model_type", ARCHITECTURES)
@pytest.mark.parametrize(("precision", "least"), [("fp16", 0.9999), ("int8", 0.98)])
def test_less_precision_is_close(
    model_type: str,
    precision: Precision,
    least: float,
    folders: dict[str, Path],
    tmp_path: Path,
) -> None:
    name = next(n for n, family in FAMILIES.items() if family.model_type == model_type)
    embedder = open_exported(folders[name], tmp_path, precision)
    cosine = (embedder.encode(TEXTS) * reference_embeddings(folders[name], TEXTS)).sum(axis=1)
    assert cosine.min() > least


def test_a_text_s_vector_is_its_own_in_any_batch(folders: dict[str, Path], tmp_path: Path) -> None:
    embedder = open_exported(folders["BGE-M3"], tmp_path, "fp32")
    texts = [*TEXTS, "<pad> </s> are words of the user's own"]
    alone = np.concatenate([embedder.encode([text]) for text in texts])
    np.testing.assert_allclose(embedder.encode(texts), alone, atol=1e-5)


def _table(heading: str) -> list[list[str]]:
    text = PAGE.read_text("utf-8")
    section = text[text.index(f"## {heading}") :].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_lists_the_families_that_are_tested() -> None:
    rows = {row[0]: row[1:] for row in _table("Families")}
    assert rows.keys() == FAMILIES.keys()
    for name, (model_type, pooling, query, document, _) in rows.items():
        family = FAMILIES[name]
        assert model_type == f"`{family.model_type}`"
        assert pooling == family.pooling
        assert re.sub("^`|`$", "", query) == family.query_prefix or query == document == ""
        assert re.sub("^`|`$", "", document) == family.document_prefix
    assert {family.model_type for family in FAMILIES.values()} == set(ARCHITECTURES)


def test_the_page_lists_pooling_and_precisions() -> None:
    assert {row[0] for row in _table("Pooling")} == set(POOLING.values())
    precisions = {row[0].strip("`"): row for row in _table("Precisions")}
    assert precisions.keys() == set(get_args(Precision)) == COSINE_BOUND.keys()
    for name, row in precisions.items():
        assert row[1] == f"≥ {COSINE_BOUND[name]:g}"

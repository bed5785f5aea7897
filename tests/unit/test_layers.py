"""Imports run downward only, and the runtime never reaches for what export needs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Top to bottom. A module may import modules of its own line and of the lines below it.
LAYERS = [
    {"cli", "__main__"},
    {"evaluation"},
    {"importers"},
    {"profile", "weights"},
    {"strategies"},
    {"embedder", "generator", "index", "ngrams", "persona", "heads", "store"},
    {
        "decoder",
        "nativedecoder",
        "onnxdecoder",
        "portabledecoder",
        "nativeencoder",
        "onnxencoder",
        "drafting",
        "prefixes",
        "layout",
        "mixture",
    },
    {"linker", "weigher", "connection", "removals"},
    {
        *("fulltext", "graphtable", "headtable", "metatable", "recordtable", "tokentable"),
        *("vectortable", "newest", "database"),
    },
    {"variants", "engines", "embeddings", "nativeweights"},
    {
        *("runtime", "text", "bundle", "manifest", "sampling", "prompt"),
        *("repeats", "passcosts", "structured", "biases", "circles"),
        *("headfile", "personahead"),
    },
    {"memory", "providers", "gpu", "private"},
    {"records", "errors", "once", "_native", "_sampling"},
]
RANK = {name: rank for rank, names in enumerate(reversed(LAYERS)) for name in names}
FORBIDDEN = {"torch", "transformers", "optimum", "onnx", "gguf"}


def _modules() -> list[Path]:
    return sorted((ROOT / "edgepersona").rglob("*.py"))


def _imports(source: str) -> set[str]:
    """Return the dotted names a module imports, wherever the statement stands."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their module in full"
            assert node.module is not None
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _own(name: str) -> str | None:
    """Return the part of edgepersona that a dotted name is in."""
    parts = name.split(".")
    return parts[1] if parts[0] == "edgepersona" and len(parts) > 1 else None


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_from_its_layer_or_below(path: Path) -> None:
    part = path.relative_to(ROOT / "edgepersona").parts[0].removesuffix(".py")
    rank = RANK.get(part, len(LAYERS))  # the package's own __init__ re-exports from every layer
    imported = {own for name in _imports(path.read_text()) if (own := _own(name)) in RANK}
    upward = {own for own in imported if RANK[own] > rank}
    assert not upward


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_has_its_layer(path: Path) -> None:
    part = path.relative_to(ROOT / "edgepersona").parts[0].removesuffix(".py")
    assert part == "__init__" or part in RANK


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_runtime_never_imports_what_export_needs(path: Path) -> None:
    roots = {name.split(".")[0] for name in _imports(path.read_text())}
    assert not roots & FORBIDDEN
    if path.name != "runtime.py":
        assert "onnxruntime" not in roots


def test_the_check_sees_an_import_inside_a_function() -> None:
    source = "def f():\n    from edgepersona import profile\n    import torch.nn\n"
    assert {"edgepersona.profile", "torch.nn"} <= _imports(source)


def test_importing_edgepersona_loads_no_model_library() -> None:
    heavy = "{'torch', 'transformers', 'optimum', 'onnxruntime', 'tokenizers', 'apsw'}"
    code = f"import edgepersona, sys; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_searching_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, edgepersona.profile, edgepersona.embedder, edgepersona.generator;"
        "from edgepersona.runtime import onnxruntime; onnxruntime();"
        "assert not {'torch', 'transformers', 'optimum'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

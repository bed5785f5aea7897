"""The default embedder as ONNX in fp32: as optimum writes it, and fused as ours is."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgepersona.bundle import Bundle, write_manifest

CACHE = Path(__file__).parents[1] / "build" / "bench" / "fp32-embedder"


def source() -> Path:
    """Return the folder of the default embedder, from its installed package."""
    from edgepersona_export.presets import resolve

    return resolve("default").embedder


def make(bundle: Bundle) -> dict[str, Path]:
    """Return bundles without a generator, by the name of their graph, made at the first call."""
    graphs = {"optimum's graph": _write_as_it_comes, "the fused graph": _write_fused}
    folders = {}
    for number, (name, write) in enumerate(graphs.items()):
        folder = folders[name] = CACHE / str(number)
        if not (folder / "embedder" / "model.onnx").exists():
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "embedder").mkdir(parents=True)
            write(folder / "embedder")
        shutil.copy(bundle.file(bundle.embedder.tokenizer), folder / "embedder/tokenizer.json")
        described = {**bundle.manifest["embedder"], "precision": "fp32", "engine": "onnx"}
        described |= {"path": "embedder/model.onnx", "tokenizer": "embedder/tokenizer.json"}
        write_manifest(folder, {"embedder": described, "generator": bundle.manifest["generator"]})
    return folders


def _write_as_it_comes(folder: Path) -> None:
    from optimum.exporters.onnx import main_export

    main_export(
        str(source()), folder, task="feature-extraction", library_name="transformers",
        local_files_only=True, do_validation=False, device="cpu",
    )  # fmt: skip
    for file in folder.iterdir():
        if file.suffix != ".onnx":
            file.unlink()


def _write_fused(folder: Path) -> None:
    from edgepersona_export.embedder import export_embedder

    export_embedder(source(), folder, precision="fp32")

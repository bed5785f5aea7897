"""The default LLM in onnxruntime-genai's own form: its builder's graph, our 8-bit blocks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).parents[1] / "build" / "bench" / "genai"


def gguf() -> Path:
    """Return the default LLM's file, from its installed package."""
    from edgepersona_export.presets import resolve

    return resolve("default").llm


def build(threads: int) -> Path:
    """Return the folder of the model, made at the first call."""
    done = CACHE / "int8"
    if not (done / "complete").exists():
        shutil.rmtree(CACHE, ignore_errors=True)
        CACHE.mkdir(parents=True)
        _write_reference(CACHE / "reference")
        _run_builder(CACHE / "reference", CACHE / "fp32")
        _quantize(CACHE / "fp32", done)
        shutil.rmtree(CACHE / "reference")
        shutil.rmtree(CACHE / "fp32")
        (done / "complete").touch()
    config = json.loads((done / "genai_config.json").read_text())
    config["model"]["decoder"]["session_options"]["intra_op_num_threads"] = threads
    (done / "genai_config.json").write_text(json.dumps(config))
    return done


def _write_reference(folder: Path) -> None:
    from edgepersona_export.generator import load_torch
    from edgepersona_export.tokenizer import write_tokenizer

    load_torch(gguf()).save_pretrained(folder)
    write_tokenizer(gguf(), folder)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"})
    )


def _run_builder(source: Path, out: Path) -> None:
    subprocess.run(
        [
            sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(source),
            "-o", str(out), "-p", "fp32", "-e", "cpu", "-c", str(CACHE / "builder"),
        ],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip


def _quantize(source: Path, out: Path) -> None:
    import logging

    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logging.disable(logging.INFO)
    quantizer = MatMulNBitsQuantizer(
        onnx.load(source / "model.onnx"),
        bits=8,
        block_size=64,
        is_symmetric=True,
        accuracy_level=4,
    )
    quantizer.process()
    out.mkdir()
    quantizer.model.save_model_to_file(str(out / "model.onnx"), True)
    for file in source.glob("*.json"):
        shutil.copy(file, out)

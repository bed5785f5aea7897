"""The GPU check ends at once, in one line, where there is no GPU, and tells what went wrong."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from bench import gpu_check
from bench.gpu_check import EmbedderRow, Row
from edgepersona import gpu
from edgepersona.errors import EdgePersonaError


@pytest.fixture
def without_gpu(monkeypatch):
    def none():
        raise EdgePersonaError("no NVIDIA GPU: for a test")

    monkeypatch.setattr(gpu, "find_gpu", none)


def test_without_a_gpu_it_says_so_in_one_line_and_fails(without_gpu, capsys):
    assert gpu_check.main([]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "gpu-check: nothing was checked: no NVIDIA GPU: for a test\n"


def _variants(*names: str) -> list[SimpleNamespace]:
    parts = [name.split("-") for name in names]
    return [SimpleNamespace(target=t, precision=p) for t, p in parts]


def test_a_dry_run_checks_the_cpus_variants_alone(without_gpu, monkeypatch, tmp_path, capsys):
    variants = _variants("cuda-fp16", "cpu-int8")
    bundle = SimpleNamespace(generator=SimpleNamespace(variants=variants))
    monkeypatch.setattr(gpu_check, "OUT", tmp_path)
    monkeypatch.setattr(gpu_check, "_bundle", lambda args: bundle)
    monkeypatch.setattr(
        gpu_check, "_check", lambda b, v, *rest: Row(f"{v.target}-{v.precision}", "native")
    )
    embedder = EmbedderRow("fp16", "CPUExecutionProvider", 90.0, 0.99999, 0.9999, 8)
    monkeypatch.setattr(gpu_check, "_check_embedder", lambda *args, **options: embedder)
    assert gpu_check.main(["--dry-run"]) == 0
    assert "cuda" not in capsys.readouterr().out.replace("no NVIDIA", "")
    found = json.loads((tmp_path / "gpu-check.json").read_text())
    assert [row["variant"] for row in found["rows"]] == ["cpu-int8"]
    assert found["embedder"]["provider"] == "CPUExecutionProvider"


def test_an_embedder_that_fell_back_is_a_problem():
    row = EmbedderRow("fp16", "CPUExecutionProvider", 90.0, 0.99999, 0.9999, 8, "cuda-fp16: why")
    assert str(row).splitlines() == [
        "embedder fp16 on CPUExecutionProvider: 90 texts/s, cosine to torch 0.99999, "
        "least 0.99990, n = 8",
        "PROBLEM embedder: cuda-fp16: why",
    ]


def test_a_variant_that_does_not_run_is_a_row_with_its_reason(monkeypatch):
    def refuse(bundle, variant):
        raise EdgePersonaError("CUDAExecutionProvider did not load: libcublas.so.13")

    monkeypatch.setattr("edgepersona.decoder.open_variant", refuse)
    (variant,) = _variants("cuda-fp16")
    row = gpu_check._check(None, variant, 1e12, SimpleNamespace())
    assert row.problem == "CUDAExecutionProvider did not load: libcublas.so.13"
    printed = gpu_check.table([row], "a machine")
    assert "cuda-fp16       does not run" in printed
    assert "PROBLEM cuda-fp16: CUDAExecutionProvider did not load" in printed


def test_the_table_shows_speed_beside_quality():
    row = Row(
        "cuda-fp16", "CUDAExecutionProvider", {"CUDAExecutionProvider": 300}, 2.0, 0.004, 9000.0,
        512.0, 500.0, 520.0, 10**8, 0.42, 0.9876, 1.0012, 100,
    )  # fmt: skip
    lines = gpu_check.table([row], "a machine").splitlines()
    assert lines[2].split() == [
        "cuda-fp16", "CUDAExecutionProvider", "2.0s", "4.0ms", "9000", "512.0", "500", "to", "520",
        "42%", "0.9876", "1.0012",
    ]  # fmt: skip
    assert lines[3] == "  cuda-fp16: 300 nodes on CUDAExecutionProvider"

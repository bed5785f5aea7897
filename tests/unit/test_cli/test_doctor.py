from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

import edgepersona.decoder
from edgepersona import portabledecoder
from edgepersona.bundle import write_manifest
from edgepersona.errors import EdgePersonaError
from edgepersona.store import Store
from tests.standins import EMBEDDER_HASH, NDIM
from tests.tiny import EMBEDDER, GENERATOR
from tests.tiny_persona import add_head, add_random_head, digest, files, hashes, make


@pytest.fixture
def bundle(home):
    """A bundle in form only: its models are no models."""
    for name in (
        "embedder/model.onnx",
        "generator/cpu-int8/model.onnx",
        "generator/embeddings.q8",
    ):
        (home / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "bundle" / name).write_bytes(b"no model")
    variant = {"target": "cpu", "precision": "int8", "path": "generator/cpu-int8/model.onnx"}
    variant["engine"] = "onnx"
    manifest = {
        "embedder": {**EMBEDDER, "tokenizer": "embedder/model.onnx"},
        "generator": {**GENERATOR, "variants": [{**variant, "files": []}]},
        "verification": [{"name": "cosine", "passed": True}],
    }
    write_manifest(home / "bundle", manifest)
    return home / "bundle"


def test_doctor_with_nothing_there_says_what_to_do(run):
    ended = run("doctor", "--json")
    assert ended.status == 1
    assert "run 'edgepersona export --out" in ended.json["problems"][0]
    assert "there is no profile here" in ended.json["problems"][1]
    assert ended.json["versions"]["numpy"]
    assert ended.json["native"]["simd"] in ended.json["native"]["compiled"]
    text = run("doctor")
    assert text.status == 1
    assert text.out.count("problem: ") == 2


def test_doctor_finds_every_damaged_file(run, bundle):
    for name in ("embedder/model.onnx", "generator/embeddings.q8"):
        (bundle / name).write_bytes(b"no m0del")
    found = run("doctor", "--json").json
    assert found["bundle"]["files_damaged"] == 2
    damaged = [line for line in found["problems"] if "is damaged" in line]
    assert len(damaged) == 2
    assert "plan" not in found


def test_doctor_reports_a_bundle_that_was_edited(run, bundle):
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["embedder"]["ndim"] = 7
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    assert any("changed after export" in p for p in run("doctor", "--json").json["problems"])


def test_doctor_says_which_persona_head_there_is(run, bundle):
    assert run("doctor", "--json").json["bundle"]["persona_head"] == {}
    assert "  persona_head: none\n" in run("doctor").out
    add_random_head(bundle)
    head = run("doctor", "--json").json["bundle"]["persona_head"]
    assert (head["tasks"], head["credits"]) == (["title", "rating"], ["nobody"])
    assert f"persona_head: hash {head['hash']}, tasks title, rating" in run("doctor").out


def test_doctor_reports_a_head_of_other_models(run, bundle):
    index, data = files(*make(), {**hashes(), "llm": digest("another")})
    add_head(bundle, index, data)
    found = run("doctor", "--json").json
    assert found["bundle"]["persona_head"] == {}
    assert any("was trained for another llm" in problem for problem in found["problems"])


def test_doctor_checks_the_profile_against_the_bundle(run, bundle, home):
    (home / "profiles").mkdir()
    Store.open(home / "profiles" / "default.db", embedder_hash=EMBEDDER_HASH, ndim=NDIM).close()
    found = run("doctor", "--json").json
    assert found["profile"]["integrity"] == "ok"
    assert any("made with embedder 5f5f5f" in problem for problem in found["problems"])


def test_doctor_reports_models_that_do_not_load(run, bundle):
    found = run("doctor", "--json").json
    assert any("is no tokenizer" in problem for problem in found["problems"])
    assert any("model.onnx: cannot be loaded" in problem for problem in found["problems"])
    assert found["plan"].keys() == {"threads"}


def test_doctor_says_of_every_variant_whether_it_runs_here(run, bundle, monkeypatch):
    manifest = json.loads((bundle / "bundle.json").read_text())
    (cpu,) = manifest["generator"]["variants"]
    variants = [cpu, {**cpu, "precision": "fp32"}, {**cpu, "target": "cuda", "precision": "fp16"}]
    parts = {"embedder": EMBEDDER, "generator": {**GENERATOR, "variants": variants}}
    write_manifest(bundle, parts)

    def load(bundle, variant):
        if variant.target == "cuda":
            raise EdgePersonaError("no NVIDIA GPU")
        return SimpleNamespace(provider="CPUExecutionProvider")

    monkeypatch.setattr(edgepersona.decoder, "open_variant", load)
    found = run("doctor", "--json").json
    assert found["plan"]["generator"] == {
        "model": "none",
        "target": "cpu",
        "precision": "int8",
        "provider": "CPUExecutionProvider",
        "variants": {
            "cuda-fp16": "does not run here: no NVIDIA GPU",
            "cpu-int8": "runs on CPUExecutionProvider",
            "cpu-fp32": "runs on CPUExecutionProvider",
        },
    }
    assert not any("GPU" in problem for problem in found["problems"])


def _with_tensorrt(bundle):
    manifest = json.loads((bundle / "bundle.json").read_text())
    (cpu,) = manifest["generator"]["variants"]
    variants = [cpu, {**cpu, "target": "tensorrt", "precision": "fp16"}]
    write_manifest(bundle, {"embedder": EMBEDDER, "generator": {**GENERATOR, "variants": variants}})


def test_warming_builds_what_is_not_built_yet_and_says_so(run, bundle, monkeypatch):
    _with_tensorrt(bundle)
    built = []

    def build(bundle, variant, *, log):
        log("prompt")
        built.append(variant.target)

    cache = SimpleNamespace(is_warm=lambda: bool(built))
    monkeypatch.setattr(portabledecoder, "engines", lambda bundle, variant: cache)
    monkeypatch.setattr(portabledecoder, "build_engines", build)
    err = run("doctor", "--json", "--warm").err
    assert err == "tensorrt-fp16: building the prompt engine\ntensorrt-fp16: built in 0 s\n"
    assert run("doctor", "--json", "--warm").err == "tensorrt-fp16: the engines are built\n"
    assert built == ["tensorrt"]


def test_what_cannot_be_warmed_is_a_problem(run, bundle, monkeypatch):
    assert any("nothing to warm" in p for p in run("doctor", "--json", "--warm").json["problems"])
    _with_tensorrt(bundle)

    def none(bundle, variant):
        raise EdgePersonaError("no NVIDIA GPU")

    monkeypatch.setattr(portabledecoder, "engines", none)
    assert "tensorrt-fp16: no NVIDIA GPU" in run("doctor", "--json", "--warm").json["problems"]


@pytest.mark.parametrize(
    ("loaded_early", "telemetry"), [(False, "off"), (True, "not known to be off")]
)
def test_doctor_calls_telemetry_off_only_where_the_runtime_loaded_it(
    tmp_path, loaded_early, telemetry
):
    (tmp_path / "onnxruntime.py").write_text("get_available_providers = lambda: []")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r});"
        + "import onnxruntime;" * loaded_early
        + "from edgepersona.cli.doctor import _onnxruntime;"
        "print(_onnxruntime()['telemetry'], end='')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == telemetry

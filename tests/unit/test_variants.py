"""The fastest variant that loads is taken, and what was passed over is told with its reason."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edgepersona.errors import BundleError, EdgePersonaError
from edgepersona.variants import Choice, Refusal, candidates, first_that_loads, variant_name


def _variant(name: str) -> SimpleNamespace:
    target, precision = name.split("-")
    return SimpleNamespace(target=target, precision=precision)


def _bundle(*names: str) -> SimpleNamespace:
    generator = SimpleNamespace(variants=tuple(map(_variant, names)))
    return SimpleNamespace(path="b", generator=generator)


def _names(variants) -> list[str]:
    return [variant_name(v) for v in variants]


@pytest.fixture(autouse=True)
def _no_wish(monkeypatch):
    monkeypatch.delenv("EDGEPERSONA_TARGET", raising=False)


def _load(*broken: str):
    def load(variant):
        name = variant_name(variant)
        if name in broken:
            raise EdgePersonaError(f"{name} is\nbroken")
        return SimpleNamespace(provider=f"P {name}")

    return load


def test_tensorrt_comes_before_cuda_and_cuda_before_the_cpu():
    bundle = _bundle("cpu-int8", "cuda-fp16", "tensorrt-fp16")
    assert _names(candidates(bundle)) == ["tensorrt-fp16", "cuda-fp16", "cpu-int8"]


def test_of_one_target_the_first_exported_comes_first():
    bundle = _bundle("cpu-int4", "cpu-fp32", "cuda-int4", "cuda-fp16")
    assert _names(candidates(bundle)) == ["cuda-int4", "cuda-fp16", "cpu-int4", "cpu-fp32"]


@pytest.mark.parametrize(
    ("wish", "left"), [("cuda", ["cuda-fp16", "cuda-int4"]), ("cuda-int4", ["cuda-int4"])]
)
def test_a_target_or_a_name_leaves_only_its_variants(wish, left, monkeypatch):
    bundle = _bundle("cpu-int8", "cuda-fp16", "cuda-int4")
    assert _names(candidates(bundle, wish)) == left
    monkeypatch.setenv("EDGEPERSONA_TARGET", wish)
    assert _names(candidates(bundle)) == left


def test_what_a_caller_asks_for_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("EDGEPERSONA_TARGET", "cuda")
    assert _names(candidates(_bundle("cpu-int8", "cuda-fp16"), "cpu")) == ["cpu-int8"]


def test_a_wish_that_the_bundle_cannot_fulfil_names_what_there_is():
    with pytest.raises(BundleError, match=r"no generator for 'cuda' \(found: cpu-int8, cpu-fp32\)"):
        candidates(_bundle("cpu-int8", "cpu-fp32"), "cuda")
    with pytest.raises(BundleError, match=r"no generator \(found: none\)"):
        candidates(_bundle())


def test_the_first_that_loads_is_taken_with_the_reasons_of_those_before_it():
    variants = candidates(_bundle("cpu-int8", "cuda-fp16", "tensorrt-fp16"))
    loaded, choice = first_that_loads(variants, _load("tensorrt-fp16", "cuda-fp16"))
    assert loaded.provider == choice.provider == "P cpu-int8"
    assert choice.refusals == (
        Refusal("tensorrt-fp16", "tensorrt-fp16 is broken"),
        Refusal("cuda-fp16", "cuda-fp16 is broken"),
    )


def test_where_none_loads_every_reason_is_given():
    variants = candidates(_bundle("cpu-int8", "cuda-fp16"))
    with pytest.raises(BundleError, match=r"cuda-fp16: cuda-fp16 is broken; cpu-int8: .* broken"):
        first_that_loads(variants, _load("cuda-fp16", "cpu-int8"))


def test_the_error_of_the_only_variant_comes_through_as_it_is():
    with pytest.raises(EdgePersonaError, match=r"^cpu-int8 is\nbroken$"):
        first_that_loads([_variant("cpu-int8")], _load("cpu-int8"))


def test_a_choice_says_in_one_line_what_runs_and_what_does_not():
    refusal = Refusal("cuda-fp16", "no NVIDIA GPU")
    assert str(Choice(_variant("cpu-int8"), "native avx2", (refusal,))) == (
        "runs cpu-int8 on native avx2; left out: cuda-fp16: no NVIDIA GPU"
    )

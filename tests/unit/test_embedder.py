"""The embedder runs on a GPU only in the precision that is made for one, and says where it runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgepersona import embedder, onnxencoder
from edgepersona.embedder import Embedder
from edgepersona.errors import BundleError, EdgePersonaError
from edgepersona.manifest import EmbedderSpec
from tests.tiny import EMBEDDER


class Bundle:
    """A bundle of one embedder, whose files are names."""

    embedder_hash = "5f"
    path = "bundle"

    def __init__(self, precision: str) -> None:
        self.embedder = replace(EmbedderSpec(**EMBEDDER), precision=precision)

    def file(self, name: str) -> str:
        return name


class Session:
    """Loads on the targets that ``targets`` names; gives ones."""

    targets = ("cpu", "cuda")

    def __init__(self, model, *, target="cpu", threads=None, rest=False) -> None:
        if target not in self.targets:
            raise EdgePersonaError("no NVIDIA GPU")
        self.device, self.provider, self.inputs = target, f"the provider of {target}", ()
        self.widths: list[tuple[int, ...]] = []

    def run(self, feeds):
        self.widths.append(feeds["input_ids"].shape)
        return [np.ones((*feeds["input_ids"].shape, 32), np.float32)]


class Tokenizer:
    def __init__(self, file) -> None: ...

    def encode_batch(self, texts, *, max_tokens):
        return [[1] * len(text) for text in texts]


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch):
    monkeypatch.setattr(onnxencoder, "Session", Session)
    monkeypatch.setattr(embedder, "Tokenizer", Tokenizer)
    monkeypatch.delenv("EDGEPERSONA_TARGET", raising=False)


@pytest.mark.parametrize(
    ("precision", "target", "device"),
    [
        ("fp16", None, "cuda"),
        ("fp16", "tensorrt-fp16", "cuda"),
        ("fp16", "cpu", "cpu"),
        ("fp16", "cpu-int8", "cpu"),
        ("fp32", "cuda", "cpu"),
        ("int8", None, "cpu"),
    ],
)
def test_only_fp16_runs_on_a_gpu_unless_the_cpu_is_asked_for(precision, target, device):
    made = Embedder(Bundle(precision), target=target)
    assert (made.provider, made.left_out) == (f"the provider of {device}", "")


def test_the_environment_speaks_where_no_caller_does(monkeypatch):
    monkeypatch.setenv("EDGEPERSONA_TARGET", "cpu")
    assert Embedder(Bundle("fp16")).provider == "the provider of cpu"


def test_falling_back_to_the_cpu_is_told_with_its_reason(monkeypatch):
    monkeypatch.setattr(Session, "targets", ("cpu",))
    made = Embedder(Bundle("fp16"))
    assert made.provider == "the provider of cpu"
    assert made.left_out == "cuda-fp16: no NVIDIA GPU"


@pytest.mark.parametrize(("precision", "runs"), [("fp32", 5), ("fp16", 1)])
def test_a_gpu_is_given_more_at_once(precision, runs):
    made = Embedder(Bundle(precision))
    vectors = made.encode(["x" * 128] * 20)
    assert vectors.shape == (20, 32)
    assert len(made._engine._session.widths) == runs


def test_an_engine_that_this_version_lacks_is_refused():
    bundle = Bundle("int8")
    bundle.embedder = replace(bundle.embedder, engine="abacus")
    with pytest.raises(BundleError, match="made for the engine 'abacus'"):
        Embedder(bundle)

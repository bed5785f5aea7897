"""A bundle's JSON, damaged: taken as it was meant, or refused in one line."""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepersona.bundle import FORMAT, MANIFEST, Bundle
from edgepersona.errors import BundleError
from edgepersona.manifest import Variant
from edgepersona.nativedecoder import NativeDecoder
from edgepersona.nativeencoder import NativeEncoder
from tests import packed_encoder
from tests.packed import LayerShape, Shape, described, weights
from tests.tiny import EMBEDDER, GENERATOR

WEIRD = st.sampled_from(
    [
        *(None, True, -1, 0, 2**31, 2**63, 10**40, 0.5, 1e300, float("nan"), float("inf")),
        *("", "..", "/", "a/../../b", "\0", "\n", "\ud800", "x" * 300, [], {}, [[]]),
    ]
)
ANYTHING = WEIRD | st.recursive(
    WEIRD | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn, whole: Any) -> Any:
    """Replace, drop or add a few values anywhere in ``whole``."""
    holder = {"": copy.deepcopy(whole)}
    for _ in range(draw(st.integers(0, 3))):
        at: Any = holder
        key: Any = ""
        while isinstance(at[key], dict | list) and at[key] and draw(st.integers(0, 3)):
            at = at[key]
            key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        how = draw(st.sampled_from(["replace", "replace", "drop", "name"]))
        if how == "replace" or at is holder:
            at[key] = copy.deepcopy(draw(ANYTHING))  # may be damaged in turn
        elif how == "drop" or isinstance(at, list):
            del at[key]
        else:
            at[draw(st.text(max_size=5) | WEIRD.filter(lambda v: isinstance(v, str)))] = at[key]
    return holder[""]


@st.composite
def bytes_of(draw: st.DrawFn, document: st.SearchStrategy[Any]) -> bytes:
    content = bytearray(json.dumps(draw(document)).encode())
    for place, byte in draw(st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=2)):
        if content:
            content[place % len(content)] = byte
    return bytes(content)


def one_line(error: BundleError) -> None:
    message = str(error)
    assert message
    assert "\n" not in message
    message.encode()  # can be printed


FILES = {"embedder/model.onnx": b"graph", "generator/embeddings.q8": b"\0" * 8}
MANIFEST_WHOLE = {
    "format": FORMAT,
    "embedder": EMBEDDER,
    "generator": GENERATOR,
    "files": {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        for name, content in FILES.items()
    },
}


def signed(manifest: Any) -> Any:
    """Give a manifest the hash of itself, as whoever made it on purpose would."""
    if not isinstance(manifest, dict):
        return manifest
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()
    return {**manifest, "sha256": digest}


@given(bytes_of(damaged(MANIFEST_WHOLE).map(signed)))
def test_any_manifest_opens_or_is_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        for name, data in FILES.items():
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_bytes(data)
        (path / MANIFEST).write_bytes(content)
        try:
            bundle = Bundle.open(path)
            bundle.verify()
        except BundleError as error:
            one_line(error)
        else:
            assert set(bundle.manifest["files"]) <= FILES.keys()


_LAYER = LayerShape(bias=True, head_norms=True, branch_norms=True, window=3)
SHAPE = Shape(vocab=5, positions=8, ropes=(16, 8), layers=(_LAYER,))
MODEL, WEIGHTS = described(weights(np.random.default_rng(1), SHAPE))


def open_model(content: bytes) -> NativeDecoder:
    """Open a bundle of such a model.json, whose manifest and weights are as they should be."""
    variant = Variant("cpu", "int8", "cpu-int8/model.json", "native", ())
    spec = SimpleNamespace(
        layers=1, hidden=36, vocab=5, context=8, kv_heads=2, head_dim=16, embeddings="embeddings.q8"
    )
    files = {
        "cpu-int8/model.json": content,
        "cpu-int8/weights.bin": WEIGHTS,
        "embeddings.q8": bytes(5 * (64 + 4)),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "cpu-int8").mkdir()
        for name, data in files.items():
            (path / name).write_bytes(data)
        bundle: Any = SimpleNamespace(path=path, generator=spec, file=lambda name: path / name)
        return NativeDecoder(bundle, variant, threads=1)


def test_the_whole_model_opens() -> None:
    logits = open_model(json.dumps(MODEL).encode()).start(capacity=8).verify([1, 2, 3])
    assert logits.shape == (3, 5)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "3", "null", "{}", "[" * 100_000, "\0"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match=r"model\.json: does not describe weights\.bin: ") as e:
        open_model(text.encode())
    one_line(e.value)


@given(bytes_of(damaged(MODEL)))
def test_any_model_opens_or_is_refused(content: bytes) -> None:
    try:
        decoder = open_model(content)
    except BundleError as error:
        one_line(error)
    else:
        assert decoder.start(capacity=8).verify([1, 2, 3]).shape == (3, 5)


ENCODER, ENCODER_WEIGHTS = described(packed_encoder.whole(np.random.default_rng(2)))


def open_encoder(content: bytes) -> NativeEncoder:
    """Open an embedder of such a model.json, whose manifest and weights are as they should be."""
    words = packed_encoder.VOCAB * packed_encoder.HIDDEN
    files = {
        "model.json": content,
        "weights.bin": ENCODER_WEIGHTS,
        "embeddings.q8": bytes(words + words // 16),
    }
    spec = SimpleNamespace(
        path="embedder/model.json",
        pooling="mean",
        ndim=packed_encoder.HIDDEN,
        max_tokens=packed_encoder.POSITIONS,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        for name, data in files.items():
            (path / name).write_bytes(data)
        bundle: Any = SimpleNamespace(embedder=spec, file=lambda name: path / Path(name).name)
        return NativeEncoder(bundle, threads=1)


@given(bytes_of(damaged(ENCODER)))
def test_any_encoder_opens_or_is_refused(content: bytes) -> None:
    try:
        encoder = open_encoder(content)
    except BundleError as error:
        one_line(error)
    else:
        assert encoder.encode([[1, 2, 3], [4]]).shape == (2, packed_encoder.HIDDEN)

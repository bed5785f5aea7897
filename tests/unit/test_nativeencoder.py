"""The native encoder is its formula on the same weights; what does not fit a bundle is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepersona._native import Encoder
from edgepersona.errors import BundleError, InputError
from edgepersona.nativeencoder import NativeEncoder
from tests import packed_encoder as packed
from tests.packed import described

MODEL = packed.whole(np.random.default_rng(3))
INDEX, WEIGHTS = described(MODEL)
IDS = [[1, 2, 3], [4], [5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8], [8, 8]]


def open_encoder(
    folder: Path, index: Any = INDEX, *, pooling: str = "mean", **spec: object
) -> NativeEncoder:
    """Open a bundle of such a model.json; codes of words are all alike, their scales are one."""
    words = np.arange(packed.VOCAB * packed.HIDDEN, dtype=np.int8)
    scales = np.full(packed.VOCAB * packed.HIDDEN // 32, 2**-7, "<f2")
    files = {
        "embedder/model.json": index if isinstance(index, bytes) else json.dumps(index).encode(),
        "embedder/weights.bin": WEIGHTS,
        "embedder/embeddings.q8": words.tobytes() + scales.tobytes(),
    }
    (folder / "embedder").mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    known = {"ndim": packed.HIDDEN, "max_tokens": packed.POSITIONS, **spec}
    known |= {"path": "embedder/model.json", "pooling": pooling}
    bundle: Any = SimpleNamespace(
        embedder=SimpleNamespace(**known), file=lambda name: folder / name
    )
    return NativeEncoder(bundle, threads=2)


def by_formula(ids: list[int]) -> np.ndarray:
    words = np.arange(packed.VOCAB * packed.HIDDEN, dtype=np.int8) / 2**7
    states = words.reshape(packed.VOCAB, -1)[ids] + MODEL["positions"][: len(ids)]
    return packed.by_formula(MODEL, states)


@pytest.mark.parametrize(
    ("pooling", "pool"),
    [("mean", lambda x: x.mean(0)), ("cls", lambda x: x[0]), ("last", lambda x: x[-1])],
)
def test_a_vector_is_the_formula_s_but_for_rounding(
    tmp_path: Path, pooling: str, pool: Callable[[np.ndarray], np.ndarray]
) -> None:
    found = open_encoder(tmp_path, pooling=pooling).encode(IDS)
    expected = np.stack([pool(by_formula(ids)) for ids in IDS])
    assert found.dtype == np.float32
    lengths = np.linalg.norm(found, axis=1), np.linalg.norm(expected, axis=1)
    cosine = (found * expected).sum(axis=1) / (lengths[0] * lengths[1])
    assert cosine.min() > 0.999
    np.testing.assert_allclose(lengths[0], lengths[1], rtol=0.05)


def test_a_vector_is_its_text_s_alone(tmp_path: Path) -> None:
    encoder = open_encoder(tmp_path)
    together = encoder.encode(IDS)
    np.testing.assert_array_equal(together, np.concatenate([encoder.encode([i]) for i in IDS]))
    np.testing.assert_array_equal(together[::-1], encoder.encode(IDS[::-1]))


@pytest.mark.parametrize("spec", [{"ndim": 16}, {"max_tokens": 13}, {"max_tokens": 11}])
def test_sizes_that_are_not_the_manifest_s_are_refused(tmp_path: Path, spec: Any) -> None:
    with pytest.raises(BundleError, match="are not the manifest's ndim and max_tokens"):
        open_encoder(tmp_path, **spec)


@pytest.mark.parametrize("key", [*INDEX, "layers.qkv", "layers.mlp_norm_bias"])
def test_a_missing_part_is_named(tmp_path: Path, key: str) -> None:
    index = json.loads(json.dumps(INDEX))
    head, _, inner = key.partition(".")
    del (index[head][1] if inner else index)[inner or head]
    with pytest.raises(BundleError, match=f"lacks '{inner or head}'"):
        open_encoder(tmp_path, index)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"[" * 100_000])
def test_an_index_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BundleError, match=r"model\.json: does not describe weights\.bin"):
        open_encoder(tmp_path, content)


def test_words_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="has not the size of a table of 10 by 32"):
        open_encoder(tmp_path, {**INDEX, "vocab": 10})


@pytest.mark.parametrize(
    ("states", "lengths"),
    [
        (np.zeros((3, packed.HIDDEN), np.float32), np.array([2])),
        (np.zeros((3, packed.HIDDEN), np.float32), np.array([2, 2])),
        (np.zeros((3, packed.HIDDEN), np.float32), np.array([3, 0])),
        (np.zeros((3, packed.HIDDEN), np.float32), np.array([4, -1])),
        (np.zeros((3, packed.HIDDEN), np.float32), np.array([3], np.int32)),
        (np.zeros((3, packed.HIDDEN + 1), np.float32), np.array([3])),
        (np.zeros((3, packed.HIDDEN), np.float64), np.array([3])),
        (np.zeros((6, packed.HIDDEN), np.float32)[::2], np.array([3])),
        (np.broadcast_to(np.float32(0), (3, packed.HIDDEN)), np.array([3])),
    ],
)
def test_the_core_takes_no_texts_that_are_not_its_states(states: Any, lengths: Any) -> None:
    core = Encoder(packed.weights(np.random.default_rng(1)), threads=1)
    with pytest.raises(InputError):
        core.encode(states, lengths)

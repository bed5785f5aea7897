"""The native index against a dict and NumPy, with every instruction set this processor has."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from edgepersona._native import VectorIndex, build_info
from edgepersona.errors import InputError

NDIMS = (1, 3, 7, 8, 15, 16, 17, 33, 384)
BLOCK = 256  # rows in a block at 384 dimensions, and rows scored at a time

HALF = 2.0**-11  # relative error of a half, rounded


def vectors_of(count: int, ndim: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((count, ndim))
    norms = np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return (values / norms).astype(np.float32)


def scores_of(query: np.ndarray, rows: dict[int, np.ndarray]) -> dict[int, float]:
    wide = query.astype(np.float64)
    return {i: float(row.astype(np.float16).astype(np.float64) @ wide) for i, row in rows.items()}


def check_search(index, rows, queries, k, only=None):
    """Hold one search against NumPy: scores right, order right, nothing better left out."""
    chosen = None if only is None else np.array(only, dtype=np.int64)
    ids, scores = index.search(queries, k, chosen)
    allowed = rows if only is None else {i: rows[i] for i in set(only) & set(rows)}
    assert ids.dtype == np.int64
    assert scores.dtype == np.float32
    assert ids.shape == scores.shape == (len(queries), min(k, len(allowed)))
    for query, found, scored in zip(queries, ids, scores, strict=True):
        expected = scores_of(query, allowed)
        tolerance = 1e-5 * max(1.0, float(np.abs(query).sum()))
        assert len(set(found)) == len(found)
        assert np.allclose(scored, [expected[i] for i in found], rtol=0, atol=tolerance)
        pairs = list(zip(-scored, found, strict=True))
        assert pairs == sorted(pairs), "best first, equal scores by smaller id"
        left = [score for i, score in expected.items() if i not in set(found)]
        if left and len(found):
            assert max(left) <= scored[-1] + tolerance


@pytest.mark.parametrize("ndim", NDIMS)
@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_search_agrees_with_numpy_at_every_edge(ndim, count):
    stored = vectors_of(count, ndim, seed=1)
    ids = np.random.default_rng(2).permutation(10 * count + 1)[:count]
    index = VectorIndex(ndim)

    index.add(ids, stored)

    rows = dict(zip(ids.tolist(), stored, strict=True))
    queries = vectors_of(3, ndim, seed=3)
    assert len(index) == count
    for k in (1, 10, count + 1):
        check_search(index, rows, queries, k)
    check_search(index, rows, queries, 5, [*ids[:7].tolist(), -5])
    check_search(index, rows, queries, 5, ids[::-2].tolist())
    check_search(index, rows, queries, 5, [])
    check_search(index, rows, queries[:0], 5)


@settings(max_examples=60, deadline=None)
@given(
    ndim=st.sampled_from(NDIMS[:-1]),
    data=st.data(),
)
def test_halves_and_floats_are_stored_alike(ndim, data):
    values = st.floats(-60000, 60000, width=32)
    row = data.draw(st.lists(values, min_size=ndim, max_size=ndim))
    as_float = np.array([row], dtype=np.float32)
    unit = np.eye(ndim, dtype=np.float32)
    expected = as_float.astype(np.float16)

    for vectors in (as_float, expected, np.asfortranarray(as_float), as_float.astype(">f4")):
        index = VectorIndex(ndim)
        index.add(np.array([1]), vectors)
        _, scores = index.search(unit, 1)
        assert np.array_equal(scores[:, 0], expected[0].astype(np.float32))


def test_equal_vectors_tie_exactly_wherever_they_stand():
    index = VectorIndex(33)
    vector = vectors_of(1, 33, seed=4)
    ids = np.random.default_rng(5).permutation(1000)
    index.add(ids, np.repeat(vector, 1000, axis=0))

    found, scores = index.search(vector, 1000)

    assert found[0].tolist() == list(range(1000))
    assert len(set(scores[0].tolist())) == 1
    filtered, same = index.search(vector, 1000, np.array([999, 5, 500]))
    assert filtered[0].tolist() == [5, 500, 999]
    assert set(same[0].tolist()) == set(scores[0].tolist())


class IndexMachine(RuleBasedStateMachine):
    """Any sequence of add, replace, remove and search leaves what a dict would hold."""

    ids = st.lists(st.integers(-20, 20) | st.sampled_from([-(2**63), 2**63 - 1]), max_size=12)
    seeds = st.integers(0, 2**16)

    @initialize(ndim=st.sampled_from(NDIMS))
    def start(self, ndim):
        self.ndim = ndim
        self.index = VectorIndex(ndim)
        self.rows: dict[int, np.ndarray] = {}

    @rule(ids=ids, seed=seeds, half=st.booleans())
    def add(self, ids, seed, half):
        ids = list(dict.fromkeys(ids))
        vectors = vectors_of(len(ids), self.ndim, seed)
        self.index.add(np.array(ids, np.int64), vectors.astype(np.float16) if half else vectors)
        self.rows.update(zip(ids, vectors, strict=True))

    @rule(first=st.integers(0, 50), count=st.integers(0, 600), seed=seeds)
    def add_many(self, first, count, seed):
        vectors = vectors_of(count, self.ndim, seed)
        self.index.add(np.arange(first, first + count), vectors)
        self.rows.update(zip(range(first, first + count), vectors, strict=True))

    @rule(ids=ids)
    def remove(self, ids):
        there = {i for i in ids if self.rows.pop(i, None) is not None}
        assert self.index.remove(np.array(ids, dtype=np.int64)) == len(there)

    @rule(step=st.integers(1, 3))
    def remove_many(self, step):
        gone = list(self.rows)[::step]
        assert self.index.remove(np.array(gone, dtype=np.int64)) == len(gone)
        for i in gone:
            del self.rows[i]

    @rule(ids=ids, seed=seeds)
    def refuse(self, ids, seed):
        ids = list(dict.fromkeys(ids))
        vectors = vectors_of(len(ids) + 1, self.ndim, seed)
        vectors[-1, -1] = np.nan
        with pytest.raises(InputError):
            self.index.add(np.array([*ids, 77], dtype=np.int64), vectors)

    @rule(seed=seeds, k=st.integers(1, 30), only=st.none() | ids)
    def search(self, seed, k, only):
        check_search(self.index, self.rows, vectors_of(2, self.ndim, seed), k, only)

    @invariant()
    def holds_as_many_as_the_dict(self):
        if hasattr(self, "index"):
            assert len(self.index) == len(self.rows)


def test_random_sequences_agree_with_a_dict():
    run_state_machine_as_test(
        IndexMachine, settings=settings(max_examples=40, stateful_step_count=20, deadline=None)
    )


def test_memory_is_half_precision_and_comes_back():
    index = VectorIndex(384)
    empty = index.memory_bytes()
    index.add(np.arange(10_000), vectors_of(10_000, 384, seed=6))
    assert 10_000 * 384 * 2 <= index.memory_bytes() < 10_000 * 384 * 2 * 1.15
    index.remove(np.arange(10_000))
    assert index.memory_bytes() < empty + 4096


@pytest.mark.parametrize(
    ("ids", "vectors"),
    [
        ([1], [1.0, 2.0]),
        ([1], [[1.0]]),
        ([1], [[1.0, 2.0, 3.0]]),
        ([1, 2], [[1.0, 2.0]]),
        ([1, 1], [[1.0, 2.0]] * 2),
        ([[1]], [[1.0, 2.0]]),
        ([1.5], [[1.0, 2.0]]),
        (np.array([2**63], dtype=np.uint64), [[1.0, 2.0]]),
        (["a"], [[1.0, 2.0]]),
        ([1], [["a", "b"]]),
        ([1], [[1j, 2.0]]),
        ([1], [[1.0], [1.0, 2.0]]),
        ([1], [[1.0, np.inf]]),
        ([1], [[1.0, 1e6]]),
        ([1], np.array([[1.0, np.nan]], dtype=np.float16)),
        ([1], None),
    ],
)
def test_what_is_no_vector_under_an_id_is_refused(ids, vectors):
    index = VectorIndex(2)
    with pytest.raises(InputError):
        index.add(ids, vectors)
    assert len(index) == 0


def test_what_is_no_query_is_refused():
    index = VectorIndex(2)
    query = np.ones((1, 2), dtype=np.float32)
    for bad in (query[0], query[:, :1], query * np.nan, query * np.inf, "ab"):
        with pytest.raises(InputError):
            index.search(bad, 1)
    for k in (0, -1):
        with pytest.raises(InputError):
            index.search(query, k)
    with pytest.raises(InputError):
        index.search(query, 1, [0.5])
    for ndim in (0, -1, 2**40):
        with pytest.raises(InputError):
            VectorIndex(ndim)


@pytest.mark.skipif("EDGEPERSONA_SIMD" in os.environ, reason="this is the inner run")
@pytest.mark.parametrize("simd", build_info()["compiled"])
def test_every_instruction_set_passes_these_tests(simd):
    environment = {**os.environ, "EDGEPERSONA_SIMD": simd}
    probe = "from edgepersona._native import build_info; print(build_info()['simd'])"
    chosen = subprocess.run(
        [sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=True
    )
    if chosen.stdout.strip() != simd:
        pytest.skip(f"this processor has no {simd}")
    if simd == build_info()["simd"]:
        return  # what the tests above ran on

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    inner = subprocess.run(command, env=environment, capture_output=True, text=True)

    assert inner.returncode == 0, inner.stdout

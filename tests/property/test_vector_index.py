"""The native index against a dict and NumPy, with every instruction set this processor has."""

from __future__ import annotations

import functools
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
BLOCK = 256  # rows scored at a time

STEP = 1 / (127 * 256)  # of a row's largest value: what its values are rounded to


def vectors_of(count: int, ndim: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((count, ndim))
    norms = np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return (values / norms).astype(np.float32)


def scores_of(query: np.ndarray, rows: dict[int, np.ndarray]) -> dict[int, float]:
    wide = query.astype(np.float64)
    return {i: float(row.astype(np.float64) @ wide) for i, row in rows.items()}


def tolerance_of(query: np.ndarray, rows: dict[int, np.ndarray]) -> float:
    """Half a step of the largest value at each dimension, and as much for the sums of floats."""
    largest = max((float(np.abs(row).max()) for row in rows.values()), default=0.0)
    return STEP * largest * float(np.abs(query).sum())


def check_search(index, rows, queries, k, only=None, *, exact=False):
    """Hold one search against NumPy: scores right, order right, nothing better left out."""
    chosen = None if only is None else np.array(only, dtype=np.int64)
    ids, scores = index.search(queries, k, chosen, exact=exact)
    allowed = rows if only is None else {i: rows[i] for i in set(only) & set(rows)}
    assert ids.dtype == np.int64
    assert scores.dtype == np.float32
    assert ids.shape == scores.shape == (len(queries), min(k, len(allowed)))
    for query, found, scored in zip(queries, ids, scores, strict=True):
        expected = scores_of(query, allowed)
        tolerance = tolerance_of(query, allowed)
        assert len(set(found)) == len(found)
        assert np.allclose(scored, [expected[i] for i in found], rtol=0, atol=tolerance)
        pairs = list(zip(-scored, found, strict=True))
        assert pairs == sorted(pairs), "best first, equal scores by smaller id"
        left = [score for i, score in expected.items() if i not in set(found)]
        if left and len(found):
            assert max(left) <= scored[-1] + 2 * tolerance


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
def test_a_row_is_kept_to_a_small_share_of_its_largest_value(ndim, data):
    values = st.floats(-60000, 60000, width=32)
    row = data.draw(st.lists(values, min_size=ndim, max_size=ndim))
    as_float = np.array([row], dtype=np.float32)
    halves = as_float.astype(np.float16)
    unit = np.eye(ndim, dtype=np.float32)

    for vectors in (as_float, halves, np.asfortranarray(as_float), as_float.astype(">f4")):
        index = VectorIndex(ndim)
        index.add(np.array([1]), vectors)
        _, scores = index.search(unit, 1)
        expected = vectors[0].astype(np.float64)
        assert np.abs(scores[:, 0] - expected).max() <= 0.51 * STEP * np.abs(expected).max()


@pytest.mark.parametrize("ndim", [3, 384])
@pytest.mark.parametrize("scale", [1.0, 1e-5, 1e4])
def test_a_scan_misses_no_row_however_close_the_scores(ndim, scale):
    """Rows of nearly one score: what their lower halves hide decides which are the best."""
    random = np.random.default_rng(7)
    centre = vectors_of(1, ndim, seed=8)
    stored = (scale * (centre + 1e-3 * random.standard_normal((2000, ndim)))).astype(np.float32)
    index = VectorIndex(ndim)
    index.add(np.arange(2000), stored)

    ids, scores = index.search(centre, 20)

    every, all_scores = index.search(centre, 2000)
    assert ids[0].tolist() == every[0, :20].tolist()
    assert scores[0].tolist() == all_scores[0, :20].tolist()
    assert sorted(every[0].tolist()) == list(range(2000))


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


class GraphMachine(RuleBasedStateMachine):
    """Whatever is linked, saved, restored and changed: what is found is there, with its score."""

    seeds = st.integers(0, 2**16)

    @initialize(seed=seeds)
    def start(self, seed):
        self.index = VectorIndex(4, graph_from=1500)
        self.rows: dict[int, np.ndarray] = {}
        self.add(0, 2000, seed)

    @rule(first=st.integers(0, 3000), count=st.integers(0, 300), seed=seeds)
    def add(self, first, count, seed):
        vectors = vectors_of(count, 4, seed)
        self.index.add(np.arange(first, first + count), vectors)
        self.rows.update(zip(range(first, first + count), vectors, strict=True))

    @rule(first=st.integers(0, 3000), count=st.integers(0, 400))
    def remove(self, first, count):
        there = [i for i in range(first, first + count) if self.rows.pop(i, None) is not None]
        assert self.index.remove(np.arange(first, first + count)) == len(there)

    @rule(count=st.integers(1, 3000))
    def link(self, count):
        left = self.index.link(count)
        assert 0 <= left <= len(self.rows)

    @rule()
    def save_and_open(self):
        ids, links, width = self.index.graph()
        assert len(ids) <= len(self.rows)
        assert ids.tolist() == sorted(ids.tolist())
        assert ((links < len(ids)) | (links == 2**32 - 1)).all()
        self.index = VectorIndex(4, graph_from=1500)
        rows = list(self.rows)
        if rows:
            self.index.add(np.array(rows), np.array([self.rows[i] for i in rows]))
        if len(ids):
            self.index.load_graph(ids, links, width)

    @rule(seed=seeds, k=st.integers(1, 60))
    def search(self, seed, k):
        queries = vectors_of(3, 4, seed)
        ids, scores = self.index.search(queries, k)
        check_search(self.index, self.rows, queries, k, exact=True)
        assert ids.shape == scores.shape == (3, min(k, len(self.rows)))
        for query, found, scored in zip(queries, ids, scores, strict=True):
            expected = scores_of(query, self.rows)
            assert len(set(found)) == len(found)
            near = tolerance_of(query, self.rows)
            assert np.allclose(scored, [expected[i] for i in found], rtol=0, atol=near)
            assert (np.diff(scored) <= 0).all()

    @invariant()
    def holds_the_ids_of_the_dict(self):
        if hasattr(self, "index"):
            assert self.index.ids().tolist() == sorted(self.rows)


def test_a_graph_never_answers_with_what_is_not_there():
    run_state_machine_as_test(
        GraphMachine, settings=settings(max_examples=10, stateful_step_count=15, deadline=None)
    )


@functools.cache
def saved_graph() -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Rows, and the graph that an index made of them."""
    stored = vectors_of(5000, 8, seed=9)
    index = VectorIndex(8, graph_from=4000)
    index.add(np.arange(5000), stored)
    while index.link(1000):
        pass
    return (stored, *index.graph())


def opened(ids: np.ndarray, links: np.ndarray, width: int) -> VectorIndex:
    index = VectorIndex(8, graph_from=4000)
    index.add(np.arange(5000), saved_graph()[0])
    index.load_graph(ids, links, width)
    return index


def test_a_walk_finds_nearly_what_a_scan_finds():
    _, *graph = saved_graph()
    index = opened(*graph)
    queries = vectors_of(200, 8, seed=10)

    assert index.search_width > 0
    for k in (1, 10, 50):
        walked, _ = index.search(queries, k)
        scanned, _ = index.search(queries, k, exact=True)
        shared = [len(set(a) & set(b)) for a, b in zip(walked, scanned, strict=True)]
        assert sum(shared) >= 0.97 * 200 * k


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_graph_is_refused_or_harmless(data):
    stored, ids, links, width = saved_graph()
    raw = bytearray(links.tobytes())
    for _ in range(data.draw(st.integers(0, 20))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    links = np.frombuffer(bytes(raw), dtype=np.uint32).reshape(-1, 32)
    cut = data.draw(st.sampled_from([0, 1, 4999, 5000]))

    try:
        index = opened(ids[cut:], links[cut if data.draw(st.booleans()) else 0 :], width)
    except InputError:
        return
    check_search(index, dict(enumerate(stored)), stored[:2], 5, exact=True)
    index.search(stored[:50], 10)
    index.link(10)
    index.remove(np.arange(0, 5000, 70))
    found, scores = index.search(stored[1:50], 10)
    assert found.shape == scores.shape == (49, 10)


def test_memory_is_two_bytes_a_value_and_comes_back():
    index = VectorIndex(384)
    empty = index.memory_bytes()
    index.add(np.arange(10_000), vectors_of(10_000, 384, seed=6))
    assert index.memory_bytes() == index.scan_bytes()
    assert 10_000 * 384 * 2 <= index.memory_bytes() < 10_000 * 384 * 2 * 1.15
    index.remove(np.arange(10_000))
    assert index.memory_bytes() < empty + 4096


def test_room_can_be_made_beforehand():
    index, grown = VectorIndex(384), VectorIndex(384)
    index.reserve(3_000)
    reserved = index.memory_bytes()
    for ids in np.split(np.arange(3_000), 10):
        vectors = vectors_of(300, 384, seed=int(ids[0]))
        index.add(ids, vectors)
        grown.add(ids, vectors)
    assert index.memory_bytes() == reserved <= grown.memory_bytes()
    query = vectors_of(1, 384, seed=6)
    assert all(map(np.array_equal, index.search(query, 10), grown.search(query, 10)))


@pytest.mark.parametrize("rows", [-1, 1 << 31])
def test_room_for_too_few_or_too_many_is_refused(rows):
    index = VectorIndex(4)
    empty = index.memory_bytes()
    with pytest.raises(InputError):
        index.reserve(rows)
    assert index.memory_bytes() == empty


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


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_arrays_may_lie_anywhere_in_memory(kind):
    def moved(array):
        raw = np.frombuffer(b"." + array.tobytes(), np.uint8)[1:]
        return raw.view(array.dtype).reshape(array.shape)

    vectors = np.eye(4, dtype=kind)
    index = VectorIndex(4)
    index.add(moved(np.arange(4)), moved(vectors))
    found, scores = index.search(moved(vectors.astype(np.float32)), 1, moved(np.arange(4)))
    assert found[:, 0].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(scores, 1, rtol=1e-3)


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
    for graph_from in (0, -1):
        with pytest.raises(InputError):
            VectorIndex(2, graph_from=graph_from)


def test_what_is_no_graph_is_refused():
    index = VectorIndex(2, graph_from=1)
    index.add(np.arange(3), np.ones((3, 2), dtype=np.float32))
    links = np.full((3, 32), 2**32 - 1, dtype=np.uint32)
    for bad in (
        (np.arange(2), links, 64),
        (np.arange(3), links[:, :31], 64),
        (np.arange(3), links.astype(np.int64), 64),
        (np.arange(3), links.astype(np.float32), 64),
        (np.arange(3), links * 0 + 3, 64),
        (np.zeros(3, dtype=np.int64), links, 64),
        (np.arange(3), links, 0),
        (np.arange(3), links, -1),
        (np.arange(3), links, 2**40),
    ):
        with pytest.raises(InputError):
            index.load_graph(*bad)
    with pytest.raises(InputError):
        index.link(-1)
    index.load_graph(np.arange(3), links, 64)
    assert index.search_width == 64


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

"""The native persona against NumPy in double, with every instruction set this processor has."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

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

from edgepersona._native import Persona, build_info
from edgepersona.errors import InputError

NDIMS = (1, 3, 16, 17, 385)
BLOCK = 64  # rows whose scores are taken before their values are read
WINDOWS = (0, 1, 7, 64, 512)
LARGEST = 1e9


def rows_of(count, ndim, seed):
    """Unit vectors, as the embedder makes them."""
    values = np.random.default_rng(seed).standard_normal((count, ndim))
    norms = np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return (values / norms).astype(np.float32)


def attention(query, scale, keys, values):
    """Return softmax(scale * keys @ query) @ values in double; zeros for no rows."""
    if len(keys) == 0:
        return np.zeros(values.shape[1])
    scores = np.float64(scale) * (keys.astype(np.float64) @ query.astype(np.float64))
    weights = np.exp(scores - scores.max())
    return weights / weights.sum() @ values.astype(np.float64)


def window_of(rows, window):
    """The keys and values of the newest rows of {id: (age, key, value)}."""
    newest = sorted(rows, key=lambda i: (rows[i][0], i), reverse=True)[: window or None]
    return [rows[i] for i in newest]


def check(persona, rows, queries, scale):
    seen = window_of(rows, persona.window)
    keys = np.array([key for _, key, _ in seen], np.float32).reshape(-1, persona.key_ndim)
    values = np.array([value for _, _, value in seen], np.float32).reshape(-1, persona.value_ndim)
    assert len(persona) == len(rows)
    for query in queries:
        found = persona.attend(query, scale)
        assert found.dtype == np.float32
        assert found.shape == (persona.value_ndim,)
        assert np.allclose(found, attention(query, scale, keys, values), rtol=0, atol=1e-5)
    mean = values.astype(np.float64).mean(axis=0) if seen else np.zeros(persona.value_ndim)
    assert persona.mean().dtype == np.float32
    assert np.allclose(persona.mean(), mean, rtol=1e-7, atol=1e-9)


def filled(count, key_ndim, value_ndim, window, seed=1):
    """Return a persona and its rows as {id: (age, key, value)}; ages in no order, some equal."""
    random = np.random.default_rng(seed)
    ids = random.permutation(10 * count + 1)[:count]
    ages = random.integers(-50, 50, count)
    keys, values = rows_of(count, key_ndim, seed + 1), rows_of(count, value_ndim, seed + 2)
    persona = Persona(key_ndim, value_ndim, window=window)
    persona.add(ids, ages, keys, values)
    rows = dict(zip(ids.tolist(), zip(ages.tolist(), keys, values, strict=True), strict=True))
    return persona, rows


@pytest.mark.parametrize("ndims", [*zip(NDIMS, NDIMS[::-1], strict=True), (384, 576)])
@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_attention_and_mean_agree_with_numpy_at_every_edge(ndims, count):
    for window in (0, 1, count - 1, count, count + 1):
        if window >= 0:
            persona, rows = filled(count, *ndims, window)
            for scale in (1.0, 20.0, -3.0, 0.0):
                check(persona, rows, rows_of(2, ndims[0], seed=9), scale)


def test_attention_runs_over_the_ends_of_large_blocks():
    persona, rows = filled(4001, 384, 576, 0)
    check(persona, rows, rows_of(3, 384, seed=9), 20.0)
    persona.remove(list(rows)[::2])
    check(persona, dict(list(rows.items())[1::2]), rows_of(3, 384, seed=9), 20.0)


class PersonaMachine(RuleBasedStateMachine):
    """After any sequence of changes a persona says what one built afresh would say."""

    ids = st.lists(st.integers(-20, 20) | st.sampled_from([-(2**63), 2**63 - 1]), max_size=12)
    ages = st.integers(-3, 3) | st.sampled_from([-(2**63), 2**63 - 1])
    seeds = st.integers(0, 2**16)

    @initialize(
        key_ndim=st.sampled_from(NDIMS),
        value_ndim=st.sampled_from(NDIMS),
        window=st.sampled_from(WINDOWS),
    )
    def start(self, key_ndim, value_ndim, window):
        self.persona = Persona(key_ndim, value_ndim, window=window)
        self.rows: dict = {}
        self.generation = 0

    def put(self, ids, ages, seed):
        keys = rows_of(len(ids), self.persona.key_ndim, seed)
        values = rows_of(len(ids), self.persona.value_ndim, seed + 1)
        self.persona.add(np.array(ids, np.int64), np.array(ages, np.int64), keys, values)
        self.rows.update(zip(ids, zip(ages, keys, values, strict=True), strict=True))
        self.generation += len(ids) > 0

    @rule(ids=ids, data=st.data(), seed=seeds)
    def add(self, ids, data, seed):
        ids = list(dict.fromkeys(ids))
        ages = data.draw(st.lists(self.ages, min_size=len(ids), max_size=len(ids)))
        self.put(ids, ages, seed)

    @rule(first=st.integers(0, 50), count=st.integers(0, 300), turn=st.sampled_from([-1, 0, 1]),
          seed=seeds)  # fmt: skip
    def add_many(self, first, count, turn, seed):
        self.put(list(range(first, first + count)), [turn * i for i in range(count)], seed)

    @rule(ids=ids)
    def remove(self, ids):
        there = {i for i in ids if self.rows.pop(i, None) is not None}
        assert self.persona.remove(np.array(ids, dtype=np.int64)) == len(there)
        self.generation += len(there) > 0

    @rule(step=st.integers(1, 3))
    def remove_many(self, step):
        gone = list(self.rows)[::step]
        assert self.persona.remove(np.array(gone, dtype=np.int64)) == len(gone)
        for i in gone:
            del self.rows[i]
        self.generation += len(gone) > 0

    @rule(ids=ids, seed=seeds, bad=st.sampled_from([np.nan, np.inf, -np.inf, 2 * LARGEST]),
          in_keys=st.booleans())  # fmt: skip
    def refuse(self, ids, seed, bad, in_keys):
        ids = [*dict.fromkeys(ids), 77]
        keys = rows_of(len(ids), self.persona.key_ndim, seed)
        values = rows_of(len(ids), self.persona.value_ndim, seed + 1)
        (keys if in_keys else values)[-1, -1] = bad
        with pytest.raises(InputError):
            self.persona.add(ids, range(len(ids)), keys, values)

    @rule(seed=seeds, scale=st.sampled_from([0.0, 1.0, -1.0, 20.0]))
    def attend(self, seed, scale):
        check(self.persona, self.rows, rows_of(2, self.persona.key_ndim, seed), scale)

    @invariant()
    def counts_rows_and_changes(self):
        if hasattr(self, "persona"):
            assert len(self.persona) == len(self.rows)
            assert self.persona.generation == self.generation

    def teardown(self):
        if hasattr(self, "persona"):
            check(self.persona, self.rows, rows_of(1, self.persona.key_ndim, 5), 5.0)


def test_random_sequences_agree_with_a_persona_built_afresh():
    run_state_machine_as_test(
        PersonaMachine, settings=settings(max_examples=40, stateful_step_count=20, deadline=None)
    )


@settings(max_examples=100, deadline=None)
@given(data=st.data(), value_ndim=st.sampled_from([1, 3, 17]), count=st.integers(1, 70))
def test_whatever_left_the_window_leaves_nothing_in_the_mean(data, value_ndim, count):
    sizes = st.floats(0, LARGEST, width=32)
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    persona = Persona(1, value_ndim, window=50)
    values = random.uniform(-1, 1, (count, value_ndim)) * data.draw(sizes)
    key = np.zeros((count, 1), np.float32)
    persona.add(range(count), range(count), key, values.astype(np.float32))
    persona.add(range(count, 2 * count), [-5] * count, key, values.astype(np.float32)[::-1])
    small = (random.uniform(-1, 1, (3, value_ndim)) * 1e-3).astype(np.float32)
    persona.add([1000, 1001, 1002], [-9, -9, 1000], key[:1].repeat(3, axis=0), small)
    persona.remove(range(2 * count))
    assert np.allclose(persona.mean(), small.astype(np.float64).mean(axis=0), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("scale", [1e4, 1e6, 1e9, -1e9])
@pytest.mark.parametrize("size", [1.0, 1e4, LARGEST])
def test_large_scores_neither_overflow_nor_lose_the_best_row(scale, size):
    keys = np.zeros((200, 4), np.float32)
    keys[:, 0] = np.linspace(-size, size, 200)
    values = np.arange(200, dtype=np.float32)[:, None]
    for order in (slice(None), slice(None, None, -1)):  # the best row is met last, and first
        persona = Persona(4, 1, window=0)
        persona.add(np.arange(200), np.arange(200), keys[order], values[order])
        query = np.array([size, 0, 0, 0], np.float32)
        best = 199 if scale > 0 else 0
        assert persona.attend(query, scale)[0] == pytest.approx(best, abs=1e-30)
        assert persona.attend(query, 0.0)[0] == pytest.approx(99.5)


@settings(max_examples=100, deadline=None)
@given(
    scores=st.lists(st.integers(-300, 300), min_size=1, max_size=150),
    scale=st.sampled_from([0.0625, 0.5, 1.0, 4.0, 256.0]),
)
def test_any_spread_of_scores_agrees_with_numpy(scores, scale):
    keys = np.array(scores, np.float32)[:, None]  # exact, so that only weights are held to NumPy's
    values = rows_of(len(scores), 3, seed=len(scores))
    persona = Persona(1, 3, window=0)
    persona.add(np.arange(len(scores)), np.zeros(len(scores), np.int64), keys, values)
    one = np.ones(1, np.float32)
    expected = attention(one, scale, keys, values)
    assert np.allclose(persona.attend(one, scale), expected, rtol=0, atol=2e-6)


def test_memory_follows_the_rows():
    for window in (0, 512):
        persona = Persona(384, 576, window=window)
        empty = persona.memory_bytes()
        persona.add(np.arange(5000), np.arange(5000), rows_of(5000, 384, 1), rows_of(5000, 576, 2))
        assert 5000 * 960 * 4 <= persona.memory_bytes() < 5000 * 960 * 4 * 1.5
        persona.remove(np.arange(4990))
        assert persona.memory_bytes() < empty + 10 * 960 * 4 * 8
        persona.remove(np.arange(5000))
        assert persona.memory_bytes() < empty + 4096


def test_readers_and_writers_share_a_persona():
    persona = Persona(17, 5, window=50)
    ones, keys = np.ones((200, 5), np.float32), rows_of(200, 17, seed=1)
    persona.add([-1], [10**6], keys[:1], ones[:1])  # stays

    def write(offset):
        ids = np.arange(offset, offset + 200)
        for _ in range(20):
            persona.add(ids, ids, keys, ones)
            assert persona.remove(ids) == 200

    def read(_):
        return all(
            np.allclose(persona.attend(keys[i], 3.0), 1, atol=1e-5) and (persona.mean() == 1).all()
            for i in range(200)
        )

    with ThreadPoolExecutor(4) as pool:
        writers = pool.map(write, [0, 1000])
        assert all(pool.map(read, range(4)))
        list(writers)
    assert len(persona) == 1
    assert persona.generation == 81


@pytest.mark.parametrize(
    ("ids", "ages", "keys", "values"),
    [
        ([1], [1], [[1.0, 2.0]], [[1.0, 2.0]]),
        ([1], [1], [[1.0]], [[1.0, 2.0, 3.0]]),
        ([1], [1], [1.0, 2.0], [[1.0, 2.0, 3.0]]),
        ([1], [1, 2], [[1.0, 2.0]], [[1.0, 2.0, 3.0]]),
        ([1, 2], [1, 2], [[1.0, 2.0]], [[1.0, 2.0, 3.0]]),
        ([1, 1], [1, 2], [[1.0, 2.0]] * 2, [[1.0, 2.0, 3.0]] * 2),
        ([[1]], [1], [[1.0, 2.0]], [[1.0, 2.0, 3.0]]),
        ([1], [[1]], [[1.0, 2.0]], [[1.0, 2.0, 3.0]]),
        ([1.5], [1], [[1.0, 2.0]], [[1.0, 2.0, 3.0]]),
        ([1], [1.5], [[1.0, 2.0]], [[1.0, 2.0, 3.0]]),
        ([1], np.array([2**63], np.uint64), [[1.0, 2.0]], [[1.0, 2.0, 3.0]]),
        (["a"], [1], [[1.0, 2.0]], [[1.0, 2.0, 3.0]]),
        ([1], [1], [["a", "b"]], [[1.0, 2.0, 3.0]]),
        ([1], [1], [[1j, 2.0]], [[1.0, 2.0, 3.0]]),
        ([1], [1], [[1.0, 2.0]], [[1.0, np.nan, 3.0]]),
        ([1], [1], [[1.0, np.inf]], [[1.0, 2.0, 3.0]]),
        ([1], [1], [[1.0, 1e300]], [[1.0, 2.0, 3.0]]),
        ([1], [1], None, None),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered")  # NumPy's, of 1e300 as a float32
def test_what_is_no_row_is_refused(ids, ages, keys, values):
    persona = Persona(2, 3, window=4)
    with pytest.raises(InputError):
        persona.add(ids, ages, keys, values)
    assert len(persona) == 0
    assert persona.generation == 0


def test_what_is_no_query_or_size_is_refused():
    persona, _ = filled(3, 2, 3, 0)
    query = np.ones(2, np.float32)
    for bad in (query[:1], query[None], query * np.nan, query * np.inf, query * 2e9, "ab", None):
        with pytest.raises(InputError):
            persona.attend(bad)
    for scale in (np.nan, np.inf, -np.inf, 2e9):
        with pytest.raises(InputError):
            persona.attend(query, scale)
    for sizes in ((0, 1, 1), (1, 0, 1), (-1, 1, 1), (1, 2**40, 1), (1, 1, -1)):
        with pytest.raises(InputError):
            Persona(sizes[0], sizes[1], window=sizes[2])


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

"""The native n-gram model against its formula in plain Python, and mixing against NumPy."""

from __future__ import annotations

import threading

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

from edgepersona._native import NgramModel, log_sum_exp, mix
from edgepersona.errors import InputError

# As in native/include/edgepersona/ngram_model.h, which has the formula.
NEWEST = 1024
HALF_LIFE = 512
DISCOUNT = 0.75
UNIGRAM_SHARE = 0.1

BEGIN, END = -1, -2


class Reference:
    """Records in a dict, newest last; every answer is counted from them anew."""

    def __init__(self, order: int) -> None:
        self.order = order
        self.records: dict[int, list[int]] = {}

    def add(self, key: int, tokens: list[int]) -> None:
        self.records.pop(key, None)
        self.records[key] = tokens

    def native(self) -> NgramModel:
        """Return a model made afresh from what is left."""
        model = NgramModel(order=self.order)
        add(model, list(self.records.items()))
        return model

    def effective(self, context: list[int]) -> list[int]:
        longest = self.order - 1
        return context[-longest:] if len(context) >= longest else [BEGIN, *context]

    def after(self, context: list[int]) -> list[list[int]]:
        """Return what follows each occurrence that counts, up to its record's end, newest first."""
        return [rest for _, rest in self.occurrences(context)]

    def occurrences(self, context: list[int]) -> list[tuple[int, list[int]]]:
        """Return the same, each with its record's id."""
        found = []
        last = context[-2:]
        for key, tokens in reversed(self.records.items()):
            row = [BEGIN, *tokens]
            found += [
                (key, row[:end], [*row[end:], END])
                for end in range(len(row), 0, -1)
                if row[max(end - len(last), 0) : end] == last
            ]
        found = found[:NEWEST]
        size = len(context)
        return [(key, rest) for key, before, rest in found if before[-size:] == context]

    def shared(self, context: list[int], token: int) -> bool:
        context = self.effective(context)
        for size in range(len(context), 0, -1):
            if own := {k for k, rest in self.occurrences(context[-size:]) if rest[0] == token}:
                return len(own) > 1
        places = [k for k in reversed(self.records) for t in self.records[k] if t == token]
        return len(set(places[:NEWEST])) > 1

    def unigrams(self) -> list[int]:
        newest = list(reversed(self.records.values()))[:NEWEST]
        return [token for tokens in newest for token in reversed(tokens)][:NEWEST]

    def distribution(self, context: list[int], least: int = 0) -> dict[int, float]:
        probs: dict[int, float] = {}
        own, _ = estimate(self.unigrams() if least == 0 else [])
        for token, value in own.items():
            probs[token] = UNIGRAM_SHARE * value
        context = self.effective(context)
        for size in range(1, len(context) + 1):
            if size < least and context[-size] != BEGIN:
                continue
            own, left = estimate([rest[0] for rest in self.after(context[-size:])])
            probs = {
                token: own.get(token, 0.0) + left * probs.get(token, 0.0)
                for token in probs.keys() | own.keys()
            }
        return probs

    def continuations(self, context: list[int], n: int) -> list[int]:
        context = self.effective(context)
        live: list[list[int]] = []
        for size in range(len(context), 1, -1):
            if live := self.after(context[-size:]):
                break
        draft: list[int] = []
        while live and len(draft) < n:
            sums: dict[int, float] = {}
            for i, rest in enumerate(live):
                sums[rest[0]] = sums.get(rest[0], 0.0) + weight(i)
            end = sums.pop(END, 0.0)
            if not sums or end > max(sums.values()):
                break
            draft.append(max(sums, key=lambda token: sums[token]))  # of equals the newest
            live = [rest[1:] for rest in live if rest[0] == draft[-1]]
        return draft


def weight(i: int) -> float:
    return float(2.0 ** (-i / HALF_LIFE))


def estimate(followers: list[int]) -> tuple[dict[int, float], float]:
    """Return each token's own part, and the share that shorter contexts get."""
    counts: dict[int, int] = {}
    sums: dict[int, float] = {}
    for i, token in enumerate(followers):
        counts[token] = counts.get(token, 0) + 1
        sums[token] = sums.get(token, 0.0) + weight(i)
    total = sum(sums.values())
    if not total:
        return {}, 1.0
    own = {t: s / total * (1 - DISCOUNT / counts[t]) for t, s in sums.items() if t != END}
    return own, sum(s / total * DISCOUNT / counts[t] for t, s in sums.items())


def add(model: NgramModel, records: list[tuple[int, list[int]]]) -> None:
    sizes = [0, *(len(tokens) for _, tokens in records)]
    model.add(
        np.array([key for key, _ in records], np.int64),
        np.array([token for _, tokens in records for token in tokens], np.int32),
        np.cumsum(sizes, dtype=np.int64),
    )


def check(model: NgramModel, reference: Reference, context: list[int]) -> None:
    """Hold one context's answers against the formula."""
    ids, probs = model.distribution(np.array(context, np.int32), limit=10_000)
    expected = reference.distribution(context)
    assert ids.dtype == np.int32
    assert probs.dtype == np.float32
    assert ids.tolist() == sorted(expected)
    assert np.allclose(probs, [expected[i] for i in ids.tolist()], rtol=1e-6, atol=0)
    assert (probs > 0).all()
    assert probs.astype(np.float64).sum() <= 1
    for least in (1, 2, 3, 9):
        ids, probs = model.distribution(np.array(context, np.int32), limit=10_000, least=least)
        expected = reference.distribution(context, least)
        assert ids.tolist() == sorted(expected)
        assert np.allclose(probs, [expected[i] for i in ids.tolist()], rtol=1e-6, atol=0)
    asked = [0, 1, 2, 3, 49151]
    shared = model.shared(np.array(context, np.int32), np.array(asked, np.int32))
    assert shared.dtype == np.bool_
    assert shared.tolist() == [reference.shared(context, token) for token in asked]
    for n in (0, 1, 3, 50):
        draft = model.continuations(np.array(context, np.int32), n)
        assert draft.dtype == np.int32
        assert draft.tolist() == reference.continuations(context, n)


TOKENS = st.integers(0, 5) | st.sampled_from([49151, 2**31 - 1])
RECORD = st.lists(TOKENS, max_size=12)


class ModelMachine(RuleBasedStateMachine):
    """Any sequence of add, replace and remove leaves what a fresh model has, bit for bit."""

    ids = st.lists(st.integers(-9, 9) | st.sampled_from([-(2**63), 2**63 - 1]), max_size=8)

    @initialize(order=st.integers(2, 5))
    def start(self, order):
        self.reference = Reference(order)
        self.model = NgramModel(order=order)

    @rule(ids=ids, data=st.data())
    def add(self, ids, data):
        records = [(i, data.draw(RECORD)) for i in dict.fromkeys(ids)]
        add(self.model, records)
        for record in records:
            self.reference.add(*record)

    @rule(first=st.integers(0, 30), count=st.integers(0, 60), seed=st.integers(0, 99))
    def add_many(self, first, count, seed):
        random = np.random.default_rng(seed)
        for i in range(first, first + count):
            self.reference.add(i, random.integers(0, 4, random.integers(0, 20)).tolist())
        add(self.model, list(self.reference.records.items())[-count:] if count else [])

    @rule(ids=ids)
    def remove(self, ids):
        there = {i for i in ids if self.reference.records.pop(i, None) is not None}
        assert self.model.remove(np.array(ids, np.int64)) == len(there)

    @rule(step=st.integers(1, 3))
    def remove_many(self, step):
        gone = list(self.reference.records)[::step]
        assert self.model.remove(np.array(gone, np.int64)) == len(gone)
        for i in gone:
            del self.reference.records[i]

    @rule(ids=ids, bad=st.sampled_from([-1, -(2**31)]))
    def refuse(self, ids, bad):
        with pytest.raises(InputError):
            add(self.model, [*((i, [1, 2]) for i in dict.fromkeys(ids)), (100, [3, bad])])

    @rule(context=st.lists(TOKENS, max_size=7))
    def predict(self, context):
        check(self.model, self.reference, context)

    @rule(data=st.data())
    def predict_what_is_known(self, data):
        if self.reference.records:
            tokens = data.draw(st.sampled_from(list(self.reference.records.values())))
            check(self.model, self.reference, tokens[: data.draw(st.integers(0, len(tokens)))])

    @invariant()
    def equals_a_fresh_model(self):
        if not hasattr(self, "model"):
            return
        fresh = self.reference.native()
        assert len(self.model) == len(fresh) == len(self.reference.records)
        assert self.model.tokens == sum(map(len, self.reference.records.values()))
        for context in ([], [0], [1, 0], [2, 1, 0], [0, 0, 0, 0], [3, 2, 1, 0, 1]):
            for ours, theirs in zip(
                self.model.distribution(context), fresh.distribution(context), strict=True
            ):
                assert np.array_equal(ours, theirs)
            assert np.array_equal(
                self.model.continuations(context, 9), fresh.continuations(context, 9)
            )


def test_random_sequences_agree_with_the_formula_and_with_a_fresh_model():
    run_state_machine_as_test(
        ModelMachine, settings=settings(max_examples=50, stateful_step_count=20, deadline=None)
    )


@pytest.mark.parametrize("order", [2, 3, 4, 5])
@pytest.mark.parametrize("records", [[], [[]], [[7]], [[], [7], []], [[7, 7, 7, 7, 7, 7]]])
def test_few_records_agree_with_the_formula(order, records):
    reference = Reference(order)
    for i, tokens in enumerate(records):
        reference.add(i, tokens)
    model = reference.native()
    for context in ([], [7], [7, 7], [7, 7, 7], [7] * 9, [8], [8, 7], [7, 8]):
        check(model, reference, context)


@pytest.mark.parametrize("order", [2, 5])
def test_only_the_newest_occurrences_count(order):
    random = np.random.default_rng(8)
    reference = Reference(order)
    for i in range(400):  # three tokens, 1,000 times each and more
        reference.add(i, random.integers(0, 3, random.integers(0, 30)).tolist())
    for i in range(1100):
        reference.add(1000 + i, [4] if i % 3 else [])
    model = reference.native()
    for context in ([], [0], [1, 2], [0, 1, 2], [2, 0, 1, 2], [4]):
        check(model, reference, context)


def test_a_limit_keeps_the_most_probable():
    random = np.random.default_rng(9)
    reference = Reference(5)
    for i in range(60):
        reference.add(i, random.zipf(1.5, 20).clip(max=300).tolist())
    model = reference.native()
    for context in ([], [1], [1, 1], [2, 1, 1]):
        ids, probs = model.distribution(context, limit=10_000)
        for limit in (1, 2, 7, len(ids) - 1, len(ids), len(ids) + 1):
            kept, kept_probs = model.distribution(context, limit=limit)
            best = sorted(zip(-probs, ids.tolist(), strict=True))[:limit]
            assert kept.tolist() == sorted(i for _, i in best)
            assert np.array_equal(kept_probs, probs[np.isin(ids, kept)])


def test_arrays_of_any_integer_dtype_mean_the_same():
    for dtype in (np.int32, np.uint32, np.int64, np.uint16, ">i4"):
        model = NgramModel()
        tokens = np.array([5, 6, 7, 5, 6, 8], dtype)
        model.add(np.array([1, 2]), np.repeat(tokens, 2)[::2], np.array([0, 3, 6]))
        ids, _ = model.distribution(np.array([5, 6], dtype))
        assert ids.tolist() == [5, 6, 7, 8]
    shifted = np.frombuffer(b"\0" + np.array([5, 6], np.uint32).tobytes(), np.uint32, offset=1)
    model = NgramModel()
    model.add([1], shifted, [0, 2])
    assert model.continuations(shifted[:1], 2).tolist() == [6]


def test_readers_run_beside_a_writer():
    reference = Reference(5)
    reference.add(-1, [900, 901, 902])
    model = reference.native()
    wrong: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            ids, probs = model.distribution([900, 901])
            if 902 not in ids or probs[ids == 902] < 0.25 or len(model) < 1:
                wrong.append((ids, probs))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(30):
        random = np.random.default_rng(turn)
        add(model, [(i, random.integers(0, 50, 20).tolist()) for i in range(100)])
        model.remove(np.arange(turn, 100))
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong


@pytest.mark.parametrize(
    ("ids", "tokens", "offsets"),
    [
        ([1, 1], [1, 2], [0, 1, 2]),
        ([1], [1, 2], [0]),
        ([1], [1, 2], [0, 1, 2]),
        ([], [], []),
        ([1], [1, 2], [0, 3]),
        ([1], [1, 2], [-1, 2]),
        ([1], [1, 2], [2, 1]),
        ([1], [1, 2], [2**62, 2**63 - 1]),
        ([1], [1, -1], [0, 2]),
        ([1], np.array([1, -1], np.int32), [0, 2]),
        ([1], [1, 2**31], [0, 2]),
        ([1], np.array([2**32 - 1], np.uint32), [0, 1]),
        ([1], np.array([2**63 + 1], np.uint64), [0, 1]),
        ([1], [2**32 + 1], [0, 1]),
        ([1], [1.0], [0, 1]),
        ([1], [[1]], [0, 1]),
        ([[1]], [1], [0, 1]),
        ([1.5], [1], [0, 1]),
        (["a"], [1], [0, 1]),
        ([1], None, [0, 1]),
    ],
)
def test_what_is_no_record_is_refused(ids, tokens, offsets):
    model = NgramModel()
    with pytest.raises(InputError):
        model.add(ids, tokens, offsets)
    assert len(model) == model.tokens == 0


def test_what_is_no_question_is_refused():
    for order in (-1, 0, 1, 6, 2**40):
        with pytest.raises(InputError):
            NgramModel(order=order)
    model = NgramModel()
    for context in ([-1], [2**31], [0.5], [[1]], "a", np.array([-5], np.int32)):
        with pytest.raises(InputError):
            model.distribution(context)
        with pytest.raises(InputError):
            model.continuations(context, 3)
        with pytest.raises(InputError):
            model.shared(context, [1])
    for limit in (0, -1):
        with pytest.raises(InputError):
            model.distribution([1], limit)
    with pytest.raises(InputError):
        model.distribution([1], least=-1)
    with pytest.raises(InputError):
        model.shared([1], [0.5])
    assert model.shared([1], []).tolist() == []
    with pytest.raises(InputError):
        model.continuations([1, 2], -1)
    with pytest.raises(InputError):
        model.remove([0.5])


def test_memory_is_reported_and_comes_back():
    model = NgramModel()
    empty = model.memory_bytes()
    tokens = np.random.default_rng(3).integers(0, 5000, 200_000, dtype=np.int32)
    model.add(np.arange(10_000), tokens, np.arange(0, 200_001, 20))
    full = model.memory_bytes()
    assert 200_000 * 8 < full < 200_000 * 40
    model.remove(np.arange(0, 10_000, 2))
    model.remove(np.arange(1, 2_000, 2))
    assert model.memory_bytes() < full * 0.5
    model.remove(np.arange(10_000))
    assert model.memory_bytes() <= empty


def mixed(logits, ids, probs, share):
    """Return the probabilities that mixing should lead to."""
    wide = logits.astype(np.float64)
    p = np.exp(wide - wide.max())
    p *= (1 - share * float(np.sum(probs, dtype=np.float64))) / p.sum()
    np.add.at(p, ids, share * np.asarray(probs, np.float64))
    return p


@settings(max_examples=100, deadline=None)
@given(
    vocab=st.sampled_from([1, 2, 3, 63, 64, 65, 511, 512, 513, 49152]),
    seed=st.integers(0, 2**16),
    spread=st.sampled_from([0.0, 1.0, 8.0, 40.0]),
    share=st.floats(0, 0.999),
)
def test_mixing_agrees_with_numpy(vocab, seed, spread, share):
    random = np.random.default_rng(seed)
    logits = (random.standard_normal(vocab) * spread - 5).astype(np.float32)
    ids = random.permutation(vocab)[: random.integers(0, min(vocab, 512) + 1)].astype(np.int32)
    probs = random.dirichlet(np.ones(len(ids) + 1))[:-1].astype(np.float32)
    before = logits.copy()

    mix(logits, ids, probs, share)

    others = np.setdiff1d(np.arange(vocab), ids[probs > 0])
    assert np.array_equal(logits[others], before[others])
    expected = mixed(before, ids, probs, np.float64(np.float32(share)))
    wide = logits.astype(np.float64)
    found = np.exp(wide - wide.max())
    assert np.allclose(found / found.sum(), expected, rtol=2e-4, atol=1e-12)


@given(
    vocab=st.sampled_from([1, 7, 31, 32, 33, 63, 64, 129, 4095, 4096, 4097, 9001]),
    seed=st.integers(0, 99),
    spread=st.sampled_from([0.0, 1.0, 30.0]),
)
def test_log_sum_exp_agrees_with_numpy(vocab, seed, spread):
    logits = (np.random.default_rng(seed).standard_normal(vocab) * spread).astype(np.float32)
    exact = np.logaddexp.reduce(logits.astype(np.float64))
    assert log_sum_exp(logits) == pytest.approx(exact, abs=1e-6, rel=1e-6)
    one_more = np.append(logits, np.float32(-np.inf))
    assert log_sum_exp(one_more) == pytest.approx(exact, abs=1e-6, rel=1e-6)


def test_log_sum_exp_tells_what_is_no_distribution():
    for odd in (np.nan, np.inf):
        for at in range(70):
            logits = np.zeros(70, np.float32)
            logits[at] = odd
            assert not np.isfinite(log_sum_exp(logits))
    assert log_sum_exp(np.full(70, -np.inf, np.float32)) == -np.inf
    assert log_sum_exp(np.empty(0, np.float32)) == -np.inf
    with pytest.raises(InputError):
        log_sum_exp(np.zeros((2, 2), np.float32))


def test_mixing_with_nothing_changes_nothing():
    logits = np.random.default_rng(5).standard_normal(1000).astype(np.float32)
    before = logits.copy()
    mix(logits, np.array([], np.int32), np.array([], np.float32), 0.5)
    mix(logits, [1, 2], [0.5, 0.5], 0.0)
    mix(logits, [1, 2], [0.0, 0.0], 0.5)
    assert np.array_equal(logits, before)


@pytest.mark.parametrize(
    ("logits", "ids", "probs", "share"),
    [
        (np.zeros(3, np.float64), [0], [0.5], 0.5),
        (np.zeros((1, 3), np.float32), [0], [0.5], 0.5),
        (np.zeros(6, np.float32)[::2], [0], [0.5], 0.5),
        ([0.0, 0.0], [0], [0.5], 0.5),
        (np.frombuffer(bytes(12), np.float32), [0], [0.5], 0.5),
        (np.zeros(0, np.float32), [], [], 0.5),
        (np.array([0, np.nan, 0], np.float32), [0], [0.5], 0.5),
        (np.array([0, np.inf, 0], np.float32), [0], [0.5], 0.5),
        (np.full(3, -np.inf, np.float32), [0], [0.5], 0.5),
        (np.zeros(3, np.float32), [3], [0.5], 0.5),
        (np.zeros(3, np.float32), [-1], [0.5], 0.5),
        (np.zeros(3, np.float32), [0.5], [0.5], 0.5),
        (np.zeros(3, np.float32), [0, 1], [0.5], 0.5),
        (np.zeros(3, np.float32), [0], [np.nan], 0.5),
        (np.zeros(3, np.float32), [0], [-0.1], 0.5),
        (np.zeros(3, np.float32), [0], [1.5], 0.5),
        (np.zeros(3, np.float32), [0, 1], [0.7, 0.4], 0.5),
        (np.zeros(3, np.float32), [0], [0.5], 1.0),
        (np.zeros(3, np.float32), [0], [0.5], -0.1),
        (np.zeros(3, np.float32), [0], [0.5], np.nan),
    ],
)
def test_what_cannot_be_mixed_is_refused_and_changes_nothing(logits, ids, probs, share):
    before = np.array(logits)
    with pytest.raises(InputError):
        mix(logits, ids, probs, share)
    assert np.array_equal(np.array(logits), before, equal_nan=True)

"""The cache of persona vectors against an ordered dict."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from edgepersona._native import PersonaCache
from edgepersona.errors import InputError

HASHES = st.sampled_from([b"", b"a", b"b", b"a\0", b"x" * 64])


def cost(values):
    """Return the bytes that one vector counts for."""
    cache = PersonaCache(2**30)
    cache.put(b"", 0, b"", np.zeros(values, np.float32))
    return cache.size_bytes


class CacheMachine(RuleBasedStateMachine):
    """What is kept, what has gone and what was counted are those of an ordered dict."""

    keys = st.tuples(HASHES, st.sampled_from([0, 1, 2**63 - 1]), HASHES)

    @initialize(capacity=st.integers(0, 20 * 1024))
    def start(self, capacity):
        self.cache = PersonaCache(capacity)
        self.kept: OrderedDict = OrderedDict()  # used last comes last
        self.hits = self.misses = 0

    def size_bytes(self):
        return sum(cost(len(vector)) for vector in self.kept.values())

    @rule(key=keys, size=st.integers(1, 600), value=st.integers(0, 99))
    def put(self, key, size, value):
        vector = np.full(size, value, np.float32)
        self.cache.put(*key, vector)
        vector[:] = -1  # the cache has a copy
        self.kept.pop(key, None)
        if cost(size) <= self.cache.capacity_bytes:
            self.kept[key] = np.full(size, value, np.float32)
        while self.size_bytes() > self.cache.capacity_bytes:
            self.kept.popitem(last=False)

    @rule(key=keys)
    def get(self, key):
        found = self.cache.get(*key)
        if key in self.kept:
            self.kept.move_to_end(key)
            assert found.dtype == np.float32
            assert np.array_equal(found, self.kept[key])
            found[:] = -1  # ours, not the cache's
            self.hits += 1
        else:
            assert found is None
            self.misses += 1

    @rule()
    def clear(self):
        self.cache.clear()
        self.kept.clear()

    @rule(key=keys, bad=st.sampled_from([np.nan, np.inf, -np.inf]))
    def refuse(self, key, bad):
        for vector in ([1.0, bad], [], [[1.0]], ["a"], None):
            with pytest.raises(InputError):
                self.cache.put(*key, vector)

    @invariant()
    def counts(self):
        if hasattr(self, "cache"):
            assert len(self.cache) == len(self.kept)
            assert self.cache.size_bytes == self.size_bytes()
            assert (self.cache.hits, self.cache.misses) == (self.hits, self.misses)


def test_random_sequences_agree_with_an_ordered_dict():
    run_state_machine_as_test(
        CacheMachine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


def test_an_entry_counts_for_more_than_its_values_and_key():
    assert 576 * 4 + 2 * 64 <= cost(576) < 576 * 4 + 1024


def test_what_is_no_key_or_capacity_is_refused():
    cache = PersonaCache(1000)
    for key in ((b"x" * 65, 1, b""), (b"", 1, b"x" * 65), (b"", -1, b"")):
        with pytest.raises(InputError):
            cache.get(*key)
        with pytest.raises(InputError):
            cache.put(*key, [1.0])
    with pytest.raises(InputError):
        PersonaCache(-1)
    assert cache.hits == cache.misses == len(cache) == 0

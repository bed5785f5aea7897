"""Whatever is done to a store, in whatever order, it equals a dict."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edgepersona.errors import InputError
from edgepersona.index import Index
from edgepersona.records import Filter, Record
from edgepersona.store import Store
from tests.standins import EMBEDDER_HASH, NDIM, NumpyVectors, WordEmbedder

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
WORDS = st.lists(st.sampled_from(["tea", "boat", "dawn", "salt"]), min_size=1).map(" ".join)
DATES = st.sampled_from(["", "2023", "2024-02", "2024-02-03", "2024-02-03T04:05:06Z"])
IDS = st.sampled_from([f"id{i}" for i in range(6)])
RECORDS = st.builds(
    Record,
    text=st.one_of(WORDS, TEXT),
    title=st.one_of(st.just(""), WORDS),
    date=DATES,
    source=st.sampled_from(["", "a", "b"]),
    id=IDS,
)


class StoreMachine(RuleBasedStateMachine):
    @initialize(key=st.sampled_from([None, None, "k"]))
    def open(self, key: str | None) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.key = key
        self.model: dict[str, Record] = {}
        self.embedder = WordEmbedder()
        self.reopen()
        self.generation = self.store.generation

    @rule()
    def reopen(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
        self.store = Store.open(
            self.folder / "p.db", key=self.key, embedder_hash=EMBEDDER_HASH, ndim=NDIM
        )
        self.index = Index(self.store, NumpyVectors(NDIM))

    @rule(batch=st.lists(RECORDS, max_size=4))
    def add(self, batch: list[Record]) -> None:
        after = dict(self.model)
        clash = any(after.setdefault(record.id, record) != record for record in batch)
        vectors = self.vectors(batch)
        if clash:
            with pytest.raises(InputError):
                self.store.add(batch, vectors)
        else:
            new = len(after) - len(self.model)
            assert len(self.store.missing(batch)) == new
            assert self.store.add(batch, vectors).new == new
            self.change(after)

    @rule(record=RECORDS)
    def update(self, record: Record) -> None:
        vector = self.vectors([record])[0]
        if record.id in self.model:
            self.store.update(record, vector)
            self.change({**self.model, record.id: record})
        else:
            with pytest.raises(InputError):
                self.store.update(record, vector)

    @rule(ids=st.lists(IDS, max_size=3))
    def delete(self, ids: list[str]) -> None:
        after = {name: record for name, record in self.model.items() if name not in ids}
        assert self.store.delete(ids) == len(self.model) - len(after)
        self.change(after)

    @rule(query=st.one_of(WORDS, st.text()), only=st.sampled_from(["", "a"]))
    def search(self, query: str, only: str) -> None:
        vector = self.embedder.encode([query])[0]
        hits = self.index.search(query, vector, 10, Filter(source=only))
        found = {hit.record.id: hit.record for hit in hits}
        assert found == {n: r for n, r in self.model.items() if not only or r.source == only}

    @invariant()
    def equals_the_model(self) -> None:
        if not hasattr(self, "store"):
            return
        assert {record.id: record for record in self.store.records()} == self.model
        assert self.store.count() == len(self.model)
        assert self.store.generation == self.generation
        assert self.store.integrity_check() == ()
        held = {
            record.id: vector
            for rows, vectors in self.store.vectors()
            for record, vector in zip(self.store.by_row(rows).values(), vectors, strict=True)
        }
        assert held.keys() == self.model.keys()
        for name, vector in held.items():
            expected = self.vectors([self.model[name]])[0].astype(np.float16)
            np.testing.assert_array_equal(vector, expected)
        everything = "tea OR boat dawn salt"
        for row, _ in self.store.match(everything, 99).found:
            assert row in self.store.rows()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)

    def vectors(self, batch: list[Record]) -> np.ndarray:
        if not batch:
            return np.empty((0, NDIM), np.float32)
        return self.embedder.encode([f"{record.title} {record.text}" for record in batch])

    def change(self, after: dict[str, Record]) -> None:
        if after != self.model:
            assert self.store.generation > self.generation
            self.generation = self.store.generation
        self.model = after


StoreMachine.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
test_a_store_equals_a_dict = StoreMachine.TestCase


@given(query=st.text())
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_text_is_a_query_and_a_records_own_text_finds_it(store, query) -> None:
    record = Record(f"{query}marker", id="r")
    store.delete(["r"])
    if "\0" not in query:
        store.add([record], np.ones((1, NDIM), np.float32))
        assert store.match(record.text, 3).found
    assert isinstance(store.match(query, 3).found, list)

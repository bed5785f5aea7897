"""Whatever two processes do to a profile, in whatever order, an index finds what a scan finds."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edgepersona import _native
from edgepersona.index import Index
from edgepersona.ngrams import Ngrams
from edgepersona.records import Record
from edgepersona.store import Store
from tests.standins import EMBEDDER_HASH, NDIM, LetterReader, ListedTokens, NumpyVectors

GRAPH_FROM = 12
IDS = st.integers(0, 60)
SIDES = st.sampled_from([0, 1])


def vector(number: int, version: int) -> np.ndarray:
    made = np.random.default_rng((number, version)).normal(size=NDIM).astype(np.float32)
    return made / np.linalg.norm(made)


class IndexMachine(RuleBasedStateMachine):
    """Two stores with an index each, on one file, beside a dict of what should be there."""

    make = staticmethod(lambda: NumpyVectors(NDIM, graph_from=GRAPH_FROM))

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.model: dict[str, tuple[int, int]] = {}
        self.versions = 0
        self.stores: list[Store] = []
        self.indexes: list[Index] = []
        self.ngrams: list[Ngrams] = []
        for _ in range(2):
            self.stores.append(self.opened())
            self.indexes.append(Index(self.stores[-1], self.make()))
            self.ngrams.append(self.counted(self.stores[-1]))

    def opened(self) -> Store:
        return Store.open(
            self.folder / "p.db", embedder_hash=EMBEDDER_HASH, ndim=NDIM, busy_timeout_s=60.0
        )

    def counted(self, store: Store) -> Ngrams:
        return Ngrams(store, ListedTokens(), LetterReader, "text")

    @rule(side=SIDES)
    def reopen(self, side: int) -> None:
        self.indexes[side].close()
        self.stores[side].close()
        self.stores[side] = self.opened()
        self.indexes[side] = Index(self.stores[side], self.make())
        self.ngrams[side] = self.counted(self.stores[side])

    @rule(side=SIDES, numbers=st.lists(IDS, min_size=1, max_size=25, unique=True))
    def add(self, side: int, numbers: list[int]) -> None:
        new = [number for number in numbers if f"{number}" not in self.model]
        self.versions += 1
        if new:
            batch = [Record(f"{n} {self.versions}", id=f"{n}") for n in new]
            self.stores[side].add(batch, np.stack([vector(n, self.versions) for n in new]))
        self.model |= {f"{n}": (n, self.versions) for n in new}

    @rule(side=SIDES, number=IDS)
    def update(self, side: int, number: int) -> None:
        if f"{number}" in self.model:
            self.versions += 1
            record = Record(f"{number} {self.versions}", id=f"{number}")
            self.stores[side].update(record, vector(number, self.versions))
            self.model[record.id] = (number, self.versions)

    @rule(side=SIDES, numbers=st.lists(IDS, min_size=1, max_size=15))
    def delete(self, side: int, numbers: list[int]) -> None:
        self.stores[side].delete([f"{number}" for number in numbers])
        self.model = {k: v for k, v in self.model.items() if v[0] not in numbers}

    @rule(side=SIDES)
    def refresh(self, side: int) -> None:
        self.indexes[side].refresh()

    @rule(side=SIDES)
    def settle(self, side: int) -> None:
        self.indexes[side].refresh()
        self.indexes[side].join()

    @rule(side=SIDES, number=IDS, k=st.integers(1, 70))
    def search(self, side: int, number: int, k: int) -> None:
        query = vector(number, 1)
        hits = self.indexes[side].search("?", query, k)
        scores = {n: query @ vector(*made).astype(np.float16) for n, made in self.model.items()}
        expected = sorted(scores.values(), reverse=True)[:k]
        found = [scores[hit.record.id] for hit in hits]
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert len({hit.record.id for hit in hits}) == min(k, len(self.model))

    @rule(side=SIDES)
    def count(self, side: int) -> None:
        counts = self.ngrams[side].refresh()
        found = sorted("".join(map(chr, tokens)) for tokens in counts.records.values())
        assert found == sorted(f"{number} {version}" for number, version in self.model.values())
        fresh = self.counted(self.stores[side]).refresh()
        assert list(counts.records.items()) == list(fresh.records.items())

    @invariant()
    def the_graph_on_disk_is_of_what_is_there(self) -> None:
        if not hasattr(self, "stores"):
            return
        store = self.stores[0]
        graph = store.load_graph()
        if graph is not None:
            assert set(graph.ids.tolist()) <= set(store.rows().tolist())
            newer = {row for rows, _ in store.vectors(graph.generation) for row in rows.tolist()}
            assert newer.isdisjoint(graph.ids.tolist())
        assert store.count() == self.stores[1].count() == len(self.model)

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            for index, store in zip(self.indexes, self.stores, strict=True):
                index.close()
                store.close()
            shutil.rmtree(self.folder)


class NativeMachine(IndexMachine):
    make = staticmethod(lambda: _native.VectorIndex(NDIM, graph_from=GRAPH_FROM))


STEADY = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
IndexMachine.TestCase.settings = NativeMachine.TestCase.settings = STEADY
test_an_index_equals_a_scan = IndexMachine.TestCase
test_a_native_index_equals_a_scan = NativeMachine.TestCase

"""The index: how two rankings become one, and how it follows the store."""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

from edgepersona.errors import InputError, ProfileError
from edgepersona.graphtable import Graph
from edgepersona.index import K0, Index, fuse
from edgepersona.records import Filter, Record
from tests.standins import NDIM, NumpyVectors


@pytest.fixture
def vectors() -> NumpyVectors:
    return NumpyVectors(NDIM)


@pytest.fixture
def index(store, vectors) -> Index:
    return Index(store, vectors)


@pytest.fixture
def put(store, embedder):
    def put_(*records: Record) -> None:
        store.add(records, embedder.encode([record.text for record in records]))

    return put_


@pytest.fixture
def search(index, embedder):
    """Search an index, by default the fixture's, and return the ids found."""

    def search_(
        query: str, k: int = 10, only: Filter | None = None, among: Index = index
    ) -> list[str]:
        hits = among.search(query, embedder.encode([query])[0], k, only or Filter())
        return [hit.record.id for hit in hits]

    return search_


def test_fusion_is_the_sum_of_reciprocal_ranks() -> None:
    assert fuse([7, 8], [(8, 5.0), (9, 4.0)], 4.0) == {
        7: 1 / (K0 + 1),
        8: 1 / (K0 + 2) + 1 / (K0 + 1),
        9: 1 / (K0 + 2),
    }
    assert fuse([], [], 0.0) == {}


def test_a_match_of_few_of_the_words_counts_for_that_share() -> None:
    assert fuse([], [(7, 1.0)], 4.0) == {7: 0.25 / (K0 + 1)}


def test_a_common_word_found_does_not_outrank_the_meaning(put, search) -> None:
    put(*[Record(f"a note from week {i} about nothing", id=f"f{i}") for i in range(6)])
    put(*[Record(f"paint dries at noon {i}", id=f"p{i}") for i in range(9)])
    put(Record("bicycle noise squeak", id="bike"))
    assert search("the squeak from somewhere unheard")[0] == "bike"


def test_an_empty_profile_finds_nothing(search) -> None:
    assert search("anything") == []


def test_what_is_near_and_shares_words_comes_first(put, search, index, embedder) -> None:
    put(*[Record(f"filler text {i}", id=f"f{i}") for i in range(9)])
    put(Record("the boat sails at dawn", id="boat"), Record("boat shop", id="shop"))
    assert search("boat sails")[:2] == ["boat", "shop"]
    hits = index.search("boat", embedder.encode(["boat"])[0], 3)
    assert len(hits) == 3
    assert hits[0].score == pytest.approx(2 / (K0 + 1))


def test_words_are_found_where_the_vector_says_nothing_and_the_other_way_round(
    put, index, embedder
) -> None:
    put(*[Record(f"filler {i}", id=f"f{i}") for i in range(100)])
    put(Record("alpha", id="word"), Record("beta", id="meaning"))
    hits = index.search("alpha", embedder.encode(["beta"])[0], 2)
    assert {hit.record.id for hit in hits} == {"word", "meaning"}


def test_ties_come_in_the_order_of_adding(put, index, embedder) -> None:
    put(*[Record("same words", source=f"s{i}", id=f"{9 - i}") for i in range(5)])
    vector = embedder.encode(["same words"])[0]
    first = index.search("same words", vector, 5)
    assert [hit.record.id for hit in first] == ["9", "8", "7", "6", "5"]
    assert index.search("same words", vector, 5) == first


def test_a_filter_holds_for_both_rankings(put, search) -> None:
    put(*[Record(f"boat number {i}", source="a", id=f"a{i}") for i in range(200)])
    put(*[Record(f"boat number {i}", source="b", id=f"b{i}") for i in range(3)])
    assert sorted(search("boat", only=Filter(source="b"))) == ["b0", "b1", "b2"]
    assert search("boat", only=Filter(source="none")) == []


def test_k_must_be_positive(index) -> None:
    with pytest.raises(InputError, match="k is 0"):
        index.search("x", np.zeros(NDIM, np.float32), 0)


def test_changes_are_followed_one_by_one(store, put, search, vectors, embedder) -> None:
    put(*[Record(f"text {i}", id=f"{i}") for i in range(20)])
    assert "3" in search("text 3", k=20)
    assert vectors.added == 20
    store.delete(["3", "5"])
    store.update(Record("submarine", id="7"), embedder.encode(["submarine"])[0])
    put(Record("airship", id="new"))
    assert search("submarine")[0] == "7"
    assert search("airship")[0] == "new"
    assert "3" not in search("text 3", k=20)
    assert vectors.added == 22
    assert len(vectors) == store.count() == 19


def test_a_row_used_again_gets_its_new_vector(store, put, search, vectors) -> None:
    put(Record("first", id="a"), Record("second", id="b"))
    search("first")
    store.delete(["b"])
    put(Record("third", id="c"))
    assert search("third")[0] == "c"
    assert len(vectors) == 2


def test_a_large_store_is_read_ahead_whole(store, index, vectors) -> None:
    batch = [Record(f"text {i}", id=f"{i}") for i in range(3000)]
    made = np.random.default_rng(0).normal(size=(3000, NDIM)).astype(np.float32)
    store.add(batch, made)
    index.refresh()
    assert vectors.reserved == 3000
    assert vectors.ids().tolist() == store.rows().tolist()
    np.testing.assert_array_equal(vectors._vectors[2999], made[2998].astype(np.float16))


def test_a_damaged_vector_is_named_and_the_next_search_tries_again(store, index, vectors) -> None:
    store.add([Record(f"{i}", id=f"{i}") for i in range(3000)], np.ones((3000, NDIM), np.float32))
    database = store._full_text._database
    database.execute("UPDATE vector SET data = x'00' WHERE row = 2500")
    for _ in range(2):
        with pytest.raises(ProfileError, match="a vector that has not"):
            index.refresh()
    database.execute("UPDATE vector SET data = (SELECT data FROM vector) WHERE row = 2500")
    index.refresh()
    assert len(vectors) == 3000


def test_a_large_store_can_still_be_read_while_the_interpreter_ends(store, tmp_path) -> None:
    store.add([Record(f"{i}", id=f"{i}") for i in range(3000)], np.ones((3000, NDIM), np.float32))
    code = (
        "import atexit, sys\nfrom pathlib import Path\nfrom edgepersona.index import Index\n"
        "from edgepersona.store import Store\nfrom tests.standins import NDIM, NumpyVectors\n"
        "index = Index(Store.open(Path(sys.argv[1]), embedder_hash=None, ndim=None),"
        " NumpyVectors(NDIM, graph_from=20))\n"
        "atexit.register(lambda: print(len(index.refresh())))"
    )
    command = [sys.executable, "-c", code, tmp_path / "profile.db"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("3000\n", "")


def test_another_stores_changes_are_noticed(open_store, put, search, embedder) -> None:
    other = open_store()
    among = Index(other, NumpyVectors(NDIM))
    assert search("boat", among=among) == []
    put(Record("boat", id="1"))
    assert search("boat", among=among) == ["1"]
    other.delete(["1"])
    assert search("boat") == []


def test_a_record_deleted_between_ranking_and_reading_is_left_out(
    store, put, search, monkeypatch
) -> None:
    put(Record("boat one", id="1"), Record("boat two", id="2"))
    by_row = store.by_row

    def delete_first(rows):
        store.delete(["1"])
        return by_row(rows)

    monkeypatch.setattr(store, "by_row", delete_first)
    assert search("boat", k=1) == ["2"]


# The graph


class Gated(NumpyVectors):
    """Links nothing before it may."""

    def __init__(self, ndim: int, *, graph_from: int) -> None:
        super().__init__(ndim, graph_from=graph_from)
        self.reached, self.gate = threading.Event(), threading.Event()

    def link(self, count: int) -> int:
        if count and len(self) >= self.graph_from:
            self.reached.set()
            assert self.gate.wait(60)
        return super().link(count)


@pytest.fixture
def linked(store):
    """Indexes of the store that link from 20 rows on; close them at the end."""
    opened = []

    def linked_(make=NumpyVectors) -> tuple[Index, NumpyVectors]:
        vectors = make(NDIM, graph_from=20)
        opened.append(Index(store, vectors))
        return opened[-1], vectors

    yield linked_
    for index in opened:
        index.close()


def notes(count: int, first: int = 0) -> list[Record]:
    return [Record(f"note {i} of many", id=f"{i}") for i in range(first, first + count)]


def test_below_the_switch_nothing_is_linked_and_no_thread_started(put, search, linked) -> None:
    put(*notes(19))
    index, vectors = linked()
    assert "3" in search("note 3", k=19, among=index)
    assert vectors.linked == 0
    assert not [t for t in threading.enumerate() if t.name == "edgepersona-linker"]


def test_vectors_are_linked_and_the_next_index_takes_the_links_over(
    store, put, search, linked
) -> None:
    put(*notes(50))
    index, vectors = linked()
    first = search("note 3", among=index)
    index.join()
    assert vectors.linked == 50
    assert store.load_graph().ids.tolist() == store.rows().tolist()
    again, others = linked()
    assert search("note 3", among=again) == first
    again.join()
    assert others.linked == 0
    for mine, theirs in zip(vectors.graph(), others.graph(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_rows_newer_than_the_graph_are_linked_and_older_ones_not_again(
    store, put, search, linked, embedder
) -> None:
    put(*notes(50))
    index, _ = linked()
    search("note", among=index)
    index.join()
    index.close()
    put(*notes(5, first=50))
    store.update(Record("submarine", id="7"), embedder.encode(["submarine"])[0])
    store.delete(["9"])
    again, vectors = linked()
    assert search("submarine", among=again)[0] == "7"
    again.join()
    assert vectors.linked == 6
    assert len(vectors.graph()[0]) == store.count() == 54
    assert store.load_graph().emptied == 0  # so many new ones are worth saving


def test_a_search_does_not_wait_for_the_linking(put, search, linked) -> None:
    put(*notes(30))
    index, vectors = linked(Gated)
    assert "3" in search("note 3", k=30, among=index)
    assert vectors.reached.wait(60)
    put(*notes(1, first=30))
    assert "30" in search("note 30", k=31, among=index)
    vectors.gate.set()
    index.join()
    assert len(vectors.graph()[0]) == 31


def test_a_delete_while_linking_leaves_nothing_of_the_record(store, put, search, linked) -> None:
    put(*notes(30))
    index, vectors = linked(Gated)
    search("note 3", among=index)
    assert vectors.reached.wait(60)
    store.delete(["3", "4"])
    index.refresh()
    vectors.gate.set()
    index.join()
    assert len(vectors) == 28
    assert store.load_graph().ids.tolist() == store.rows().tolist() == vectors.ids().tolist()


def test_a_record_deleted_elsewhere_while_a_graph_is_saved_is_not_in_it(
    open_store, store, put, search, linked, monkeypatch
) -> None:
    put(*notes(30))
    other = open_store(busy_timeout_s=60.0)
    index, vectors = linked()
    graph, calls = vectors.graph, []

    def and_delete():
        copy = graph()
        if not calls:
            calls.append(other.delete(["3"]))
        return copy

    monkeypatch.setattr(vectors, "graph", and_delete)
    search("note 3", among=index)
    index.join()
    assert calls == [1]
    assert store.load_graph().ids.tolist() == store.rows().tolist()
    assert len(vectors) == 29


def test_closing_while_linking_ends_it_and_the_next_index_goes_on(
    store, put, search, linked
) -> None:
    put(*notes(60))
    index, vectors = linked(Gated)
    search("note 3", among=index)
    assert vectors.reached.wait(60)
    closing = [threading.Thread(target=index.close) for _ in range(3)]
    for thread in closing:
        thread.start()
    vectors.gate.set()
    for thread in closing:
        thread.join()
    index.close()
    assert vectors.linked < 60
    with pytest.raises(ProfileError, match="was closed"):
        search("note", among=index)
    index.join()
    again, others = linked()
    search("note 3", among=again)
    again.join()
    assert others.linked + len(others.graph()[0]) >= 60
    assert store.load_graph().ids.tolist() == store.rows().tolist()


def test_a_closed_index_lets_go_of_its_vectors(store, put, embedder) -> None:
    put(*notes(40))
    vectors = NumpyVectors(NDIM, graph_from=20)
    index = Index(store, vectors)
    index.search("note", embedder.encode(["note"])[0], 3)
    index.join()
    left = weakref.ref(vectors)
    del vectors
    assert left() is not None
    index.close()
    assert left() is None


def test_a_damaged_graph_is_linked_anew(store, put, search, linked) -> None:
    put(*notes(50))
    index, _ = linked()
    search("note", among=index)
    index.join()
    store._full_text._database.execute("UPDATE graph SET checksum = checksum + 1")
    again, vectors = linked()
    assert "3" in search("note 3", k=50, among=again)
    again.join()
    assert vectors.linked == 50
    assert len(store.load_graph().ids) == 50


def test_a_graph_that_the_vectors_refuse_is_linked_anew(store, put, search, linked, caplog) -> None:
    put(*notes(50))
    links = np.zeros((50, 4), np.uint32)
    assert store.save_graph(Graph(store.rows(), links, 5, store.generation))
    index, vectors = linked()
    search("note", among=index)
    index.join()
    assert "made anew" in caplog.text
    assert vectors.linked == 50
    assert store.load_graph().search_width == 64


def test_a_full_disk_keeps_the_graph_out_and_the_search_going(
    store, put, search, linked, caplog, monkeypatch
) -> None:
    def full(graph: Graph) -> bool:
        raise ProfileError("the disk is full")

    put(*notes(50))
    monkeypatch.setattr(store, "save_graph", full)
    index, vectors = linked()
    assert "3" in search("note 3", k=50, among=index)
    index.join()
    assert vectors.linked == 50
    assert "was not saved: the disk is full" in caplog.text
    assert "3" in search("note 3", k=50, among=index)


# Native


def test_the_native_vectors_rank_as_the_stand_in_does(store, put, search, embedder) -> None:
    native = pytest.importorskip("edgepersona._native").VectorIndex(NDIM)
    among = Index(store, native)
    for turn in range(3):
        put(*[Record(f"tea boat {i % 7} dawn {i}", id=f"{turn}.{i}") for i in range(60)])
        store.delete([f"{turn}.{i}" for i in range(0, 60, 3)])
        store.update(Record(f"submarine {turn}", id=f"{turn}.1"), embedder.encode(["dive"])[0])
        for query in ("boat 3", "dawn", "dive", "nothing known"):
            assert search(query, among=among) == search(query)
        assert len(native) == store.count()

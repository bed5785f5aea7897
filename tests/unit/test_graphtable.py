"""The graph of a profile: kept as it was, emptied of what goes, dropped where it does not fit."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import apsw
import numpy as np
import pytest

from edgepersona.errors import InputError, ProfileError
from edgepersona.graphtable import CHUNK, NO_NODE, Graph, GraphTable
from edgepersona.records import Record
from tests.standins import NDIM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepersona.store import Store

WIDTH = 6


def fill(store: Store, count: int) -> None:
    vectors = np.eye(NDIM, dtype=np.float32)[np.arange(count) % NDIM]
    store.add([Record(f"text {i}", id=f"{i}") for i in range(count)], vectors)


def graph_of(store: Store, width: int = WIDTH) -> Graph:
    """A graph over all records, its links at random, some of them missing."""
    ids = store.rows()
    random = np.random.default_rng(5)
    links = random.integers(0, len(ids), (len(ids), width), dtype=np.uint32)
    links[random.random(links.shape) < 0.2] = NO_NODE
    return Graph(ids, links, 80, store.generation)


def named(graph: Graph) -> dict[int, list[int]]:
    """Return each row's neighbours, by their rows."""
    return {
        row: [int(graph.ids[n]) for n in neighbours if n != NO_NODE]
        for row, neighbours in zip(graph.ids.tolist(), graph.links, strict=True)
    }


def without(links: dict[int, list[int]], gone: set[int]) -> dict[int, list[int]]:
    return {
        row: [other for other in near if other not in gone]
        for row, near in links.items()
        if row not in gone
    }


def stored(store: Store) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Return ids and links as they lie in the file."""
    sql = "SELECT ids, links FROM graph ORDER BY node"
    found = store._full_text._database.execute(sql).fetchall()
    ids = np.frombuffer(b"".join(ids for ids, _ in found), "<i8")
    return ids, np.frombuffer(b"".join(links for _, links in found), "<u4").reshape(len(ids), -1)


def loose_links(store: Store) -> int:
    """Count the links in the file that lead to an empty node."""
    ids, links = stored(store)
    return int(np.isin(links, np.flatnonzero(ids == 0)).sum())


@pytest.mark.parametrize("count", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
@pytest.mark.parametrize("key", [None, "k"])
def test_a_graph_comes_back_as_it_was(open_store, count, key) -> None:
    store = open_store(key=key)
    fill(store, count)
    assert store.load_graph() is None
    graph = graph_of(store)
    assert store.save_graph(graph)
    store.close()
    loaded = open_store(key=key).load_graph()
    np.testing.assert_array_equal(loaded.ids, graph.ids)
    np.testing.assert_array_equal(loaded.links, graph.links)
    assert (loaded.search_width, loaded.generation, loaded.emptied) == (80, 1, 0)


def test_a_graph_replaces_the_one_before_whole(store) -> None:
    fill(store, 3 * CHUNK)
    assert store.save_graph(graph_of(store))
    store.delete([f"{i}" for i in range(2 * CHUNK)])
    smaller = graph_of(store, width=2)
    assert store.save_graph(smaller)
    assert named(store.load_graph()) == named(smaller)
    nothing = Graph(np.empty(0, np.int64), np.empty((0, 2), np.uint32), 80, store.generation)
    assert store.save_graph(nothing)
    assert store.load_graph() is None


def test_a_graph_of_another_generation_is_not_kept(open_store) -> None:
    store, other = open_store(), open_store()
    fill(store, 10)
    graph = graph_of(store)
    other.delete(["3"])
    assert not store.save_graph(graph)
    assert store.load_graph() is None


def test_what_is_no_graph_is_refused_and_the_old_one_stays(store) -> None:
    fill(store, 4)
    graph = graph_of(store)
    assert store.save_graph(graph)
    for ids in ([1, 2, 3], [0, 1, 2, 3], [1, 2, 2, 3], [4, 3, 2, 1]):
        with pytest.raises(InputError, match="a graph of"):
            store.save_graph(Graph(np.array(ids), graph.links, 80, store.generation))
    assert named(store.load_graph()) == named(graph)


@pytest.mark.parametrize(
    "rows",
    [
        [1],
        [CHUNK],
        [CHUNK + 1],
        [2 * CHUNK + 5, 2, 700, 1],
        range(CHUNK + 1, 2 * CHUNK + 1),
        range(1, 2 * CHUNK + 9, 2),
    ],
)
def test_deleting_leaves_no_node_and_no_link_to_it(store, rows) -> None:
    fill(store, 2 * CHUNK + 9)
    graph = graph_of(store)
    assert store.save_graph(graph)
    store.add([Record("newer than the graph", id="new")], np.ones((1, NDIM), np.float32))
    store.delete(["new"])
    assert store.delete([f"{row - 1}" for row in rows]) == len(rows)
    ids, links = stored(store)
    assert (links[ids == 0] == NO_NODE).all()
    assert loose_links(store) == 0
    loaded = store.load_graph()
    assert loaded.emptied == len(rows)
    assert named(loaded) == without(named(graph), set(rows))


def test_a_changed_record_is_unlinked_and_links_to_it_go_in_time(open_store, embedder) -> None:
    store = open_store()
    fill(store, CHUNK + 200)
    graph = graph_of(store)
    assert store.save_graph(graph)
    store.update(Record("another", id="7"), embedder.encode(["another"])[0])
    assert (stored(store)[0] == 0).sum() == 1
    assert loose_links(store) > 0
    assert named(store.load_graph()) == without(named(graph), {8})
    store.close()
    store = open_store()
    assert loose_links(store) == 0
    for i in range(65):  # one of them has no node any more
        store.update(Record("yet another", id=f"{i}"), embedder.encode(["another"])[0])
    assert loose_links(store) == 0
    assert named(store.load_graph()) == without(named(graph), set(range(1, 66)))


def test_links_to_a_changed_record_go_at_the_next_opening_after_a_kill(
    open_store, embedder
) -> None:
    store = open_store()
    fill(store, 300)
    assert store.save_graph(graph_of(store))
    store.update(Record("another", id="7"), embedder.encode(["another"])[0])
    assert loose_links(store) > 0
    assert loose_links(open_store()) == 0


def test_a_row_that_is_used_again_is_not_taken_for_the_old_one(store) -> None:
    fill(store, 20)
    assert store.save_graph(graph_of(store))
    store.delete(["19"])
    store.add([Record("new", id="new")], np.ones((1, NDIM), np.float32))
    assert store.rows()[-1] == 20
    assert 20 not in named(store.load_graph())


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE graph SET ids = zeroblob(length(ids)) WHERE node = 0",
        "UPDATE graph SET links = zeroblob(length(links)) WHERE node > 0",
        "UPDATE graph SET checksum = checksum + 1",
        "UPDATE graph SET links = zeroblob(3)",
        "UPDATE graph SET ids = x''",
        "UPDATE graph SET search_width = 1",
        "UPDATE graph SET generation = 9 WHERE node = 0",
        "UPDATE graph SET node = node + 1",
        "UPDATE graph SET nodes = -1",
        "UPDATE graph SET nodes = 9223372036854775807",
        "DELETE FROM graph WHERE node = 0",
        "DELETE FROM graph WHERE node > 0",
        "UPDATE graph SET first = -first",
    ],
)
def test_a_damaged_graph_is_as_none_and_stands_in_no_ones_way(store, tmp_path, damage) -> None:
    fill(store, CHUNK + 20)
    graph = graph_of(store)
    assert store.save_graph(graph)
    other = apsw.Connection(str(tmp_path / "profile.db"))
    other.execute(damage)
    other.close()
    assert store.load_graph() is None
    assert store.delete(["3", f"{CHUNK + 1}"]) == 2
    assert store.integrity_check() == ()
    assert store.save_graph(graph_of(store))
    assert len(named(store.load_graph())) == CHUNK + 18


def test_a_graph_over_the_rows_of_two_is_whole_or_none(store, tmp_path) -> None:
    """Chunks of the right checksums that are not of one graph are none."""
    fill(store, CHUNK + 20)
    assert store.save_graph(graph_of(store))
    path = str(tmp_path / "profile.db")
    other = apsw.Connection(path)
    kept = other.execute("SELECT * FROM graph WHERE node = 0").fetchall()
    store.add([Record("x", id="x")], np.ones((1, NDIM), np.float32))
    assert store.save_graph(graph_of(store))
    other.execute("DELETE FROM graph WHERE node = 0")
    other.executemany("INSERT INTO graph VALUES (?, ?, ?, ?, ?, ?, ?, ?)", kept)
    other.close()
    assert store.load_graph() is None


def test_a_closed_store_keeps_no_graph(store) -> None:
    fill(store, 3)
    graph = graph_of(store)
    store.close()
    with pytest.raises(ProfileError, match="was closed"):
        store.save_graph(graph)


def test_another_thread_may_search_while_a_graph_is_saved(store, monkeypatch) -> None:
    fill(store, 600)
    seen = []
    drop = GraphTable.drop

    def and_read(table) -> None:
        drop(table)
        reader = threading.Thread(target=lambda: seen.append(store.match("text", 5).found))
        reader.start()
        reader.join()

    monkeypatch.setattr(GraphTable, "drop", and_read)
    assert store.save_graph(graph_of(store))
    assert len(seen[0]) == 5

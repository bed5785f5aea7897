"""The graph of a profile: how its vectors are linked, kept so that opening does not link again.

All of it is derived. What does not fit is dropped and linked anew; it is never an error.
"""

# ruff: noqa: S608  (what is put into a statement is a constant of this file)

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgepersona.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import apsw
    from numpy.typing import NDArray

CHUNK = 512
"""Nodes of a chunk: forgetting a record rewrites the one that its node is in."""

NO_NODE = 0xFFFFFFFF
EMPTY = 0  # no record's row

_COLUMNS = "first, node, nodes, generation, search_width, checksum, ids, links"


@dataclass(frozen=True, slots=True)
class Graph:
    """Links between vectors. Nodes are numbered from 0, by ascending row."""

    ids: NDArray[np.int64]
    """The row of each node's record, (n,)."""
    links: NDArray[np.uint32]
    """The numbers of each node's neighbours, (n, width), filled up with ``NO_NODE``."""
    search_width: int
    generation: int
    """The profile's, when the graph was saved."""
    emptied: int = 0
    """How many nodes were left out because their records were changed or removed since."""


class GraphTable:
    """The table of one connection, whose owner sees to transactions and locking."""

    def __init__(self, database: apsw.Connection) -> None:
        self._database = database

    def save(self, graph: Graph) -> None:
        """Put ``graph`` in the place of the one that is there."""
        ids, links = graph.ids, graph.links
        if len(ids) != len(links) or (len(ids) and (ids[0] < 1 or (np.diff(ids) < 1).any())):
            raise InputError(f"a graph of {len(ids)} rows that do not ascend, {len(links)} nodes")
        self.drop()
        self._database.executemany(
            f"INSERT INTO graph ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                _Chunk(
                    int(ids[node]),
                    node,
                    len(ids),
                    graph.generation,
                    graph.search_width,
                    0,
                    ids[node : node + CHUNK].astype("<i8").tobytes(),
                    links[node : node + CHUNK].astype("<u4").tobytes(),
                ).sealed()
                for node in range(0, len(ids), CHUNK)
            ),
        )

    def drop(self) -> None:
        """Remove the graph that is there, if any."""
        self._database.execute("DELETE FROM graph")
        self._set_loose(0)

    def load(self) -> Graph | None:
        """Return the graph without its empty nodes; None where there is none that is whole."""
        try:
            return _assembled(self._select("ORDER BY node"))
        except _Unfit:
            return None

    def empty(self, rows: Iterable[int]) -> None:
        """Empty the nodes of these rows; ``sweep`` then takes out the links to them."""
        gone = np.unique(np.fromiter(rows, dtype=np.int64))
        emptied = 0
        try:
            while len(gone):
                first = int(gone[0])
                sql = "SELECT min(first) FROM graph WHERE first > ?"
                following = self._database.execute(sql, (first,)).get
                end = len(gone) if following is None else int(np.searchsorted(gone, following))
                for chunk in self._select("WHERE first <= ? ORDER BY first DESC LIMIT 1", first):
                    ids, links = chunk.arrays()
                    mine = np.isin(ids, gone[:end])
                    if mine.any():
                        ids[mine] = EMPTY
                        links[mine] = NO_NODE
                        self._rewrite(chunk, ids, links)
                        emptied += int(np.count_nonzero(mine))
                gone = gone[end:]
        except _Unfit:
            self.drop()
        else:
            if emptied:
                self._set_loose(self.loose() + emptied)

    def loose(self) -> int:
        """Return how many nodes were emptied since the last sweep."""
        value = self._database.execute("SELECT value FROM meta WHERE key = 'graph_loose'").get
        return int(value) if value is not None and value.isdecimal() else 0

    def sweep(self) -> None:
        """Take out all links to empty nodes: they tell where a record was that is gone."""
        try:
            empty = self._empty_nodes()
            sql = "SELECT first, links FROM graph"
            loose = [
                first
                for first, links in self._database.execute(sql)
                if _named(_array(links, "<u4"), empty).any()
            ]
            for first in loose:
                for chunk in self._select("WHERE first = ?", first):
                    ids, links = chunk.arrays()
                    links[_named(links, empty)] = NO_NODE
                    self._rewrite(chunk, ids, links)
        except _Unfit:
            self.drop()
        else:
            self._set_loose(0)

    def _empty_nodes(self) -> NDArray[np.bool_]:
        """Return for every number of a node whether it is empty; the last is for ``NO_NODE``."""
        found = self._database.execute("SELECT node, ids FROM graph ORDER BY node").fetchall()
        parts = [(node, _array(ids, "<i8") == EMPTY) for node, ids in found]
        if any(node != CHUNK * i for i, (node, _) in enumerate(parts)):
            raise _Unfit
        return np.concatenate([*(part for _, part in parts), [False]])

    def _rewrite(self, chunk: _Chunk, ids: NDArray[np.int64], links: NDArray[np.uint32]) -> None:
        new = chunk._replace(ids=ids.tobytes(), links=links.tobytes()).sealed()
        self._database.execute(
            "UPDATE graph SET checksum = ?, ids = ?, links = ? WHERE first = ?",
            (new.checksum, new.ids, new.links, new.first),
        )

    def _select(self, clause: str, *values: int) -> Iterator[_Chunk]:
        for found in self._database.execute(f"SELECT {_COLUMNS} FROM graph {clause}", values):
            yield _Chunk(*found)

    def _set_loose(self, count: int) -> None:
        if count != self.loose():
            self._database.execute(
                "INSERT OR REPLACE INTO meta VALUES ('graph_loose', ?)", (str(count),)
            )


class _Unfit(Exception):  # noqa: N818  (never leaves this file)
    """What is stored is no graph."""


class _Chunk(NamedTuple):
    first: int
    node: int
    nodes: int
    generation: int
    search_width: int
    checksum: int
    ids: bytes
    links: bytes

    def sealed(self) -> _Chunk:
        return self._replace(checksum=self.sum())

    def sum(self) -> int:
        head = np.array(self[:5], dtype="<i8").tobytes()
        return zlib.crc32(self.links, zlib.crc32(self.ids, zlib.crc32(head)))

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """Return copies of ids (n,) and links (n, width), checked against the checksum."""
        ids, links = _array(self.ids, "<i8"), _array(self.links, "<u4")
        if any(type(value) is not int for value in self[:6]) or self.sum() != self.checksum:
            raise _Unfit
        if not 0 < len(ids) <= CHUNK or len(links) % len(ids):
            raise _Unfit
        return ids.copy(), links.reshape(len(ids), -1).copy()


def _array(data: object, dtype: str) -> NDArray[Any]:
    if type(data) is not bytes or len(data) % np.dtype(dtype).itemsize:
        raise _Unfit
    return np.frombuffer(data, dtype=dtype)


def _named(links: NDArray[np.uint32], numbers: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which links name one of ``numbers``; what is none of them is like the last."""
    return numbers[np.minimum(links, len(numbers) - 1)]


def _assembled(chunks: Iterator[_Chunk]) -> Graph | None:
    head: _Chunk | None = None
    parts: list[tuple[NDArray[np.int64], NDArray[np.uint32]]] = []
    nodes = 0
    for chunk in chunks:
        head = head or chunk
        ids, links = chunk.arrays()
        if (chunk.node, *chunk[2:5]) != (nodes, *head[2:5]):
            raise _Unfit
        if parts and links.shape[1] != parts[0][1].shape[1]:
            raise _Unfit
        parts.append((ids, links))
        nodes += len(ids)
    if head is None:
        return None
    if nodes != head.nodes:
        raise _Unfit
    all_ids, all_links = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return _without_empty(all_ids, all_links, head)


def _without_empty(ids: NDArray[np.int64], links: NDArray[np.uint32], head: _Chunk) -> Graph:
    """Return the graph without its empty nodes, the others numbered anew."""
    kept = ids != EMPTY
    emptied = len(ids) - int(np.count_nonzero(kept))
    if emptied:
        numbers = np.full(len(ids) + 1, NO_NODE, dtype=np.uint32)
        numbers[:-1][kept] = np.arange(len(ids) - emptied, dtype=np.uint32)
        ids, links = ids[kept], numbers[np.minimum(links[kept], len(ids))]
    if len(ids) and (ids[0] < 1 or (np.diff(ids) < 1).any()):
        raise _Unfit
    return Graph(ids, links, head.search_width, head.generation, emptied)

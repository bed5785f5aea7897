"""The store: a profile's records and what belongs to them, changed together or not at all."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from edgepersona import newest, tokentable, vectortable
from edgepersona.connection import Connection
from edgepersona.errors import InputError, ProfileError
from edgepersona.fulltext import FullText
from edgepersona.graphtable import GraphTable
from edgepersona.headtable import HeadTable
from edgepersona.metatable import WEIGHT_KEYS, MetaTable
from edgepersona.records import AddResult, Filter, Record
from edgepersona.recordtable import RecordTable, select_rows
from edgepersona.removals import Removals
from edgepersona.tokentable import TokenTable
from edgepersona.vectortable import VectorTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import apsw
    from numpy.typing import NDArray

    from edgepersona.fulltext import Matches
    from edgepersona.graphtable import Graph
    from edgepersona.newest import Entries
    from edgepersona.tokentable import Field, Untokenized

_ALL = Filter()
_PAGE = 256
_LOOSE = 64


class Store:
    """One profile's file. Every method may be called from any thread.

    A change is on disk, synced, when the method that made it returns; a method that raises has
    changed nothing. Other processes may read and write the same file: ``generation`` moves with
    every change of a record.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "profile.db"
    >>> store = Store.open(path, embedder_hash="5f", ndim=2)
    >>> record = Record("Tea at four", id="n1")
    >>> store.add([record], np.array([[0.6, 0.8]], dtype=np.float32)).new
    1
    >>> store.get(["n1"])[0].text
    'Tea at four'
    >>> store.close()
    """

    def __init__(self, connection: Connection) -> None:
        self.path = connection.path
        self._connection = connection
        self._removals = Removals()
        self._counted = (-1, 0)  # a generation, and how many records it has
        with connection.reading() as database:
            self._meta = MetaTable(database, self.path)
            self._records = RecordTable(database, self.path)
            self._vectors = VectorTable(database)
            self._tokens = TokenTable(database)
            self._graph = GraphTable(database)
            self._heads = HeadTable(database)
            self._full_text = FullText(database)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        key: str | None = None,
        embedder_hash: str | None,
        ndim: int | None,
        create: bool = True,
        busy_timeout_s: float = 5.0,
    ) -> Store:
        """Open the profile at ``path``, encrypted where ``key`` is given.

        ``embedder_hash`` and ``ndim`` None open an existing profile whatever its embedder, to
        list, export or check it. Raises ProfileError that says what is wrong with the file.
        """
        create = create and embedder_hash is not None
        connection = Connection(path, key=key, create=create, busy_timeout_s=busy_timeout_s)
        try:
            store = cls(connection)
            if embedder_hash is not None:
                store._match_embedder(embedder_hash, ndim)
            store._try_to_sweep()
            connection.try_to_scrub()
        except BaseException:
            connection.close()
            raise
        return store

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        try:
            self._try_to_sweep()
        finally:
            self._connection.close()

    # Changes

    def add(self, records: Sequence[Record], vectors: NDArray[np.float32]) -> AddResult:
        """Store ``records`` (checked, with ids) and their ``vectors``, float32 (n, ndim).

        A record that is there already stays as it is. Raises InputError where an id is taken by
        other content.
        """
        data = vectortable.encoded(vectors, len(records), self.ndim)
        generation = -1
        with self._connection.writing("add"):
            fresh = self._records.fresh(records)
            if fresh:
                generation = self._advance()
                chosen = [records[i] for i in fresh]
                rows = self._records.insert(chosen, generation)
                self._vectors.insert(rows, [data[i] for i in fresh])
                self._full_text.add(zip(rows, chosen, strict=True))
        if fresh:
            self._changed(generation, more=len(fresh))
        return AddResult(tuple(record.id for record in records), len(fresh))

    def update(self, record: Record, vector: NDArray[np.float32]) -> None:
        """Put ``record`` in the place of the stored one with its id; InputError if none is."""
        data = vectortable.encoded(vector.reshape(1, -1), 1, self.ndim)[0]
        with self._connection.writing("update"):
            found = self._records.find(record.id)
            if found is None:
                raise InputError(f"no record has the id {record.id!r}: add it")
            row, old = found
            if old == record:
                return
            generation = self._advance()
            self._meta.drop_weights()
            self._full_text.remove(row, old)
            self._records.replace(row, record, generation)
            self._vectors.replace(row, data)
            self._tokens.remove(row)
            self._full_text.add([(row, record)])
            self._full_text.forget([old])
            self._graph.empty([row])
            # A sweep reads all of the graph: many updates, one by one, must not each do that.
            if self._graph.loose() >= _LOOSE:
                self._graph.sweep()
            self._connection.soil()
        self._changed(generation, gone=(row,))
        self._connection.scrub()

    def delete(self, ids: Sequence[str]) -> int:
        """Remove the records with these ids, and every trace of them; say how many there were.

        Their bytes are overwritten in the file, and the journal is emptied.
        """
        generation = -1
        with self._connection.writing("delete") as database:
            deleted = dict(filter(None, map(self._records.find, ids)))
            if deleted:
                left = self._count(database) - len(deleted)
                for row in deleted:
                    self._vectors.remove(row)
                    self._tokens.remove(row)
                    self._records.remove(row)
                generation = self._advance()
                self._meta.drop_weights()
                self._full_text.take_out(deleted, left)
                self._graph.empty(deleted)
                if self._graph.loose():
                    self._graph.sweep()
                self._connection.soil()
        if deleted:
            self._changed(generation, more=-len(deleted), gone=tuple(deleted))
        self._connection.scrub()
        return len(deleted)

    # Records

    def missing(self, records: Iterable[Record]) -> list[Record]:
        """Return those of ``records`` that ``add`` would store, each once."""
        records = list(records)
        with self._connection.reading():
            return [records[i] for i in self._records.fresh(records)]

    def get(self, ids: Sequence[str]) -> list[Record]:
        """Return the records with these ids, in this order; InputError names an unknown one."""
        records = []
        with self._connection.reading():
            for name in ids:
                found = self._records.find(name)
                if found is None:
                    raise InputError(f"no record has the id {name!r}")
                records.append(found[1])
        return records

    def by_row(self, rows: Iterable[int]) -> dict[int, Record]:
        """Return the records at ``rows``; one that was deleted meanwhile is left out."""
        with self._connection.reading():
            found = {row: self._records.at(row) for row in map(int, rows)}
        return {row: record for row, record in found.items() if record is not None}

    def records(
        self,
        filter: Filter = _ALL,  # noqa: A002
        *,
        newest_first: bool = True,
        limit: int | None = None,
    ) -> Iterator[Record]:
        """Yield the records that pass ``filter`` by date, those of one date as they were added.

        One that changes meanwhile may be seen in either state.
        """
        after = None
        left = -1 if limit is None else max(limit, 0)
        while left:
            size = _PAGE if left < 0 else min(_PAGE, left)
            with self._connection.reading():
                page = self._records.page(filter, size, newest_first=newest_first, after=after)
            for _, record in page:
                yield record
            if len(page) < size:
                return
            after = page[-1][0]
            left -= len(page) if left > 0 else 0

    def newest(self, limit: int) -> list[tuple[int, Record]]:
        """Return the rows and records of the latest dates, the newest first."""
        with self._connection.reading():
            page = self._records.page(_ALL, limit, newest_first=True, after=None)
        return [(place[1], record) for place, record in page]

    def count(self) -> int:
        """Return how many records there are."""
        with self._connection.reading() as database:
            return self._count(database)

    @property
    def generation(self) -> int:
        """A number that moves with every change of a record."""
        return int(self._own("generation"))

    @property
    def ndim(self) -> int:
        """Length of every vector."""
        return int(self._own("ndim"))

    @property
    def embedder_hash(self) -> str:
        """Hash of the embedder that made the vectors."""
        return self._own("embedder_hash")

    # Search

    def rows(self, filter: Filter = _ALL) -> NDArray[np.int64]:  # noqa: A002
        """Return the rows of the records that pass ``filter``, ascending."""
        with self._connection.reading():
            rows = np.array(self._records.rows(filter), dtype=np.int64)
        rows.sort()
        return rows

    def vectors(self, since: int = -1) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """Yield rows and their vectors in blocks: those changed after ``since``, a generation.

        All are read by row, and one that changes meanwhile comes in either state: read
        ``generation`` first, and go on from there.
        """
        ndim = self.ndim
        last = vectortable.start(since)
        while True:
            with self._connection.reading():
                page, last = self._vectors.page(last)
            if not page:
                return
            yield vectortable.decoded(page, ndim, self.path)

    def newest_rows(self, limit: int, *, titled: bool = False) -> list[tuple[int, int]]:
        """Return up to ``limit`` rows, the newest first, with the generation of each last change.

        Those of what others wrote are left out; ``titled``: those without a title too.
        """
        with self._connection.reading() as database:
            return newest.newest_rows(database, limit, titled=titled)

    def titled_vectors(self, rows: Iterable[int], *, titled: bool = False) -> Entries:
        """Return the titles and vectors at ``rows``; what is gone is left out.

        So are records that ``newest_rows`` would leave out.
        """
        ndim = self.ndim
        with self._connection.reading() as database:
            return newest.entries(database, rows, ndim, self.path, titled=titled)

    def gone(self, since: int, until: int) -> list[int] | None:
        """Return the rows removed or replaced after ``since`` up to ``until``, generations.

        None where that is not known, as where another process changed the profile: all rows
        have to be compared then.
        """
        return self._removals.between(since, until)

    def match(self, query: str, k: int, filter: Filter = _ALL) -> Matches:  # noqa: A002
        """Return up to ``k`` rows that have words of ``query``, with their BM25 scores.

        Any text is a valid query. A word of a title counts twice.
        """
        within, values = ("", ()) if filter == _ALL else select_rows(filter)
        with self._connection.reading() as database:
            records = self._count(database)
            return self._full_text.match(query, k, records, within=within, values=values)

    # What is derived from records

    def load_graph(self) -> Graph | None:
        """Return how the vectors are linked; None where that is not known, or not whole."""
        with self._connection.reading():
            return self._graph.load()

    def save_graph(self, graph: Graph) -> bool:
        """Keep ``graph`` if the profile has not changed since; say whether that was so.

        Reading and searching go on meanwhile.
        """
        with self._connection.beside("graph") as database:
            if MetaTable(database, self.path).get("generation") != str(graph.generation):
                return False
            GraphTable(database).save(graph)
        return True

    def untokenized(self, tokenizer_hash: str, since: int = -1) -> Iterator[list[Untokenized]]:
        """Yield blocks of records changed after ``since`` that this tokenizer has not read."""
        last = tokentable.start(since)
        while True:
            with self._connection.reading():
                page = self._tokens.missing(tokenizer_hash, last)
            if not page:
                return
            yield page
            last = (page[-1].added, page[-1].row)

    def put_tokens(
        self,
        tokenizer_hash: str,
        records: Iterable[tuple[Untokenized, Sequence[int], Sequence[int]]],
    ) -> None:
        """Keep the tokens of titles and texts; a record that changed meanwhile is passed over.

        A profile keeps those of one tokenizer: with another one all that are there go.
        """
        with self._connection.writing("change"):
            self._tokens.put(tokenizer_hash, records)

    def tokens(
        self, tokenizer_hash: str, field: Field, since: int = -1
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.int64]]]:
        """Yield rows, their tokens, and where those of each begin and end, in blocks.

        Those of records changed after ``since`` come in the order of their changes.
        """
        last = tokentable.start(since)
        while True:
            with self._connection.reading():
                page, last = self._tokens.page(tokenizer_hash, field, last)
            if not page:
                return
            yield tokentable.decoded(page)

    def load_head(self, key: bytes) -> bytes | None:
        """Return the state that is kept under ``key``; one that is damaged goes."""
        with self._connection.reading():
            state = self._heads.load(key)
            is_damaged = state is None and self._heads.has(key)
        if is_damaged:
            with self._connection.impatient(), self._connection.writing("change"):
                self._heads.remove(key)
        return state

    def touch_head(self, key: bytes) -> bool:
        """Note that the state under ``key`` was used; say whether there is one.

        Raises ProfileError at once where another process is writing; so does ``save_head``.
        """
        with self._connection.impatient(), self._connection.writing("change"):
            self._heads.touch(key)
            return self._heads.has(key)

    def save_head(self, key: bytes, state: bytes, generation: int) -> bool:
        """Keep a state under ``key`` if the profile is still at ``generation``; say whether it was.

        The next change of a record takes all of them away.
        """
        with self._connection.impatient(), self._connection.writing("change"):
            if self._meta.get("generation") != str(generation):
                return False
            self._heads.put(key, state)
        return True

    def load_weight(self, field: Field) -> str | None:
        """Return what was last kept of how much a field's n-grams weigh."""
        return self.meta_get(WEIGHT_KEYS[field])

    def save_weight(self, field: Field, value: str, generation: int) -> bool:
        """Keep ``value`` if the profile is still at ``generation``; say whether it was.

        It goes with the next record that is changed or removed. Raises ProfileError at once where
        another process is writing.
        """
        with self._connection.impatient(), self._connection.writing("change"):
            if self._meta.get("generation") != str(generation):
                return False
            self._meta.put(WEIGHT_KEYS[field], value)
        return True

    # State beside the records

    def meta_get(self, key: str) -> str | None:
        """Return what ``meta_set`` stored under ``key``, or None."""
        with self._connection.reading():
            return self._meta.get(key)

    def meta_set(self, key: str, value: str) -> None:
        """Store ``value`` under ``key``; the generation does not move."""
        with self._connection.writing("change"):
            self._meta.put(key, value)

    def integrity_check(self) -> tuple[str, ...]:
        """Read all of the file; return what is wrong with it, nothing where all is well."""
        problems = []
        counts = "SELECT (SELECT count(*) FROM record) - (SELECT count(*) FROM vector)"
        orphans = "SELECT count(*) FROM token WHERE row NOT IN (SELECT row FROM record)"
        try:
            with self._connection.reading() as database:
                found = database.execute("PRAGMA integrity_check(10)").fetchall()
                problems += [
                    line for (text,) in found if text != "ok" for line in str(text).split("\n")
                ]
                if database.execute(counts).get:
                    problems.append("records and vectors differ in number")
                if database.execute(orphans).get:
                    problems.append("there are tokens without their record")
            with self._connection.writing("check"):
                self._full_text.check()
        except ProfileError as error:
            problems.append(str(error))
        return tuple(problems)

    # Helpers

    def _advance(self) -> int:
        """Move the generation on, and drop what was made of the records as they were."""
        self._heads.drop()
        return self._meta.advance()

    def _match_embedder(self, embedder_hash: str, ndim: int | None) -> None:
        if not embedder_hash or ndim is None or ndim < 1:
            raise InputError(f"an embedder of {ndim} dimensions and hash {embedder_hash!r}")
        with self._connection.writing("change"):
            self._meta.found(embedder_hash, ndim)
        with self._connection.reading():
            self._meta.check_embedder(embedder_hash, ndim)

    def _try_to_sweep(self) -> None:
        """Sweep the graph if that takes no waiting; what stands in the way, others report."""
        with contextlib.suppress(ProfileError), self._connection.impatient():
            if self._graph.loose():
                with self._connection.writing("change"):
                    self._graph.sweep()

    def _own(self, key: str) -> str:
        with self._connection.reading():
            return self._meta.own(key)

    def _changed(self, generation: int, *, more: int = 0, gone: tuple[int, ...] = ()) -> None:
        """Note a change of this store's own, so that what follows need not read everything."""
        self._removals.note(generation, gone)
        known, count = self._counted
        if known == generation - 1:
            self._counted = (generation, count + more)

    def _count(self, database: apsw.Connection) -> int:
        """Return how many records there are; asked at every search, and SQLite counts them."""
        known, count = self._counted
        if self._meta.get("generation") != str(known):
            sql = (
                "SELECT (SELECT value FROM meta WHERE key = 'generation'),"
                " (SELECT count(*) FROM record)"
            )
            value, count = database.execute(sql).get
            if value is not None and value.isdecimal():
                self._counted = (int(value), count)
        return count

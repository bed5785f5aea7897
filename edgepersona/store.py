"""The store: a profile's records, vectors and full-text rows, changed together or not at all."""

# ruff: noqa: S608  (what is put into a statement is a constant of this file)

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np

from edgepersona.database import damaged, open_database, transaction, translated
from edgepersona.errors import InputError, ProfileError
from edgepersona.fulltext import FullText
from edgepersona.records import AddResult, Filter, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_ALL = Filter()
_BLOCK = 4096
_NOT_FINITE = 0x7C00  # the exponent of an infinity or a NaN in fp16
_LAST_ROW = (1 << 63) - 1
_PAGE = 256
_FIELDS = "id, text, title, date, source, kind"
_OWN_KEYS = ("embedder_hash", "ndim", "generation")


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

    def __init__(self, database: apsw.Connection, path: Path, busy_timeout_s: float) -> None:
        self.path = path
        self._busy_timeout_ms = round(busy_timeout_s * 1000)
        self._database: apsw.Connection | None = database
        self._lock = threading.RLock()
        self._unclean = True  # the journal may hold text that a killed process had deleted
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
        database = open_database(path, key=key, create=create, busy_timeout_s=busy_timeout_s)
        store = cls(database, path, busy_timeout_s)
        try:
            store._match_embedder(embedder_hash, ndim)
            store._try_to_scrub()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            database, self._database = self._database, None
            if database is not None:
                database.close(True)

    # Changes

    def add(self, records: Sequence[Record], vectors: NDArray[np.float32]) -> AddResult:
        """Store ``records`` (checked, with ids) and their ``vectors``, float32 (n, ndim).

        A record that is there already stays as it is. Raises InputError where an id is taken by
        other content.
        """
        data = self._as_blobs(vectors, len(records))
        with self._writing("add") as database:
            fresh = self._fresh(database, records)
            if fresh:
                chosen = [records[i] for i in fresh]
                rows = _insert(database, chosen, [data[i] for i in fresh], self._advance(database))
                self._full_text.add(zip(rows, chosen, strict=True))
        return AddResult(tuple(record.id for record in records), len(fresh))

    def update(self, record: Record, vector: NDArray[np.float32]) -> None:
        """Put ``record`` in the place of the stored one with its id; InputError if none is."""
        data = self._as_blobs(vector.reshape(1, -1), 1)[0]
        with self._writing("update") as database:
            found = self._find(database, record.id)
            if found is None:
                raise InputError(f"no record has the id {record.id!r}: add it")
            row, old = found
            if old == record:
                return
            self._full_text.remove(row, old)
            database.execute(
                "UPDATE record SET text = ?, title = ?, date = ?, source = ?, kind = ?, added = ?"
                " WHERE row = ?",
                (*_content(record), self._advance(database), row),
            )
            database.execute("UPDATE vector SET data = ? WHERE row = ?", (data, row))
            self._full_text.add([(row, record)])
            self._full_text.forget([old])
            self._unclean = True
        self._scrub()

    def delete(self, ids: Sequence[str]) -> int:
        """Remove the records with these ids, and every trace of them; say how many there were.

        Their bytes are overwritten in the file, and the journal is emptied.
        """
        deleted = []
        with self._writing("delete") as database:
            for name in ids:
                found = self._find(database, name)
                if found is not None:
                    row, old = found
                    self._full_text.remove(row, old)
                    database.execute("DELETE FROM vector WHERE row = ?", (row,))
                    database.execute("DELETE FROM record WHERE row = ?", (row,))
                    deleted.append(old)
            if deleted:
                self._advance(database)
                self._full_text.forget(deleted)
                self._unclean = True
        self._scrub()
        return len(deleted)

    # Records

    def missing(self, records: Iterable[Record]) -> list[Record]:
        """Return those of ``records`` that ``add`` would store, each once."""
        records = list(records)
        with self._reading() as database:
            return [records[i] for i in self._fresh(database, records)]

    def get(self, ids: Sequence[str]) -> list[Record]:
        """Return the records with these ids, in this order; InputError names an unknown one."""
        records = []
        with self._reading() as database:
            for name in ids:
                found = self._find(database, name)
                if found is None:
                    raise InputError(f"no record has the id {name!r}")
                records.append(found[1])
        return records

    def by_row(self, rows: Iterable[int]) -> dict[int, Record]:
        """Return the records at ``rows``; one that was deleted meanwhile is left out."""
        records = {}
        with self._reading() as database:
            for row in map(int, rows):
                found = database.execute(f"SELECT {_FIELDS} FROM record WHERE row = ?", (row,)).get
                if found is not None:
                    records[row] = self._as_record(found)
        return records

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
        where, values = _where(filter)
        order, before = ("DESC", "<") if newest_first else ("ASC", ">")
        sql = f"SELECT row, {_FIELDS} FROM record"
        after = f"(date, row) {before} (?, ?)"
        end = f"ORDER BY date {order}, row {order} LIMIT ?"
        last: tuple[Any, ...] = ()
        left = -1 if limit is None else max(limit, 0)
        while left:
            page = _PAGE if left < 0 else min(_PAGE, left)
            clause = " AND ".join([*where, *([after] if last else [])])
            clause = f"WHERE {clause}" if clause else ""
            with self._reading() as database:
                rows = database.execute(f"{sql} {clause} {end}", (*values, *last, page)).fetchall()
            for row in rows:
                yield self._as_record(row[1:])
            if len(rows) < page:
                return
            last = (rows[-1][4], rows[-1][0])
            left -= len(rows) if left > 0 else 0

    def count(self) -> int:
        """Return how many records there are."""
        with self._reading() as database:
            return int(database.execute("SELECT count(*) FROM record").get)

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
        where, values = _where(filter)
        clause = f"WHERE {' AND '.join(where)}" if where else ""
        with self._reading() as database:
            found = database.execute(f"SELECT row FROM record {clause}", values).fetchall()
        rows = np.array([row for (row,) in found], dtype=np.int64)
        rows.sort()
        return rows

    def vectors(self, since: int = -1) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """Yield rows and their vectors in blocks: those changed after ``since``, a generation."""
        ndim = self.ndim
        sql = (
            "SELECT record.added, record.row, vector.data FROM record CROSS JOIN vector"
            " ON vector.row = record.row WHERE (record.added, record.row) > (?, ?)"
            f" ORDER BY record.added, record.row LIMIT {_BLOCK}"
        )
        last: tuple[Any, ...] = (since, _LAST_ROW)
        while True:
            with self._reading() as database:
                block: list[tuple[Any, ...]] = database.execute(sql, last).fetchall()
            if not block:
                return
            if any(not isinstance(row[2], bytes) or len(row[2]) != 2 * ndim for row in block):
                raise damaged(self.path, f"a vector that has not {ndim} numbers")
            data = np.frombuffer(b"".join(row[2] for row in block), dtype="<f2")
            if ((data.view("<u2") & _NOT_FINITE) == _NOT_FINITE).any():
                raise damaged(self.path, "a vector with a number that is none")
            yield (
                np.array([row[1] for row in block], dtype=np.int64),
                data.astype(np.float16, copy=False).reshape(-1, ndim),
            )
            last = (block[-1][0], block[-1][1])

    def match(
        self,
        query: str,
        k: int,
        filter: Filter = _ALL,  # noqa: A002
    ) -> list[tuple[int, float]]:
        """Return up to ``k`` (row, BM25 score) for the words of ``query``, best first.

        Any text is a valid query. A word of a title counts twice.
        """
        where, values = _where(filter)
        within = f"SELECT row FROM record WHERE {' AND '.join(where)}" if where else ""
        with self._reading():
            return self._full_text.match(query, k, within=within, values=values)

    def query_weight(self, query: str) -> float:
        """Return about the BM25 score that a record with every word of ``query`` would have."""
        with self._reading():
            return self._full_text.weight(query)

    # State beside the records

    def meta_get(self, key: str) -> str | None:
        """Return what ``meta_set`` stored under ``key``, or None."""
        with self._reading() as database:
            value: str | None = database.execute("SELECT value FROM meta WHERE key = ?", (key,)).get
        return value

    def meta_set(self, key: str, value: str) -> None:
        """Store ``value`` under ``key``; the generation does not move."""
        if key in _OWN_KEYS:
            raise InputError(f"{key!r} is the store's own: choose another key")
        with self._writing("change") as database:
            database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def integrity_check(self) -> tuple[str, ...]:
        """Read all of the file; return what is wrong with it, nothing where all is well."""
        problems = []
        counts = "SELECT (SELECT count(*) FROM record) - (SELECT count(*) FROM vector)"
        try:
            with self._reading() as database:
                found = database.execute("PRAGMA integrity_check(10)").fetchall()
                problems += [
                    line for (text,) in found if text != "ok" for line in str(text).split("\n")
                ]
                if database.execute(counts).get:
                    problems.append("records and vectors differ in number")
            with self._writing("check"):
                self._full_text.check()
        except ProfileError as error:
            problems.append(str(error))
        return tuple(problems)

    # Helpers

    @contextlib.contextmanager
    def _reading(self, state: str = "") -> Iterator[apsw.Connection]:
        with self._lock, translated(self.path, state=state):
            if self._database is None:
                raise ProfileError(f"{self.path}: this profile was closed: open it again")
            if self._database.in_transaction:  # an interrupt hit before it could be rolled back
                self._database.execute("ROLLBACK")
            yield self._database

    @contextlib.contextmanager
    def _writing(self, what: str) -> Iterator[apsw.Connection]:
        with self._reading(f"nothing of this {what} was stored") as database:
            if self._unclean:
                self._try_to_scrub()
            with transaction(database):
                yield database

    def _scrub(self) -> None:
        """Empty the journal of text that was deleted; a reader elsewhere puts it off."""
        with self._reading("the change is stored, and its old text not yet out of the journal") as (
            database
        ):
            try:
                database.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                self._unclean = False
            except (apsw.BusyError, apsw.LockedError):
                pass  # the next change, or closing, tries again

    def _try_to_scrub(self) -> None:
        """Empty the journal if that takes no waiting; what stands in the way, others report."""
        with self._reading() as database:
            database.set_busy_timeout(0)
            try:
                self._scrub()
            except ProfileError:
                pass
            finally:
                database.set_busy_timeout(self._busy_timeout_ms)

    def _match_embedder(self, embedder_hash: str | None, ndim: int | None) -> None:
        """Note the embedder in a new profile; refuse an old one that another embedder made."""
        if embedder_hash is None:
            return
        if not embedder_hash or ndim is None or ndim < 1:
            raise InputError(f"an embedder of {ndim} dimensions and hash {embedder_hash!r}")
        with self._writing("change") as database:
            values = (("embedder_hash", embedder_hash), ("ndim", str(ndim)), ("generation", "0"))
            if not database.execute("SELECT count(*) FROM meta").get:
                database.executemany("INSERT INTO meta VALUES (?, ?)", values)
        if (self.embedder_hash, self.ndim) != (embedder_hash, ndim):
            raise ProfileError(
                f"{self.path}: made with embedder {self.embedder_hash[:12]} of {self.ndim}"
                f" dimensions, this bundle has {embedder_hash[:12]} of {ndim}: open it with that"
                " bundle, or export its records and import them into a new profile"
            )

    def _own(self, key: str) -> str:
        value = self.meta_get(key)
        if value is None or (key != "embedder_hash" and not value.isdecimal()):
            raise damaged(self.path, f"its {key} is {value!r}")
        return value

    def _advance(self, database: apsw.Connection) -> int:
        sql = "UPDATE meta SET value = value + 1 WHERE key = 'generation' RETURNING value"
        value = database.execute(sql).get
        if value is None:
            raise damaged(self.path, "it has no generation")
        return int(value)

    def _as_blobs(self, vectors: NDArray[np.float32], count: int) -> list[bytes]:
        ndim = self.ndim
        with np.errstate(over="ignore"):
            halves = vectors.astype("<f2")
        if halves.shape != (count, ndim) or not np.isfinite(halves).all():
            raise InputError(
                f"vectors of shape {vectors.shape}, expected {(count, ndim)} finite numbers"
            )
        return [row.tobytes() for row in halves]

    def _find(self, database: apsw.Connection, name: str) -> tuple[int, Record] | None:
        """Return the row and the record with the id ``name``."""
        if not isinstance(name, str):
            raise InputError(f"an id is {type(name).__name__}, expected str")
        sql = f"SELECT row, {_FIELDS} FROM record WHERE id = ?"
        try:
            found = database.execute(sql, (name,)).get
        except UnicodeEncodeError:  # no stored id holds a lone surrogate
            return None
        return None if found is None else (found[0], self._as_record(found[1:]))

    def _fresh(self, database: apsw.Connection, records: Sequence[Record]) -> list[int]:
        """Return the positions of the records that are not there yet, each id once."""
        seen: dict[str, Record] = {}
        fresh = []
        for i, record in enumerate(records):
            known = seen.get(record.id)
            if known is None:
                found = self._find(database, record.id)
                if found is None:
                    fresh.append(i)
                known = record if found is None else found[1]
                seen[record.id] = known
            if known != record:
                raise InputError(
                    f"the id {record.id!r} is taken by a record of other content:"
                    " change that one with update(), or choose another id"
                )
        return fresh

    def _as_record(self, values: Sequence[Any]) -> Record:
        if any(type(value) is not str for value in values):
            raise damaged(self.path, "a record's field is no text")
        name, text, title, date, source, kind = values
        return Record(text, title, date, source, kind, name)


def _insert(
    database: apsw.Connection, records: Sequence[Record], data: Sequence[bytes], generation: int
) -> range:
    """Store new records and their vectors; return their rows."""
    first = 1 + (database.execute("SELECT max(row) FROM record").get or 0)
    rows = range(first, first + len(records))
    database.executemany(
        "INSERT INTO record (row, id, text, title, date, source, kind, added)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (row, record.id, *_content(record), generation)
            for row, record in zip(rows, records, strict=True)
        ),
    )
    database.executemany(
        "INSERT INTO vector (row, data) VALUES (?, ?)", zip(rows, data, strict=True)
    )
    return rows


def _content(record: Record) -> tuple[str, str, str, str, str]:
    return (record.text, record.title, record.date, record.source, record.kind)


def _where(filter: Filter) -> tuple[list[str], tuple[str, ...]]:  # noqa: A002
    """Return the conditions of ``filter`` and their values.

    Dates are compared as far as both are known: 2024-05 reaches to its last day, and a record
    of 2024 passes where it may lie inside.
    """
    date = "replace(date, ' ', 'T')"
    since, until = (value.replace(" ", "T") for value in (filter.since, filter.until))
    conditions = (
        ("source = ?", (filter.source,)),
        ("kind = ?", (filter.kind,)),
        (f"date <> '' AND {date} >= substr(?, 1, length(date))", (since,)),
        (f"date <> '' AND substr({date}, 1, length(?)) <= ?", (until, until)),
    )
    chosen = [(condition, values) for condition, values in conditions if values[0]]
    return [condition for condition, _ in chosen], tuple(v for _, values in chosen for v in values)

"""The records of a profile: how they are kept, found again, and filtered."""

# ruff: noqa: S608  (what is put into a statement is a constant of this file)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepersona.database import damaged
from edgepersona.errors import InputError
from edgepersona.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import apsw

    from edgepersona.records import Filter

_FIELDS = "id, text, title, date, source, kind"


class RecordTable:
    """The table of one connection, whose owner sees to transactions and locking."""

    def __init__(self, database: apsw.Connection, path: Path) -> None:
        self._database = database
        self._path = path

    def insert(self, records: Sequence[Record], generation: int) -> range:
        """Store new records; return their rows."""
        first = 1 + (self._database.execute("SELECT max(row) FROM record").get or 0)
        rows = range(first, first + len(records))
        self._database.executemany(
            "INSERT INTO record (row, id, text, title, date, source, kind, added)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (row, record.id, *_content(record), generation)
                for row, record in zip(rows, records, strict=True)
            ),
        )
        return rows

    def replace(self, row: int, record: Record, generation: int) -> None:
        """Put the content of ``record`` in the place of what is at ``row``."""
        self._database.execute(
            "UPDATE record SET text = ?, title = ?, date = ?, source = ?, kind = ?, added = ?"
            " WHERE row = ?",
            (*_content(record), generation, row),
        )

    def remove(self, row: int) -> None:
        """Take out the record at ``row``."""
        self._database.execute("DELETE FROM record WHERE row = ?", (row,))

    def find(self, name: str) -> tuple[int, Record] | None:
        """Return the row and the record with the id ``name``."""
        if not isinstance(name, str):
            raise InputError(f"an id is {type(name).__name__}, expected str")
        sql = f"SELECT row, {_FIELDS} FROM record WHERE id = ?"
        try:
            found = self._database.execute(sql, (name,)).get
        except UnicodeEncodeError:  # no stored id holds a lone surrogate
            return None
        return None if found is None else (found[0], self._as_record(found[1:]))

    def fresh(self, records: Sequence[Record]) -> list[int]:
        """Return the positions of the records that are not there yet, each id once."""
        seen: dict[str, Record] = {}
        fresh = []
        for i, record in enumerate(records):
            known = seen.get(record.id)
            if known is None:
                found = self.find(record.id)
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

    def at(self, row: int) -> Record | None:
        """Return the record at ``row``, or None."""
        found = self._database.execute(f"SELECT {_FIELDS} FROM record WHERE row = ?", (row,)).get
        return None if found is None else self._as_record(found)

    def page(
        self,
        filter: Filter,  # noqa: A002
        limit: int,
        *,
        newest_first: bool,
        after: tuple[str, int] | None,
    ) -> list[tuple[tuple[str, int], Record]]:
        """Return records by date, and the places of each, from the one behind ``after`` on."""
        conditions, values = restriction(filter)
        # The + keeps SQLite to the index that has the order: a page must not sort all matches.
        clauses = [f"+{condition}" for condition in conditions]
        order, before = ("DESC", "<") if newest_first else ("ASC", ">")
        if after is not None:
            clauses.append(f"(date, row) {before} (?, ?)")
            values = (*values, *after)
        found: list[tuple[Any, ...]] = self._database.execute(
            f"SELECT row, {_FIELDS} FROM record {_where(clauses)}"
            f" ORDER BY date {order}, row {order} LIMIT ?",
            (*values, limit),
        ).fetchall()
        return [((row[4], row[0]), self._as_record(row[1:])) for row in found]

    def rows(self, filter: Filter) -> list[int]:  # noqa: A002
        """Return the rows of the records that pass ``filter``, in any order."""
        found: list[tuple[Any, ...]] = self._database.execute(*select_rows(filter)).fetchall()
        return [row for (row,) in found]

    def _as_record(self, values: Sequence[Any]) -> Record:
        if any(type(value) is not str for value in values):
            raise damaged(self._path, "a record's field is no text")
        name, text, title, date, source, kind = values
        return Record(text, title, date, source, kind, name)


def restriction(filter: Filter) -> tuple[list[str], tuple[Any, ...]]:  # noqa: A002
    """Return the conditions of ``filter``, in SQL, and their values.

    Dates are compared as far as both are known: 2024-05 reaches to its last day, and a record
    of 2024 passes where it may lie inside.
    """
    date = "replace(date, ' ', 'T')"
    since, until = (value.replace(" ", "T") for value in (filter.since, filter.until))
    conditions = (
        ("source = ?", (filter.source,)),
        ("kind = ?", (filter.kind,)),
        (f"(date <> '' AND {date} >= substr(?, 1, length(date)))", (since,)),
        (f"(date <> '' AND substr({date}, 1, length(?)) <= ?)", (until, until)),
    )
    chosen = [(condition, values) for condition, values in conditions if values[0]]
    return [condition for condition, _ in chosen], tuple(v for _, values in chosen for v in values)


def select_rows(filter: Filter) -> tuple[str, tuple[Any, ...]]:  # noqa: A002
    """Return the statement that selects the rows which pass ``filter``, and its values."""
    conditions, values = restriction(filter)
    return f"SELECT row FROM record {_where(conditions)}", values


def _where(conditions: Sequence[str]) -> str:
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def _content(record: Record) -> tuple[str, str, str, str, str]:
    return (record.text, record.title, record.date, record.source, record.kind)

"""The full-text index of a profile: finds records by their words, and forgets words entirely."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw

from edgepersona.database import TOKENIZER

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from edgepersona.records import Record

_MAX_TERMS = 64
_REBUILD = 50


class Matches(NamedTuple):
    """What the words of a query found."""

    found: list[tuple[int, float]]
    """Rows and their BM25 scores, best first."""
    weight: float
    """About the score that a record with every word of the query would have."""


class FullText:
    """The FTS5 table of one connection, whose owner sees to transactions and locking."""

    def __init__(self, database: apsw.Connection) -> None:
        database.execute("CREATE VIRTUAL TABLE temp.term USING fts5vocab (main, record_fts, row)")
        self._database = database
        self._tokenize = database.fts5_tokenizer(TOKENIZER[0], list(TOKENIZER[1:]))

    def add(self, rows: Iterable[tuple[int, Record]]) -> None:
        """Take in the words of records that are new at their rows."""
        self._database.executemany(
            "INSERT INTO record_fts (rowid, title, text) VALUES (?, ?, ?)",
            ((row, record.title, record.text) for row, record in rows),
        )

    def remove(self, row: int, old: Record) -> None:
        """Take a record out; FTS5 needs the very text that it was given."""
        self._database.execute(
            "INSERT INTO record_fts (record_fts, rowid, title, text) VALUES ('delete', ?, ?, ?)",
            (row, old.title, old.text),
        )

    def take_out(self, removed: Mapping[int, Record], left: int) -> None:
        """Take out the records that were ``removed`` from their table; ``left`` are still there.

        FTS5 takes one record's words out about as fast as it takes in fifty records.
        """
        if _REBUILD * len(removed) > left:
            self._rebuild()
            return
        for row, old in removed.items():
            self.remove(row, old)
        self.forget(removed.values())

    def forget(self, removed: Collection[Record]) -> None:
        """Rebuild the index where it still spells a word that is gone with ``removed``.

        FTS5 takes the words of a deleted row out of its pages, but what separates the pages is
        the beginning of a word, and stays.
        """
        sql = "SELECT CAST(term AS BLOB) FROM record_fts_idx"
        found: list[tuple[Any, ...]] = self._database.execute(sql).fetchall()
        separators = {term[1:] for (term,) in found}  # the first byte names the index
        words = {
            word.encode() for old in removed for word in self._words(f"{old.title} {old.text}")
        }
        starts = {word[:n] for word in words for n in range(1, len(word) + 1)} & separators
        sql = "SELECT CAST(term AS BLOB) FROM temp.term WHERE term >= CAST(? AS TEXT) LIMIT 1"
        for start in starts:
            living: Any = self._database.execute(sql, (start,)).get
            if living is None or not living.startswith(start):
                self._rebuild()
                return

    def match(
        self, query: str, k: int, records: int, *, within: str = "", values: Sequence[Any] = ()
    ) -> Matches:
        """Return up to ``k`` rows that have words of ``query``, of ``records`` in all.

        ``within`` is a statement that selects the rows to choose from, with its ``values``. A
        word of a title counts twice.
        """
        counts = self._counts(query)
        terms = _telling(counts, records)
        if not terms or k < 1:
            return Matches([], _weight(counts, records))
        # The + keeps SQLite from asking the full-text index about one row after the other.
        sql = (
            "SELECT rowid, -bm25(record_fts, 2.0, 1.0) AS score FROM record_fts"  # noqa: S608
            f" WHERE record_fts MATCH ? {f'AND +rowid IN ({within})' if within else ''}"
            " ORDER BY score DESC, rowid LIMIT ?"
        )
        expression = " OR ".join(f'"{term}"' for term in terms)
        found: list[tuple[Any, ...]] = self._database.execute(
            sql, (expression, *values, k)
        ).fetchall()
        return Matches([(row, score) for row, score in found], _weight(counts, records))

    def check(self) -> None:
        """Compare the index with the records; raises apsw.CorruptError where they differ."""
        self._database.execute(
            "INSERT INTO record_fts (record_fts, rank) VALUES ('integrity-check', 1)"
        )

    def _rebuild(self) -> None:
        self._database.execute("INSERT INTO record_fts (record_fts) VALUES ('rebuild')")

    def _words(self, text: str) -> list[str]:
        """Return the words of ``text`` as the index has them, each once."""
        words: Any = self._tokenize(
            text.encode(errors="replace"),
            apsw.FTS5_TOKENIZE_DOCUMENT,
            None,
            include_offsets=False,
            include_colocated=False,
        )
        return list(dict.fromkeys(words))

    def _counts(self, query: str) -> dict[str, int]:
        """Return in how many records each word of ``query`` stands."""
        sql = "SELECT doc FROM temp.term WHERE term = ?"
        return {word: self._database.execute(sql, (word,)).get or 0 for word in self._words(query)}


def _telling(counts: dict[str, int], records: int) -> list[str]:
    """Return the words that tell records apart, the rarest first."""
    present = sorted((word for word in counts if counts[word]), key=counts.__getitem__)
    # BM25 gives nothing to a word that half of the records have, and reading it is slow.
    telling = [word for word in present if 2 * counts[word] <= records]
    return (telling or present)[:_MAX_TERMS]


def _weight(counts: dict[str, int], records: int) -> float:
    """Return about the BM25 score of a record that has each of the words once.

    A word that no record has weighs the most: a match of the others then says little.
    """
    return sum(max(0.0, math.log((records - n + 0.5) / (n + 0.5))) for n in counts.values())

"""The tokens of a profile: what its records are to the generator's tokenizer."""

# ruff: noqa: S608  (what is put into a statement is a constant of this file)

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from edgepersona.records import READ_KIND

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import apsw
    from numpy.typing import NDArray

Field = Literal["title", "text"]

_BLOCK = 1024
_LAST_ROW = (1 << 63) - 1
_TOKEN_BYTES = 4
_HASH = "(SELECT value FROM meta WHERE key = 'tokenizer_hash')"
# What is not whole counts as missing, and is made anew: it is derived.
_WHOLE = (
    "typeof(token.title) = 'blob' AND typeof(token.text) = 'blob'"
    f" AND length(token.title) % {_TOKEN_BYTES} = 0 AND length(token.text) % {_TOKEN_BYTES} = 0"
)


class Untokenized(NamedTuple):
    """A record without tokens, as it was at its generation ``added``."""

    added: int
    row: int
    title: str
    text: str


class TokenTable:
    """The table of one connection, whose owner sees to transactions and locking."""

    def __init__(self, database: apsw.Connection) -> None:
        self._database = database

    def missing(self, tokenizer_hash: str, last: tuple[int, int]) -> list[Untokenized]:
        """Return the next records behind ``last``, (added, row), that have no tokens."""
        found: list[tuple[Any, ...]] = self._database.execute(
            "SELECT added, row, title, text FROM record WHERE (added, row) > (?, ?) AND NOT"
            f" ({_HASH} IS ? AND EXISTS (SELECT 1 FROM token WHERE token.row = record.row"
            f" AND {_WHOLE})) ORDER BY added, row LIMIT {_BLOCK}",
            (*last, tokenizer_hash),
        ).fetchall()
        return [Untokenized(*row) for row in found]

    def put(
        self,
        tokenizer_hash: str,
        records: Iterable[tuple[Untokenized, Sequence[int], Sequence[int]]],
    ) -> None:
        """Store the tokens of titles and texts; those of another tokenizer go.

        A record that changed meanwhile is passed over.
        """
        if self._database.execute(f"SELECT {_HASH}").get != tokenizer_hash:
            self._database.execute("DELETE FROM token")
            self._database.execute(
                "INSERT OR REPLACE INTO meta VALUES ('tokenizer_hash', ?)", (tokenizer_hash,)
            )
        self._database.executemany(
            "INSERT OR REPLACE INTO token (row, title, text)"
            " SELECT row, ?, ? FROM record WHERE row = ? AND added = ?",
            (
                (_encoded(title), _encoded(text), record.row, record.added)
                for record, title, text in records
            ),
        )

    def remove(self, row: int) -> None:
        """Take out the tokens of the record at ``row``."""
        self._database.execute("DELETE FROM token WHERE row = ?", (row,))

    def page(
        self, tokenizer_hash: str, field: Field, last: tuple[int, int]
    ) -> tuple[list[tuple[int, bytes]], tuple[int, int]]:
        """Return the next (row, tokens) behind ``last``, (added, row), and where they end.

        A record of the kind that others wrote has none.
        """
        column = {"title": "title", "text": "text"}[field]
        found: list[tuple[Any, ...]] = self._database.execute(
            f"SELECT record.row, iif(record.kind = ?, x'', token.{column}), record.added"
            " FROM record CROSS JOIN token ON token.row = record.row"
            f" WHERE (record.added, record.row) > (?, ?) AND {_HASH} IS ? AND {_WHOLE}"
            f" ORDER BY record.added, record.row LIMIT {_BLOCK}",
            (READ_KIND, *last, tokenizer_hash),
        ).fetchall()
        return [row[:2] for row in found], (found[-1][2], found[-1][0]) if found else last


def start(since: int) -> tuple[int, int]:
    """Return where the pages of what changed after ``since``, a generation, begin."""
    return (since, _LAST_ROW)


def decoded(
    page: Sequence[tuple[int, bytes]],
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.int64]]:
    """Return rows, all their tokens, and where those of each row begin and end, int64 (n + 1,)."""
    rows, blobs = zip(*page, strict=True)
    offsets = np.zeros(len(page) + 1, dtype=np.int64)
    np.cumsum([len(blob) // _TOKEN_BYTES for blob in blobs], out=offsets[1:])
    tokens = np.frombuffer(b"".join(blobs), dtype="<u4").astype(np.uint32, copy=False)
    return np.array(rows, dtype=np.int64), tokens, offsets


def _encoded(tokens: Sequence[int]) -> bytes:
    return np.array(tokens, dtype="<u4").tobytes()

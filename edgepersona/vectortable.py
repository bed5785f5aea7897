"""The vectors of a profile: half-precision numbers, a row a record."""

# ruff: noqa: S608  (what is put into a statement is a constant of this file)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgepersona.database import damaged
from edgepersona.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import apsw
    from numpy.typing import NDArray

_BLOCK = 512  # some 0.4 MB: joining and checking stay inside the processor's cache
_NOT_FINITE = 0x7C00  # the exponent of an infinity or a NaN in fp16
_LAST_ROW = (1 << 63) - 1
_ALL = f"SELECT row, data FROM vector WHERE row > ? ORDER BY row LIMIT {_BLOCK}"
_CHANGED = (
    "SELECT record.row, vector.data, record.added FROM record CROSS JOIN vector"
    " ON vector.row = record.row WHERE (record.added, record.row) > (?, ?)"
    f" ORDER BY record.added, record.row LIMIT {_BLOCK}"
)


class VectorTable:
    """The table of one connection, whose owner sees to transactions and locking."""

    def __init__(self, database: apsw.Connection) -> None:
        self._database = database

    def insert(self, rows: Iterable[int], data: Iterable[bytes]) -> None:
        """Store vectors, as ``encoded`` gives them, at new rows."""
        self._database.executemany(
            "INSERT INTO vector (row, data) VALUES (?, ?)", zip(rows, data, strict=True)
        )

    def replace(self, row: int, data: bytes) -> None:
        """Put another vector at ``row``."""
        self._database.execute("UPDATE vector SET data = ? WHERE row = ?", (data, row))

    def remove(self, row: int) -> None:
        """Take out the vector at ``row``."""
        self._database.execute("DELETE FROM vector WHERE row = ?", (row,))

    def page(self, last: tuple[int, ...]) -> tuple[list[tuple[Any, ...]], tuple[int, ...]]:
        """Return the next (row, data, …), and where the page after it begins; see ``start``."""
        found: list[tuple[Any, ...]] = self._database.execute(
            _ALL if len(last) == 1 else _CHANGED, last
        ).fetchall()
        return found, (*found[-1][2:], found[-1][0]) if found else last


def start(since: int) -> tuple[int, ...]:
    """Return where the pages begin: of all vectors by row, or of those changed after ``since``.

    All are read without their records, which takes a third of the time off.
    """
    return (-_LAST_ROW - 1,) if since < 0 else (since, _LAST_ROW)


def encoded(vectors: NDArray[np.float32], count: int, ndim: int) -> list[bytes]:
    """Return ``vectors``, float32 (count, ndim), as they are stored; InputError if they cannot."""
    with np.errstate(over="ignore"):
        halves = vectors.astype("<f2")
    if halves.shape != (count, ndim) or not np.isfinite(halves).all():
        raise InputError(
            f"vectors of shape {vectors.shape}, expected {(count, ndim)} finite numbers"
        )
    return [row.tobytes() for row in halves]


def decoded(
    page: list[tuple[Any, ...]], ndim: int, path: Path
) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
    """Return the rows and vectors of a page; ProfileError where one is damaged."""
    rows, blobs = list(zip(*page, strict=True))[:2]
    if set(map(type, blobs)) != {bytes} or set(map(len, blobs)) != {2 * ndim}:
        raise damaged(path, f"a vector that has not {ndim} numbers")
    data = np.frombuffer(b"".join(blobs), dtype="<f2")
    if ((data.view("<u2") & _NOT_FINITE) == _NOT_FINITE).any():
        raise damaged(path, "a vector with a number that is none")
    vectors = data.astype(np.float16, copy=False).reshape(-1, ndim)
    return np.array(rows, dtype=np.int64), vectors

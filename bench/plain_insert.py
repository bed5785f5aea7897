"""What an application without a profile would do: a row of text and vector in SQLite, synced."""

from __future__ import annotations

import itertools
from pathlib import Path

import apsw
import numpy as np
from numpy.typing import NDArray

from bench.vectors.peer import blocks


class PlainInsert:
    """A table in WAL mode with ``synchronous = FULL``; the vector in sqlite-vec's, if asked."""

    def __init__(self, file: Path, rows: NDArray[np.float32], *, vec: bool) -> None:
        self._database = apsw.Connection(str(file))
        self._vec = vec
        self._numbers = itertools.count(1)
        ndim = rows.shape[1]
        for setting in ("journal_mode = WAL", "synchronous = FULL"):
            self._database.execute(f"PRAGMA {setting}").fetchall()
        if vec:
            import sqlite_vec

            self._database.enable_load_extension(True)
            self._database.load_extension(sqlite_vec.loadable_path())
            self._database.execute(f"CREATE VIRTUAL TABLE near USING vec0(data float[{ndim}])")
        self._database.execute("CREATE TABLE record (row INTEGER PRIMARY KEY, text, data BLOB)")
        for _, block in blocks(rows):
            with self._database:
                for row in block:
                    self._insert("an invented text of some length", row.tobytes())

    def add(self, text: str, vector: NDArray[np.float32]) -> None:
        """Return when the row is on disk."""
        with self._database:
            self._insert(text, vector.tobytes())

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _insert(self, text: str, data: bytes) -> None:
        row = next(self._numbers)
        self._database.execute(
            "INSERT INTO record VALUES (?, ?, ?)", (row, text, None if self._vec else data)
        )
        if self._vec:
            self._database.execute("INSERT INTO near (rowid, data) VALUES (?, ?)", (row, data))

"""sqlite-vec: an exact scan in SQL, in float32, or in int8 or bits with exact rescoring."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import apsw
import numpy as np
import sqlite_vec
from numpy.typing import NDArray

from bench.vectors.peer import Ladder, Peer, Setting, blocks, steps

_COARSE = {
    "int8": ("int8[{ndim}]", "vec_quantize_int8(?2, 'unit')"),
    "bit": ("bit[{ndim}]", "vec_quantize_binary(?2)"),
}
_MOST = 4096  # sqlite-vec's own limit for k


class SqliteVec(Peer):
    """A ``vec0`` table in a file; unit vectors have the same order by L2 as by inner product."""

    version = version("sqlite-vec")
    removes = True

    def __init__(self, coarse: str = "") -> None:
        self._coarse = coarse
        self._candidates = 0

    def build(self, rows: NDArray[np.float32], threads: int) -> None:
        self._open(":memory:")
        ndim = rows.shape[1]
        columns, sql = f"exact float[{ndim}]", "INSERT INTO vectors (rowid, exact) VALUES (?1, ?2)"
        if self._coarse:
            column, value = _COARSE[self._coarse]
            columns += f", coarse {column.format(ndim=ndim)}"
            sql = f"INSERT INTO vectors (rowid, exact, coarse) VALUES (?1, ?2, {value})"
        self.index.execute(f"CREATE VIRTUAL TABLE vectors USING vec0({columns})")
        with self.index:
            for start, block in blocks(rows):
                data = enumerate((row.tobytes() for row in block), start)
                self.index.executemany(sql, data)

    def save(self, file: Path) -> None:
        self.index.execute("VACUUM INTO ?", (str(file),))

    def load(self, file: Path, rows: NDArray[np.float32]) -> None:
        self._open(str(file))
        self.index.execute("PRAGMA mmap_size = 8000000000")

    def ladders(self, count: int) -> list[Ladder]:
        if not self._coarse:
            return [[{}]]
        return [[{"candidates": n} for n in steps(10, min(count, _MOST))]]

    def use(self, setting: Setting) -> None:
        self._candidates = int(setting.get("candidates", 0))

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        blob = query.tobytes()
        if not self._coarse:
            sql = "SELECT rowid FROM vectors WHERE exact MATCH ? AND k = ? ORDER BY distance"
            found = self.index.execute(sql, (blob, k))
        else:
            sql = (
                "WITH near AS (SELECT rowid, exact FROM vectors WHERE coarse MATCH"
                f" {_COARSE[self._coarse][1]} AND k = ?1)"
                " SELECT rowid FROM near ORDER BY vec_distance_L2(exact, ?2) LIMIT ?3"
            )
            found = self.index.execute(sql, (self._candidates, blob, k))
        return np.array([row for (row,) in found], np.int64)

    def remove(self, ids: NDArray[np.int64]) -> None:
        with self.index:
            self.index.executemany(
                "DELETE FROM vectors WHERE rowid = ?", ((int(row),) for row in ids)
            )

    def _open(self, name: str) -> None:
        self.index = apsw.Connection(name)
        self.index.enable_load_extension(True)
        self.index.load_extension(sqlite_vec.loadable_path())

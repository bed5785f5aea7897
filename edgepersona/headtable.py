"""The heads of a profile's prompts: what the generator made of them, so that it reads them once.

All of it is derived. What does not fit is dropped and made anew; it is never an error.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import apsw

MOST_BYTES = 16 << 20
"""What the states of all heads may take together."""


class HeadTable:
    """The table of one connection, whose owner sees to transactions and locking."""

    def __init__(self, database: apsw.Connection) -> None:
        self._database = database

    def load(self, key: bytes) -> bytes | None:
        """Return the state saved under ``key``; None where there is none that is whole."""
        sql = "SELECT checksum, state FROM head WHERE key = ?"
        found = self._database.execute(sql, (key,)).fetchone()
        if found is None or type(found[1]) is not bytes or found[0] != _sum(key, found[1]):
            return None
        state: bytes = found[1]
        return state

    def has(self, key: bytes) -> bool:
        """Say whether anything is saved under ``key``."""
        return bool(self._database.execute("SELECT count(*) FROM head WHERE key = ?", (key,)).get)

    def put(self, key: bytes, state: bytes) -> None:
        """Save ``state`` under ``key``; those not used for the longest give way."""
        if len(state) > MOST_BYTES:
            return
        self.remove(key)
        others: list[tuple[Any, ...]] = self._database.execute(
            "SELECT key, length(state) FROM head ORDER BY used DESC"
        ).fetchall()
        left = MOST_BYTES - len(state)
        for other, size_bytes in others:
            left -= size_bytes
            if left < 0:
                self.remove(other)
        self._database.execute(
            "INSERT INTO head (key, used, checksum, state)"
            " VALUES (?, (SELECT ifnull(max(used), 0) + 1 FROM head), ?, ?)",
            (key, _sum(key, state), state),
        )

    def touch(self, key: bytes) -> None:
        """Note that what is saved under ``key`` was used."""
        newest = "(SELECT max(used) FROM head)"
        self._database.execute(
            f"UPDATE head SET used = {newest} + 1 WHERE key = ? AND used < {newest}",  # noqa: S608
            (key,),
        )

    def remove(self, key: bytes) -> None:
        """Take out what is saved under ``key``."""
        self._database.execute("DELETE FROM head WHERE key = ?", (key,))

    def drop(self) -> None:
        """Take out all that is saved."""
        self._database.execute("DELETE FROM head")


def _sum(key: bytes, state: bytes) -> int:
    return zlib.crc32(state, zlib.crc32(key))

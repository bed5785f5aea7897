"""What a profile says of itself: its embedder, its generation, and what others keep beside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepersona.database import damaged
from edgepersona.errors import InputError, ProfileError

if TYPE_CHECKING:
    from pathlib import Path

    import apsw

WEIGHT_KEYS = {"title": "title_weight", "text": "text_weight"}
"""Where it is kept what the user's n-grams weigh, by the field they are of."""

_OWN_KEYS = ("embedder_hash", "ndim", "generation", "tokenizer_hash", "graph_loose")


class MetaTable:
    """The table of one connection, whose owner sees to transactions and locking."""

    def __init__(self, database: apsw.Connection, path: Path) -> None:
        self._database = database
        self._path = path

    def get(self, key: str) -> str | None:
        """Return what is kept under ``key``, or None."""
        sql = "SELECT value FROM meta WHERE key = ?"
        value: str | None = self._database.execute(sql, (key,)).get
        return value

    def put(self, key: str, value: str) -> None:
        """Keep ``value`` under ``key``; InputError where the key is the store's own."""
        if key in _OWN_KEYS:
            raise InputError(f"{key!r} is the store's own: choose another key")
        self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def drop_weights(self) -> None:
        """Take away what was fitted to records of which one goes."""
        marks = ", ".join("?" * len(WEIGHT_KEYS))
        sql = f"DELETE FROM meta WHERE key IN ({marks})"  # noqa: S608
        self._database.execute(sql, tuple(WEIGHT_KEYS.values()))

    def own(self, key: str) -> str:
        """Return one of the store's own values; ProfileError where it is none."""
        value = self.get(key)
        if value is None or (key != "embedder_hash" and not value.isdecimal()):
            raise damaged(self._path, f"its {key} is {value!r}")
        return value

    def advance(self) -> int:
        """Move the generation; return the new one."""
        sql = "UPDATE meta SET value = value + 1 WHERE key = 'generation' RETURNING value"
        value = self._database.execute(sql).get
        if value is None:
            raise damaged(self._path, "it has no generation")
        return int(value)

    def found(self, embedder_hash: str, ndim: int) -> None:
        """Note the embedder in a new profile; leave another one as it is."""
        values = (("embedder_hash", embedder_hash), ("ndim", str(ndim)), ("generation", "0"))
        if not self._database.execute("SELECT count(*) FROM meta").get:
            self._database.executemany("INSERT INTO meta VALUES (?, ?)", values)

    def check_embedder(self, embedder_hash: str, ndim: int) -> None:
        """Raise ProfileError where another embedder made the vectors."""
        theirs, their_ndim = self.own("embedder_hash"), int(self.own("ndim"))
        if (theirs, their_ndim) != (embedder_hash, ndim):
            raise ProfileError(
                f"{self._path}: made with embedder {theirs[:12]} of {their_ndim} dimensions, this"
                f" bundle has {embedder_hash[:12]} of {ndim}: open it with that bundle, or export"
                " its records and import them into a new profile"
            )

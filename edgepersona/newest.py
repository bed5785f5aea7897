"""The newest records of a profile, with their titles and vectors: what a persona is made of."""

# ruff: noqa: S608  (what is put into a statement is a constant of this file)

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgepersona import vectortable
from edgepersona.database import damaged
from edgepersona.records import READ_KIND

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import apsw
    from numpy.typing import NDArray

_LOOKED_AT = 8192
"""Among so many of the newest those are looked for that count. To read all of a long history of
chat for a few titles would take as long as an answer."""

_NEWEST = (
    f"SELECT row, added, title, kind FROM record ORDER BY date DESC, row DESC LIMIT {_LOOKED_AT}"
)
_OWN = "kind <> ? AND (title <> '' OR NOT ?)"
_WRITTEN = f"SELECT row, added FROM ({_NEWEST}) WHERE {_OWN} LIMIT ?"
_ENTRY = (
    "SELECT record.row, vector.data, record.added, record.title"
    f" FROM record JOIN vector ON vector.row = record.row WHERE record.row = ? AND {_OWN}"
)


class Entries(NamedTuple):
    """Records by row: the generation of each one's last change, its title, its vector."""

    rows: list[int]
    added: list[int]
    titles: list[str]
    vectors: NDArray[np.float16]


def newest_rows(database: apsw.Connection, limit: int, *, titled: bool) -> list[tuple[int, int]]:
    """Return rows of what the user wrote, the newest first, and when each was last changed.

    That is a generation. ``titled``: of records with a title only.
    """
    found: list[tuple[Any, ...]] = database.execute(_WRITTEN, (READ_KIND, titled, limit)).fetchall()
    return [(row, added) for row, added in found]


def entries(
    database: apsw.Connection, rows: Iterable[int], ndim: int, path: Path, *, titled: bool
) -> Entries:
    """Return what is kept of ``rows``, but for those that ``newest_rows`` would leave out."""
    page = [row for i in rows for row in database.execute(_ENTRY, (i, READ_KIND, titled))]
    if not page:
        return Entries([], [], [], np.empty((0, ndim), np.float16))
    found, vectors = vectortable.decoded(page, ndim, path)
    titles = [title for _, _, _, title in page]
    if not all(isinstance(title, str) for title in titles):
        raise damaged(path, "a record's field is no text")
    return Entries(found.tolist(), [added for _, _, added, _ in page], titles, vectors)

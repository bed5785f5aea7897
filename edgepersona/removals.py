"""Which rows were removed or changed here: spares a follower comparing all of them."""

from __future__ import annotations

import threading
from collections import deque

_KEPT = 4096


class Removals:
    """The newest changes of one store, in memory. May be used from any thread.

    Nothing depends on it being complete: a follower that is told None compares rows.
    """

    def __init__(self) -> None:
        self._changes: deque[tuple[int, tuple[int, ...]]] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def note(self, generation: int, rows: tuple[int, ...] = ()) -> None:
        """Note that the change which led to ``generation`` removed or replaced ``rows``."""
        with self._lock:
            self._changes.append((generation, rows))

    def between(self, since: int, until: int) -> list[int] | None:
        """Return what went after ``since`` up to ``until``; None where a change is not known.

        A row may be there again: what is there now has to be taken in afterwards.
        """
        with self._lock:
            known = [rows for generation, rows in self._changes if since < generation <= until]
        if len(known) != until - since:
            return None
        return sorted({row for rows in known for row in rows})

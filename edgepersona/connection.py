"""The connection under a store: locks, transactions, and a journal without deleted text."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import apsw

from edgepersona.database import open_database, transaction, translated
from edgepersona.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Connection:
    """One profile's file, opened. Every method may be called from any thread.

    One thing is done at a time. ``beside`` is the exception: it writes without holding up those
    who read.
    """

    def __init__(self, path: Path, *, key: str | None, create: bool, busy_timeout_s: float) -> None:
        self.path = path
        self._open: Callable[[], apsw.Connection] = lambda: open_database(
            path, key=key, create=False, busy_timeout_s=busy_timeout_s
        )
        self._busy_timeout_ms = round(busy_timeout_s * 1000)
        self._database: apsw.Connection | None = open_database(
            path, key=key, create=create, busy_timeout_s=busy_timeout_s
        )
        # Taken in this order, so nothing may be written inside of ``reading``. SQLite has one
        # writer at a time; who waits for it here is not sent away after a while, as by SQLite.
        self._changing = threading.RLock()
        self._using = threading.RLock()
        self._unclean = True  # the journal may hold text that a killed process had deleted

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._changing, self._using:
            database, self._database = self._database, None
            if database is not None:
                database.close(True)

    @contextlib.contextmanager
    def reading(self, state: str = "") -> Iterator[apsw.Connection]:
        """Hand out the database, outside of any transaction; ``state`` as for ``translated``."""
        with self._using, translated(self.path, state=state):
            database = self._opened()
            if database.in_transaction:  # an interrupt hit before it could be rolled back
                database.execute("ROLLBACK")
            yield database

    @contextlib.contextmanager
    def writing(self, what: str) -> Iterator[apsw.Connection]:
        """Hand out the database in a transaction; ``what`` names the change in an error."""
        state = f"nothing of this {what} was stored"
        with self._changing, self.reading(state) as database:
            if self._unclean:
                self.try_to_scrub()
            with transaction(database):
                yield database

    @contextlib.contextmanager
    def beside(self, what: str) -> Iterator[apsw.Connection]:
        """Hand out a second connection in a transaction; ``reading`` goes on meanwhile."""
        with self._changing:
            self._opened()
            state = f"nothing of this {what} was stored"
            with translated(self.path, state=state):
                database = self._open()
                try:
                    with transaction(database):
                        yield database
                finally:
                    database.close(True)

    def soil(self) -> None:
        """Note that the journal holds text which is deleted by the transaction under way."""
        self._unclean = True

    def scrub(self) -> None:
        """Empty the journal of text that was deleted; a reader elsewhere puts it off."""
        state = "the change is stored, and its old text not yet out of the journal"
        with self._changing, self.reading(state) as database:
            try:
                database.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                self._unclean = False
            except (apsw.BusyError, apsw.LockedError):
                pass  # the next change, or closing, tries again

    def try_to_scrub(self) -> None:
        """Empty the journal if that takes no waiting; what stands in the way, others report."""
        with self.impatient(), contextlib.suppress(ProfileError):
            self.scrub()

    @contextlib.contextmanager
    def impatient(self) -> Iterator[None]:
        """Do not wait for other processes inside the block."""
        with self._changing, self.reading() as database:
            before, self._busy_timeout_ms = self._busy_timeout_ms, 0
            database.set_busy_timeout(0)
            try:
                yield
            finally:
                self._busy_timeout_ms = before
                database.set_busy_timeout(before)

    def _opened(self) -> apsw.Connection:
        if self._database is None:
            raise ProfileError(f"{self.path}: this profile was closed: open it again")
        return self._database

"""The weigher: fits what the user's n-grams weigh, in a thread, between answers."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable

from edgepersona.errors import EdgePersonaError

_log = logging.getLogger(__name__)

Wanted = Callable[[], bool]


class Weigher:
    """A thread that is there between two answers. Any thread may call it.

    What it finds out is derived, and kept record by record: what fails or is cut short is done
    after another answer.
    """

    def __init__(self, fit: Callable[[Wanted], None]) -> None:
        """Take ``fit``, which asks what it is given, before each record, whether to go on."""
        self._fit = fit
        self._lock = threading.RLock()  # a signal's handler may close what it interrupts
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._closed = False

    def begin(self) -> None:
        """Go on with the fit; return at once."""
        with self._lock:
            if self._closed or (self._thread is not None and self._thread.is_alive()):
                return
            self._stop = threading.Event()
            # A daemon, stopped at exit: an interpreter that ends waits for one record, not for
            # all, and never finds the thread inside the native core.
            thread = threading.Thread(
                target=self._run, args=(self._stop,), name="edgepersona-weigher", daemon=True
            )
            atexit.register(self.close)  # before the thread can take it back
            try:
                thread.start()
            except RuntimeError as error:  # the interpreter is ending, or has too many threads
                atexit.unregister(self.close)
                _log.debug("n-grams are not weighed: %s", error)
            else:
                self._thread = thread

    def pause(self) -> None:
        """Stop after the record at hand, and do not wait for that: an answer begins."""
        self._stop.set()

    def join(self) -> None:
        """Wait until there is nothing left to do."""
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def close(self) -> None:
        """Stop after the record at hand, for good; a second call does no harm."""
        with self._lock:
            self._closed = True
        self.pause()
        self.join()

    def _run(self, stop: threading.Event) -> None:
        try:
            self._fit(lambda: not stop.is_set())
        except EdgePersonaError as error:
            _log.info("n-grams are weighed another time: %s", str(error))
        except Exception:
            _log.exception("weighing n-grams failed: they weigh what they did")
        finally:
            atexit.unregister(self.close)

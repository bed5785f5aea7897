"""The linker: links vectors into their graph in the background, and has the graph kept on disk."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from typing import TYPE_CHECKING, Protocol

from edgepersona.errors import EdgePersonaError, InputError

if TYPE_CHECKING:
    from edgepersona.graphtable import Graph

# Errors go there as text: a handler that keeps one would keep the vectors in its frames.
_log = logging.getLogger(__name__)

_SLICE_S = 0.03
"""About how long one call of ``link`` takes, and so about how long ``close`` waits."""

_WORTH = 64
"""A whole graph is saved when more than one node in so many is not in the saved one."""

_STAGE = 16384
"""A graph in the making is saved every so many nodes, and then every half of what it has."""

_TRIES = 3


class Work(Protocol):
    """What there is to do; all of it may raise EdgePersonaError."""

    def link(self, count: int) -> int:
        """Link up to ``count`` rows; return how many are left, 0 where there is no need."""

    def take_over(self) -> Graph | None:
        """Take the links on disk over; return them, or None where there are none."""

    def keep(self) -> Graph | None:
        """Save the links; return them, or None where the profile changed meanwhile."""


class Linker:
    """A thread that is there while there is something to link. Any thread may call it.

    The graph is derived from the profile: what fails is reported by ``logging``, costs time when
    the profile is next opened, and nothing else.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._lock = threading.RLock()  # a signal's handler may close what it interrupts
        self._thread: threading.Thread | None = None
        self._wanted = False
        self._stop = threading.Event()
        self._begun = False
        self._saved = 0  # nodes of the graph on disk
        self._unsaved = 0  # rows that came or went since
        self._tried = 0  # how many these were when saving last failed

    def start(self, changed: int) -> None:
        """Link what is to be linked, now that ``changed`` rows came or went; return at once."""
        with self._lock:
            self._unsaved += changed
            self._wanted = not self._stop.is_set()
            if self._thread is not None or not self._wanted:
                return
            if not (self._work.link(0) or (self._begun and self._due(0))):
                return
            # A daemon, stopped at exit: an interpreter that ends waits for one slice, not for
            # all, and never finds the thread inside the native core.
            thread = threading.Thread(target=self._run, name="edgepersona-linker", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the interpreter is ending, or has too many threads
                _log.debug("vectors are not linked: %s", error)
            else:
                self._thread = thread
                atexit.register(self.close)

    def join(self) -> None:
        """Wait until there is nothing left to do."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def close(self) -> None:
        """Stop after the slice or the saving under way; a second call does no harm."""
        self._stop.set()
        self.join()

    def _run(self) -> None:
        while self._is_wanted():
            try:
                if not self._begun:
                    self._begun = True
                    self._take_over()
                self._link()
            except Exception:
                _log.exception("linking vectors failed: searches go on without")

    def _is_wanted(self) -> bool:
        """Whether there is more to do; else the thread is given up, all at once."""
        with self._lock:
            wanted, self._wanted = self._wanted and not self._stop.is_set(), False
            if not wanted:
                self._thread = None
                atexit.unregister(self.close)
            return wanted

    def _take_over(self) -> None:
        try:
            graph = self._work.take_over()
        except InputError as error:
            _log.warning("the saved graph of vectors is damaged, and made anew: %s", str(error))
        except EdgePersonaError as error:
            _log.warning("the graph of vectors was not read, and is made anew: %s", str(error))
        else:
            if graph is not None:
                with self._lock:
                    self._saved = len(graph.ids)
                    self._unsaved = max(0, self._unsaved - self._saved) + graph.emptied

    def _link(self) -> None:
        count, left = 16, self._work.link(0)
        while left and not self._stop.is_set():
            started = time.perf_counter()
            left = self._work.link(count)
            took = max(time.perf_counter() - started, 1e-6)
            count = max(1, min(2 * count, 4096, round(count * _SLICE_S / took)))
            if left and self._due(left):
                self._keep(left)
        if not left and self._due(0) and not self._stop.is_set():
            self._keep(0)

    def _due(self, left: int) -> bool:
        """Whether saving is worth it: a graph is megabytes, and linking a few rows no time."""
        new = self._unsaved - self._tried
        if left:
            return new - left >= max(_STAGE, self._saved // 2)
        return new > self._saved // _WORTH

    def _keep(self, left: int) -> None:
        graph = None
        linked = self._unsaved - left
        try:
            for _ in range(_TRIES):
                graph = graph or self._work.keep()
        except EdgePersonaError as error:
            _log.warning("the graph of vectors was not saved: %s", str(error))
        with self._lock:
            if graph is None:
                self._tried = self._unsaved
            else:
                self._saved, self._tried = len(graph.ids), 0
                self._unsaved -= linked

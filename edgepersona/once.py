"""A value that is made once, when it is first asked for or in a thread before that."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Once(Generic[T]):
    """Hands out what ``make`` returns, always the same. May be used from any thread.

    Where ``make`` raises, who asked gets the error, and the next who asks has it tried again.

    >>> numbers = Once(lambda: [1, 2, 3])
    >>> numbers.get() is numbers.get()
    True
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: list[T] = []
        self._lock = threading.RLock()
        self._begun = threading.Lock()

    def get(self) -> T:
        """Return the value, made now where it is not there yet."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]

    def begin(self) -> None:
        """Have a thread make the value, where nothing has begun to; returns at once.

        An error is not raised here: who asks for the value gets it.
        """
        if self._made or not self._begun.acquire(blocking=False):
            return
        # No daemon: one that is inside of native code when the interpreter ends can crash it.
        thread = threading.Thread(target=self._try, name="edgepersona-loader")
        try:
            thread.start()
        except RuntimeError:  # no more threads: it is made when it is asked for
            self._begun.release()

    def _try(self) -> None:
        try:
            with contextlib.suppress(Exception):  # raised again, to whoever asks
                self.get()
        finally:
            self._begun.release()

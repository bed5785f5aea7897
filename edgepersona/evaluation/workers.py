"""Answer questions side by side: a thread for each generator, all of them into one journal."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import closing
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgepersona.evaluation.running import Case, Row, Run


def answer_all(
    runs: Sequence[Run], cases: Sequence[Case], wanted: Sequence[Row], told: Callable[[], None]
) -> None:
    """Have every case answered for all rows; ``told`` is called here after each answer.

    Where anything is raised, here or in a thread, the others end after the answer at hand.
    """
    work = _Work(deque(cases), wanted)
    threads = [
        threading.Thread(target=work.do, args=(run,), name=f"edgepersona-eval-{number}")
        for number, run in enumerate(runs)
    ]
    try:
        for thread in threads:
            thread.start()
        for _ in range(len(cases) * len(wanted)):
            if (error := work.done.get()) is not None:
                raise error
            told()
    finally:
        work.stop.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        while not work.done.empty():  # what was answered meanwhile is kept as well
            if work.done.get() is None:
                told()


class _Work:
    """What is left to do, for several threads."""

    def __init__(self, cases: deque[Case], wanted: Sequence[Row]) -> None:
        self.stop = threading.Event()
        self.done: SimpleQueue[BaseException | None] = SimpleQueue()
        self._cases = cases
        self._wanted = wanted

    def do(self, run: Run) -> None:
        try:
            while (case := self._next()) is not None:
                with closing(run.answer(case, self._wanted)) as answers:
                    for _ in answers:
                        self.done.put(None)
                        if self.stop.is_set():
                            return
        except BaseException as error:  # raised again by who waits
            self.done.put(error)

    def _next(self) -> Case | None:
        try:
            return None if self.stop.is_set() else self._cases.popleft()
        except IndexError:
            return None

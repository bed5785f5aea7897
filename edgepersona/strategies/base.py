"""What a strategy is: a pure function from a task and a view of the history to a Prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edgepersona.prompt import Bias, Prompt
from edgepersona.records import Hit, Record, Task


class HistoryView(Protocol):
    """The part of a profile that a strategy may look at."""

    def search(self, query: str, *, k: int) -> list[Hit]:
        """Return the ``k`` records nearest to ``query``, best first."""

    def recent(self, k: int) -> list[Record]:
        """Return the ``k`` newest records, newest first."""

    def bias(self, task: Task) -> Bias | None:
        """Return what makes the user's own words likelier in an answer to ``task``, if anything."""


Strategy = Callable[[Task, HistoryView], Prompt]

Addition = Callable[[Prompt, Task, HistoryView], Prompt]
"""What goes with any strategy: takes the prompt that it wrote, and returns it with more."""

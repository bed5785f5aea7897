"""What a strategy is: a pure function from a task and a view of the history to a Prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from edgepersona.prompt import Bias, Prompt
from edgepersona.records import Hit, Record, Task

if TYPE_CHECKING:
    from edgepersona.persona import Mode
    from edgepersona.personahead import Persona


class HistoryView(Protocol):
    """The part of a profile that a strategy may look at."""

    def search(self, query: str, *, k: int) -> list[Hit]:
        """Return the ``k`` records nearest to ``query``, best first."""

    def recent(self, k: int) -> list[Record]:
        """Return the ``k`` newest records, newest first."""

    def bias(
        self, task: Task, *, shown: Sequence[str] = (), has_persona: bool = False
    ) -> Bias | None:
        """Return what makes the user's own words likelier in an answer to ``task``, if anything.

        ``shown`` are the ids of the records that stand in the prompt; ``has_persona``: whether
        soft tokens do as well.
        """

    def persona(self, task: Task, mode: Mode, *, beside_records: bool = False) -> Persona:
        """Return what the history says to ``task``, as soft tokens."""


Strategy = Callable[[Task, HistoryView], Prompt]

Addition = Callable[[Prompt, Task, HistoryView], Prompt]
"""What goes with any strategy: takes the prompt that it wrote, and returns it with more."""

"""The strategies, each a pure function from a task and a view of the history to a Prompt."""

from __future__ import annotations

from edgepersona.errors import InputError
from edgepersona.strategies.base import HistoryView, Strategy
from edgepersona.strategies.none import none
from edgepersona.strategies.rag import rag
from edgepersona.strategies.recent import recent

STRATEGIES: dict[str, Strategy] = {"none": none, "recent": recent, "rag": rag}
"""Name → strategy, as the command line and ``Profile.generate`` take it."""


def find(name: str) -> Strategy:
    """Return the strategy of that name, or raise InputError with the names there are."""
    try:
        return STRATEGIES[name]
    except KeyError:
        known = ", ".join(STRATEGIES)
        raise InputError(f"strategy {name!r} is not known; expected one of {known}") from None


__all__ = ["STRATEGIES", "HistoryView", "Strategy", "find"]

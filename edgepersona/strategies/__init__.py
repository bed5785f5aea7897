"""The strategies, each a pure function from a task and a view of the history to a Prompt."""

from __future__ import annotations

from edgepersona.errors import InputError
from edgepersona.prompt import Prompt
from edgepersona.records import Task
from edgepersona.strategies.base import Addition, HistoryView, Strategy
from edgepersona.strategies.cache import cache
from edgepersona.strategies.mean import mean
from edgepersona.strategies.mixture import mixture
from edgepersona.strategies.none import none
from edgepersona.strategies.pplug import pplug, pplug_soft
from edgepersona.strategies.rag import rag
from edgepersona.strategies.recent import recent

STRATEGIES: dict[str, Strategy] = {"none": none, "recent": recent, "rag": rag}
"""Name → what writes a prompt."""

PERSONAS: dict[str, Addition] = {"pplug": pplug, "pplug-soft": pplug_soft, "mean": mean}
"""Name → what puts a persona to it."""

MIXTURE = "mixture"
"""Goes with a persona and records both: of these it is a mixture."""

ADDITIONS: dict[str, Addition] = {**PERSONAS, MIXTURE: mixture, "cache": cache}
"""Name → what goes with any of them, and with the others; of personas one. The cache comes last:
it looks at what the others show."""


def find(name: str) -> Strategy:
    """Return the strategy of that name, as ``Profile.generate`` and the command line take it.

    Parts are joined by ``+``, as in ``pplug+rag``: one that writes the prompt, ``none`` where there
    is no such part, and additions, in whatever order. Raises InputError with the names there are.
    """
    parts = name.split("+")
    known = f"one of {', '.join(STRATEGIES)}, and with + any of {', '.join(ADDITIONS)}"
    for part in parts:
        if part not in STRATEGIES and part not in ADDITIONS:
            whole = f" in {name!r}" if len(parts) > 1 else ""
            raise InputError(f"strategy {part!r}{whole} is not known; expected {known}")
        if parts.count(part) > 1:
            raise InputError(f"strategy {name!r} names {part!r} twice; expected {known}")
    for kind, what in ((STRATEGIES, "write a prompt"), (PERSONAS, "make a persona")):
        if len(kind.keys() & parts) > 1:
            raise InputError(f"strategy {name!r} has two parts that {what}; expected {known}")
    shows_records = (STRATEGIES.keys() - {"none"}).intersection(parts)
    if MIXTURE in parts and not (PERSONAS.keys() & parts and shows_records):
        raise InputError(
            f"strategy {name!r}: a mixture is of a persona and of records, and needs both, as in "
            "pplug+rag+mixture"
        )
    write = next((STRATEGIES[part] for part in parts if part in STRATEGIES), none)
    additions = [add for part, add in ADDITIONS.items() if part in parts]
    return _joined(write, additions) if additions else write


def _joined(write: Strategy, additions: list[Addition]) -> Strategy:
    def joined(task: Task, view: HistoryView) -> Prompt:
        prompt = write(task, view)
        for add in additions:
            prompt = add(prompt, task, view)
        return prompt

    return joined


__all__ = [
    "ADDITIONS",
    "PERSONAS",
    "STRATEGIES",
    "Addition",
    "HistoryView",
    "Strategy",
    "find",
]

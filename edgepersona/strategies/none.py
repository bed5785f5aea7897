"""The strategy that shows no history: the LLM alone, to compare with."""

from __future__ import annotations

from edgepersona.prompt import Prompt
from edgepersona.records import Task
from edgepersona.strategies.base import HistoryView
from edgepersona.strategies.wording import write_prompt


def none(task: Task, view: HistoryView) -> Prompt:
    """Ask without any of the user's records."""
    return write_prompt(task, [])

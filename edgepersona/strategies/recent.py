"""The strategy that shows the newest records, whatever the question."""

from __future__ import annotations

from edgepersona.prompt import Prompt
from edgepersona.records import Task
from edgepersona.strategies.base import HistoryView
from edgepersona.strategies.wording import write_prompt

_RECORDS = 4


def recent(task: Task, view: HistoryView) -> Prompt:
    """Ask with the user's newest records before the question."""
    return write_prompt(task, view.recent(_RECORDS))

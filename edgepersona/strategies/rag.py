"""Retrieval-augmented personalization: the records nearest to the question (LaMP, Salemi 2023)."""

from __future__ import annotations

from edgepersona.prompt import Prompt
from edgepersona.records import Task
from edgepersona.strategies.base import HistoryView
from edgepersona.strategies.wording import write_prompt

_RECORDS = 4


def rag(task: Task, view: HistoryView) -> Prompt:
    """Ask with the records that a search for the task's text finds (arXiv 2304.11406, §4)."""
    return write_prompt(task, [hit.record for hit in view.search(task.text, k=_RECORDS)])

"""A persona beside records, mixed with what the LLM says to the records alone."""

from __future__ import annotations

from dataclasses import replace

from edgepersona.prompt import Prompt
from edgepersona.records import Task
from edgepersona.strategies.base import HistoryView
from edgepersona.strategies.pplug import shows_records


def mixture(prompt: Prompt, task: Task, view: HistoryView) -> Prompt:
    """Have each token drawn from both. Where no record is shown, the prompt stays as it is."""
    return replace(prompt, mixed=shows_records(prompt))

"""The cache language model: the user's own n-grams beside the LLM (Kuhn and De Mori 1990)."""

from __future__ import annotations

from dataclasses import replace

from edgepersona.prompt import Prompt
from edgepersona.records import Task
from edgepersona.strategies.base import HistoryView


def cache(prompt: Prompt, task: Task, view: HistoryView) -> Prompt:
    """Have the user's own words likelier in the answer; the prompt stays as it is."""
    return replace(prompt, bias=view.bias(task))

"""The cache language model: the user's own n-grams beside the LLM (Kuhn and De Mori 1990)."""

from __future__ import annotations

from dataclasses import replace

from edgepersona.prompt import Prompt, SoftSegment
from edgepersona.records import Task
from edgepersona.strategies.base import HistoryView


def cache(prompt: Prompt, task: Task, view: HistoryView) -> Prompt:
    """Have the user's own words likelier in the answer; the prompt stays as it is."""
    shown: list[str] = []
    for segment in prompt.segments:
        if isinstance(segment, SoftSegment):
            shown += segment.records
        elif segment.record_id:
            shown.append(segment.record_id)
    has_persona = any(isinstance(segment, SoftSegment) for segment in prompt.segments)
    return replace(prompt, bias=view.bias(task, shown=shown, has_persona=has_persona))

"""A personal soft prompt: all of the history as a few vectors (PPlug, arXiv 2409.11901)."""

from __future__ import annotations

from dataclasses import replace

from edgepersona.prompt import Prompt, SoftSegment, TextSegment
from edgepersona.records import Task
from edgepersona.strategies.base import HistoryView


def pplug(prompt: Prompt, task: Task, view: HistoryView) -> Prompt:
    """Put behind the question what the history says to it, by attention."""
    persona = view.persona(task, "question", beside_records=shows_records(prompt))
    soft = SoftSegment(persona.vectors, persona.records)
    return replace(prompt, segments=(*prompt.segments, soft), notes=prompt.notes + persona.notes)


def pplug_soft(prompt: Prompt, task: Task, view: HistoryView) -> Prompt:
    """Put the learnt instruction alone behind the question: what a soft prompt does by itself."""
    persona = view.persona(task, "none", beside_records=shows_records(prompt))
    soft = SoftSegment(persona.vectors)
    return replace(prompt, segments=(*prompt.segments, soft), notes=prompt.notes + persona.notes)


def shows_records(prompt: Prompt) -> bool:
    """Say whether records stand in the prompt in words: a head learns that as another task."""
    return any(isinstance(s, TextSegment) and s.record_id for s in prompt.segments)

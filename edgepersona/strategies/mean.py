"""The personal soft prompt without attention: the same for every question, so it is read once."""

from __future__ import annotations

from dataclasses import replace

from edgepersona.prompt import Prompt, SoftSegment
from edgepersona.records import Task
from edgepersona.strategies.base import HistoryView
from edgepersona.strategies.pplug import shows_records


def mean(prompt: Prompt, task: Task, view: HistoryView) -> Prompt:
    """Begin with what all records say alike (PPlug's mean pooling, arXiv 2409.11901).

    In front of the question, where the LLM's cache of it serves the next question too.
    """
    persona = view.persona(task, "mean", beside_records=shows_records(prompt))
    return replace(
        prompt,
        segments=(SoftSegment(persona.vectors, persona.records), *prompt.segments),
        constant=prompt.constant + 1,
        notes=prompt.notes + persona.notes,
    )

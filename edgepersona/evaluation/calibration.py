"""Questions made of histories: a user's latest record, asked for with what came before it.

They are what a temperature is fitted on, so that no true answer of a question is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgepersona.evaluation.questions import Question
from edgepersona.records import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgepersona.evaluation.benchmarks import Benchmark
    from edgepersona.records import Record

_LEAST_HISTORY = 2


def history_questions(
    benchmark: Benchmark, questions: Sequence[Question], *, count: int, seed: int
) -> list[Question]:
    """Return up to ``count`` questions made of the histories of ``questions``, each used once.

    What was asked in any of the questions is left out: another question's history may hold it.
    """
    if not benchmark.learns_from_history:
        return []
    used = {_same(question.task.text) for question in questions}
    found: list[Question] = []
    for row in np.random.default_rng(seed).permutation(len(questions)):
        if len(found) == count:
            break
        question = questions[row]
        history = _by_date(question.history)
        for at in range(len(history) - 1, _LEAST_HISTORY - 1, -1):
            record = history[at]
            # Of the same day is not earlier.
            before = [one for one in history[:at] if not record.date or one.date < record.date]
            if len(before) < _LEAST_HISTORY:
                break
            if record.text and record.title and _same(record.text) not in used:
                used.add(_same(record.text))
                found.append(_asked(benchmark, question, record, before))
                break
    return found


def _asked(
    benchmark: Benchmark, question: Question, record: Record, before: Sequence[Record]
) -> Question:
    instruction = question.task.instruction if benchmark.kind == "tag" else ""
    task = Task(record.text, kind=benchmark.kind, instruction=instruction)
    name = f"{question.id}:{record.id}"
    return Question(name, question.user, task, tuple(before), record.title)


def _by_date(history: Sequence[Record]) -> list[Record]:
    """Sort by date; where there is none, histories are taken to be in the order of writing."""
    return sorted(history, key=lambda record: record.date)


def _same(text: str) -> str:
    return " ".join(text.split())

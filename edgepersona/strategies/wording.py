"""How tasks and records are put into words; every strategy says them the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgepersona.prompt import Prompt, Segment, TextSegment
from edgepersona.records import Record, Task

_SYSTEM = "You are the user's assistant."
_SYSTEM_WITH_RECORDS = f"{_SYSTEM} Answer briefly, from the user's records."

_RECORD_CHARACTERS = 1200
"""A record is shown up to here: four of them leave a small model room for the question."""

_RULE = "---\n"


class _Form(NamedTuple):
    """A task of finding a title: its sentence, and what text and title are called."""

    instruction: str
    text: str
    title: str


_FORMS = {
    "title": _Form(
        "Write the title of the following text. Answer with the title alone.", "Text", "Title"
    ),
    "subject": _Form(
        "Write the subject line of the following message. Answer with the subject alone.",
        "Message",
        "Subject",
    ),
    "headline": _Form(
        "Write the headline of the following article. Answer with the headline alone.",
        "Article",
        "Headline",
    ),
    "rating": _Form(
        "Which rating from 1 (worst) to 5 (best) goes with the following review? Answer with the "
        "number alone.",
        "Review",
        "Rating",
    ),
    "tag": _Form(
        "Which tag goes with the following text? Answer with the tag alone.", "Text", "Tag"
    ),
}
_REPLY = "Write a reply to the following message. Answer with the reply alone."


def write_prompt(task: Task, records: Sequence[Record]) -> Prompt:
    """Put ``records`` (the most telling first) before the task, each as a segment of its own.

    The most telling one comes last, beside the task: a small model goes by what it read last.
    """
    opening = f"{_FORMS[task.kind].title}:" if task.kind in _FORMS else ""
    if not records:
        return Prompt(
            _SYSTEM,
            (TextSegment(_ask(task)),),
            turns=task.turns,
            opening=opening,
            brief=task.is_new,
        )
    segments: list[Segment] = [TextSegment("Here is what I wrote:\n\n")]
    segments += [TextSegment(_show(record, task), record.id) for record in reversed(records)]
    segments.append(TextSegment(_RULE + _ask(task, from_records=True)))
    return Prompt(
        _SYSTEM_WITH_RECORDS,
        tuple(segments),
        turns=task.turns,
        opening=opening,
        constant=1,
        brief=task.is_new,
    )


def _show(record: Record, task: Task) -> str:
    text = _shorten(record.text)
    form = _FORMS.get(task.kind)
    if form and record.title:
        # As the answer is opened: a small model follows the pattern more than the request.
        return f"{_RULE}{form.text}: {text}\n{form.title}: {record.title}\n"
    lines = [f"Date: {record.date}" if record.date else "", record.title, text]
    return _RULE + "\n".join(line for line in lines if line) + "\n"


def _ask(task: Task, *, from_records: bool = False) -> str:
    if task.kind == "answer":
        question = f"\nQuestion: {task.text}\nAnswer in one sentence."
        return question if from_records else task.text
    if form := _FORMS.get(task.kind):
        return f"{task.instruction or form.instruction}\n\n{form.text}: {task.text}"
    return f"{task.instruction or _REPLY}\n\nText: {task.text}"


def _shorten(text: str) -> str:
    if len(text) <= _RECORD_CHARACTERS:
        return text
    return text[:_RECORD_CHARACTERS].rsplit(maxsplit=1)[0] + " …"

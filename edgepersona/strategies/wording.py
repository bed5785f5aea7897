"""How tasks and records are put into words; every strategy says them the same way."""

from __future__ import annotations

from collections.abc import Sequence

from edgepersona.prompt import Prompt, Segment, TextSegment
from edgepersona.records import Record, Task

SYSTEM = (
    "You write on behalf of the user. "
    "Use what the user's own records say, and write the way the user writes."
)

_RECORD_CHARACTERS = 1200
"""A record is shown up to here: four of them leave a small model room for the question."""

_INSTRUCTIONS = {
    "answer": "",
    "title": "Write the title of the following text. Answer with the title alone.",
    "reply": "Write a reply to the following message. Answer with the reply alone.",
}


def write_prompt(task: Task, records: Sequence[Record]) -> Prompt:
    """Put ``records`` (the most telling first) before the task, each as a segment of its own."""
    segments: list[Segment] = []
    if records:
        segments.append(TextSegment("Records the user wrote earlier:\n\n"))
        segments += [TextSegment(_show(record, task), record.id) for record in records]
    segments.append(TextSegment(_ask(task)))
    return Prompt(system=SYSTEM, segments=tuple(segments), turns=task.turns)


def _show(record: Record, task: Task) -> str:
    text = _shorten(record.text)
    if task.kind == "title" and record.title:
        # The order the answer comes in: a small model follows the pattern more than the request.
        return f"Text: {text}\nTitle: {record.title}\n\n"
    lines = [f"Date: {record.date}" if record.date else "", record.title, text]
    return "\n".join(line for line in lines if line) + "\n\n"


def _ask(task: Task) -> str:
    instruction = task.instruction or _INSTRUCTIONS[task.kind]
    if not instruction:
        return task.text
    return f"{instruction}\n\nText: {task.text}" + ("\nTitle:" if task.kind == "title" else "")


def _shorten(text: str) -> str:
    if len(text) <= _RECORD_CHARACTERS:
        return text
    return text[:_RECORD_CHARACTERS].rsplit(maxsplit=1)[0] + " …"

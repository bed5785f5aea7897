"""What is asked of a profile of commit messages: tasks whose answers copy, and others."""

from __future__ import annotations

import random
from collections.abc import Sequence

from bench import texts
from edgepersona.records import Record, Task

_SEED = 2
_CHARACTERS = (250, 500)
_RECORDS = 200

_QUESTIONS = (
    "Explain how a bicycle stays upright.",
    "Write a short poem about the sea in winter.",
    "What should I think of before I adopt a cat?",
    "Tell a story about a lighthouse keeper who cannot sleep.",
    "Write a polite letter that declines an invitation.",
    "What are the arguments for and against homework?",
    "Describe a market in a small town on a Saturday morning.",
    "How can I learn to play the piano as an adult?",
    "What makes a good bread rise?",
)


def records() -> list[Record]:
    """Return the profile's records: commit messages long enough that copying one takes a while."""
    low, high = _CHARACTERS
    messages = [text for text in texts.commits(_SEED) if low <= len(text) <= high][:_RECORDS]
    found = []
    for message in messages:
        title, _, text = message.partition("\n")
        found.append(Record(text, title=title, kind="commit") if text else Record(title))
    return found


def copying(known: Sequence[Record]) -> list[Task]:
    """Return tasks that ask for a record's own words, each for another record's."""
    chosen = random.Random(_SEED).sample(known, 9)
    tasks = []
    for number, record in enumerate(chosen):
        title = record.title or record.text[:60]
        tasks.append(
            (
                Task(
                    f"{title}\n{record.text}",
                    kind="instruction",
                    instruction="Write this text again, and correct only its spelling.",
                ),
                Task(
                    title,
                    kind="instruction",
                    instruction="Copy the whole record that has this title.",
                ),
                Task(f"Could you send me what you wrote about this? {title}", kind="reply"),
            )[number % 3]
        )
    return tasks


def free() -> list[Task]:
    """Return questions whose answers are in no prompt."""
    return [Task(question) for question in _QUESTIONS]

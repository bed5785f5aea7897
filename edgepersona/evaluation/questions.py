"""Read the files of LaMP and LongLaMP: questions with their users' profiles, and true answers."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgepersona.errors import InputError
from edgepersona.importers.jsonl import text_of
from edgepersona.importers.lamp import record_of
from edgepersona.importers.pieces import open_source
from edgepersona.importers.values import parse, values
from edgepersona.records import content_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgepersona.evaluation.benchmarks import Benchmark
    from edgepersona.records import Record, Task

_USER_KEYS = ("user_id", "reviewerId", "author")
_NAMED = 3
"""How many ids an error names."""

_MAX_OUTPUTS_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its user's history as the file gives it, and the user's own answer."""

    id: str
    user: str
    task: Task
    history: tuple[Record, ...]
    answer: str

    @property
    def hash(self) -> str:
        """Tell this question, with all that belongs to it, from others."""
        parts = [self.id, self.task.kind, self.task.instruction, self.task.text, self.answer]
        for record in self.history:
            parts += [record.id, record.title, record.text, record.date]
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def read_questions(
    benchmark: Benchmark, questions: Path, outputs: Path | None = None
) -> list[Question]:
    """Return the questions of a file, plain or gzip, with the answers that ``outputs`` holds.

    Without ``outputs`` each question has its own ``output``, as in LongLaMP. Raises InputError
    that names the place where a file is not what it should be, or the ids that do not match.
    """
    found = list(_questions(questions))
    ids = Counter(name for name, _ in found)
    if twice := [name for name, count in ids.items() if count > 1]:
        raise InputError(f"{questions}: {_listed(twice)} stand there more than once")
    if outputs is None:
        answers = {name: _text(entry, "output", questions, name) for name, entry in found}
    else:
        answers = _answers(benchmark, outputs)
        _check_ids(ids, answers, questions, outputs)
    return [_question(benchmark, entry, name, answers[name], questions) for name, entry in found]


def predictions(benchmark: Benchmark, answers: Mapping[str, str]) -> dict[str, object]:
    """Return answers, by question id, in the shape of an outputs file."""
    golds = [{"id": name, "output": text} for name, text in answers.items()]
    return {"task": benchmark.name, "golds": golds}


def _questions(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    number = 0
    with open_source(path) as stream:
        for piece in values(stream):
            number, place = piece.number, f"{path}: question {piece.number}"
            if piece.error:
                raise InputError(f"{place}: {piece.error}")
            try:
                entry = parse(piece.data)
            except InputError as error:
                raise InputError(f"{place}: {error}") from None
            if not isinstance(entry, dict) or not isinstance(entry.get("profile"), list):
                raise InputError(
                    f"{place}: expected an object with id, input and profile: is this a file of "
                    "questions?"
                )
            yield _named(entry, "id", place) or str(number), entry
    if not number:
        raise InputError(f"{path}: holds no questions: expected a JSON list of them")


def _question(
    benchmark: Benchmark, entry: dict[str, object], name: str, answer: str, path: Path
) -> Question:
    place = f"{path}: question {name}"
    try:
        task = benchmark.question(_text(entry, "input", path, name))
        user = text_of(entry, _USER_KEYS) or name
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    if "mae" in benchmark.metrics:
        _check_rating(answer, place)
    history: dict[str, Record] = {}
    listed = entry["profile"]
    assert isinstance(listed, list)
    for number, item in enumerate(listed, start=1):
        try:
            record = record_of(item)
        except InputError as error:
            raise InputError(f"{place}, profile entry {number}: {error}") from None
        if record is None:  # an entry without words says nothing of its user
            continue
        known = history.setdefault(record.id, record)
        if known != record:
            record = replace(record, id=content_id(record))
            history[record.id] = record
    return Question(name, user, task, tuple(history.values()), answer)


def _check_rating(answer: str, place: str) -> None:
    if answer.strip() not in ("1", "2", "3", "4", "5"):
        raise InputError(f"{place}: its true answer is {answer!r:.40}, expected a rating of 1 to 5")


def _answers(benchmark: Benchmark, path: Path) -> dict[str, str]:
    shape = f'expected {{"task": "{benchmark.name}", "golds": [{{"id", "output"}}]}}'
    with open_source(path) as stream:
        try:
            data = stream.read(_MAX_OUTPUTS_BYTES)
        except (OSError, EOFError) as error:
            raise InputError(f"{path}: the file is damaged: {error}") from None
    try:
        held = parse(data)
    except InputError as error:
        raise InputError(f"{path}: {error}; {shape}") from None
    golds = held.get("golds") if isinstance(held, dict) else None
    if not isinstance(held, dict) or not isinstance(golds, list):
        raise InputError(f"{path}: is no file of outputs: {shape}")
    if held.get("task") != benchmark.name:
        raise InputError(
            f"{path}: holds the outputs of {held.get('task')!r:.40}, the task asked for is "
            f"{benchmark.name}"
        )
    answers: dict[str, str] = {}
    for number, gold in enumerate(golds, start=1):
        place = f"{path}: gold {number}"
        if not isinstance(gold, dict):
            raise InputError(f"{place}: a JSON {type(gold).__name__}; {shape}")
        name = _named(gold, "id", place)
        if not name or name in answers:
            raise InputError(f"{place}: its id {name!r:.60} is {'taken' if name else 'missing'}")
        answers[name] = _text(gold, "output", path, name)
    return answers


def _check_ids(
    ids: Mapping[str, int], answers: Mapping[str, str], questions: Path, outputs: Path
) -> None:
    for have, lacks, names in (
        (questions, outputs, [name for name in ids if name not in answers]),
        (outputs, questions, [name for name in answers if name not in ids]),
    ):
        if names:
            raise InputError(
                f"{lacks}: lacks {len(names):,} of the ids in {have}: {_listed(names)}; both "
                "files must have the same"
            )


def _named(entry: Mapping[str, object], key: str, place: str) -> str:
    value = entry.get(key)
    if value is None:
        return ""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"{place}: its {key} is a JSON {type(value).__name__}, expected text")


def _text(entry: Mapping[str, object], key: str, path: Path, name: str) -> str:
    value = entry.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = json.dumps(value)  # a rating that was not quoted
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{path}: {name} has no text under {key!r}")
    return value


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name)[:80] for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED:,} more"

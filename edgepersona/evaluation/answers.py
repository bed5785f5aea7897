"""The answers of a run and the file that keeps them, so that a run goes on where it stopped."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from edgepersona.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Answer:
    """What one strategy, with one history, made of one question; times in seconds."""

    key: str
    """Tells the settings, the question, the strategy and the history from all others."""
    question: str
    strategy: str
    history: str
    """``own``, ``other``, or ``none`` where no history was looked at."""
    nats: tuple[float, ...]
    """Negative log-likelihood of the true answer, at each temperature."""
    true_tokens: int
    prompt_tokens: int
    output: str | None = None
    """None where only the likelihood was asked for."""
    new_tokens: int = 0
    ttft_s: float = 0.0
    seconds: float = 0.0
    records: int = 0


class Journal:
    """A file of answers, a JSON line each; only ever added to.

    For one process at a time, and for any of its threads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answers: dict[str, Answer] = {}
        self._lock = threading.Lock()
        data = path.read_bytes() if path.exists() else b""
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            answer = _answer(line, f"{path}: line {number}")
            self._answers[answer.key] = answer
        if whole < len(data):  # the last line of a run that was stopped
            with path.open("r+b") as stream:
                stream.truncate(whole)

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def __getitem__(self, key: str) -> Answer:
        return self._answers[key]

    def add(self, answer: Answer) -> None:
        """Keep an answer; it is in the file when this returns."""
        line = json.dumps(asdict(answer), ensure_ascii=False)
        with self._lock, self._path.open("ab") as stream:
            stream.write(line.encode("utf-8", "backslashreplace") + b"\n")
        self._answers[answer.key] = answer


def _answer(line: bytes, place: str) -> Answer:
    try:
        held = json.loads(line)
        known: dict[str, Any] = {f.name: held[f.name] for f in fields(Answer) if f.name in held}
        return Answer(**{**known, "nats": tuple(held["nats"])})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{place}: is no answer of an earlier run ({error}): take another folder for --out"
        ) from None

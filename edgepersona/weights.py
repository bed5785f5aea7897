"""How much the user's n-grams weigh beside the LLM, fitted on the user's own latest records."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepersona.biases import NgramBias
from edgepersona.records import READ_KIND, Task
from edgepersona.strategies.wording import write_prompt

if TYPE_CHECKING:
    from edgepersona.generator import Generator
    from edgepersona.ngrams import Counts
    from edgepersona.records import Record
    from edgepersona.store import Store
    from edgepersona.tokentable import Field

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""What is tried; 0 is off."""

TEMPERATURES = (1.0, 1.4, 2.0, 2.8)
"""The nats of each weight are those at the best of them: a mere hedge gains nothing by it."""

DEFAULT = 1.0
"""Until enough records were looked at; the best on the whole for 320 users, none of them alone."""

HELD_OUT = 8
"""The latest records, each foretold from those before it."""

_FEWEST = 4
_GROWTH = 1.25

_CHARACTERS = 400
"""As much of a text is read, and foretold."""

_WRITE = "Write a text about"

Nats = Sequence[Sequence[float]]
"""Of one record: a row for each of ``WEIGHTS``, a number for each of ``TEMPERATURES``."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What was found out so far, the latest record first."""

    generator: str
    """Hash of the LLM."""
    records: int
    """How many the profile had when this was begun."""
    nats: tuple[Nats, ...] = ()

    @property
    def weight(self) -> float:
        """The weight that makes the records likeliest; the default while too few are known."""
        if len(self.nats) < _FEWEST:
            return DEFAULT
        totals = [
            min(sum(nats[i][t] for nats in self.nats) for t in range(len(TEMPERATURES)))
            for i in range(len(WEIGHTS))
        ]
        return WEIGHTS[totals.index(min(totals))]  # of equals the least

    def serves(self, generator: str, records: int) -> bool:
        """Say whether it is of this LLM, and of a history that has not grown much since."""
        return self.generator == generator and records <= self.records * _GROWTH

    def as_json(self) -> str:
        """Return it as it is kept in a profile."""
        nats = [[[round(n, 3) for n in row] for row in record] for record in self.nats]
        return json.dumps({"generator": self.generator, "records": self.records, "nats": nats})


def read_fit(text: str | None) -> Fit | None:
    """Return what ``as_json`` wrote; None where it is nothing, or another version's."""
    try:
        held = json.loads(text or "null")
        fit = Fit(held["generator"], int(held["records"]), tuple(held["nats"]))
        for record in fit.nats:
            _check(record)
    except (ValueError, TypeError, KeyError):
        return None
    return fit


def fit_weight(
    store: Store,
    field: Field,
    generator: Generator,
    counts: Callable[[], Counts],
    *,
    wanted: Callable[[], bool],
) -> None:
    """Go on with a field's fit where it is not whole, and keep it after every record.

    ``counts`` makes n-grams of all records, to take from; ``wanted`` is asked before each record
    whether to go on. Ends where the profile changes meanwhile.
    """
    generation, records = store.generation, store.count()
    fit = read_fit(store.load_weight(field))
    if fit is None or not fit.serves(generator.hash, records):
        fit = Fit(generator.hash, records)
    held = [(row, record) for row, record in store.newest(HELD_OUT) if _asked(record, field)]
    if len(fit.nats) >= len(held):
        return
    earlier = counts()
    for at, (row, record) in enumerate(held):
        earlier.remove(np.array([row], dtype=np.int64))
        if at < len(fit.nats):
            continue
        if not wanted():
            return
        fit = replace(fit, nats=(*fit.nats, _nats(record, field, generator, earlier)))
        if not store.save_weight(field, fit.as_json(), generation):
            return


def _nats(record: Record, field: Field, generator: Generator, counts: Counts) -> Nats:
    """Return how unlikely the LLM and ``counts`` find what the user wrote."""
    asked = _asked(record, field)
    assert asked is not None
    task, answer = asked
    prompt = write_prompt(task, [])
    decode = generator.tokenizer.decode
    found = []
    for weight in WEIGHTS:
        bias = NgramBias(lambda: counts, decode, weight) if weight else None
        stream = generator.stream(replace(prompt, bias=bias))
        found.append((-stream.log_probs(answer, temperatures=TEMPERATURES).sum(axis=1)).tolist())
    return found


def _asked(record: Record, field: Field) -> tuple[Task, str] | None:
    """Return what would be asked for a record, and what the user wrote; None where it is no use."""
    text, title = record.text[:_CHARACTERS].strip(), record.title[:_CHARACTERS].strip()
    if record.kind == READ_KIND or not text or (field == "title" and not title):
        return None
    if field == "title":
        return Task(text, kind="title"), title
    return Task(f"{_WRITE} {title}." if title else f"{_WRITE} anything."), text


def _check(record: Any) -> None:
    if [len(row) for row in record] != [len(TEMPERATURES)] * len(WEIGHTS):
        raise ValueError("of other weights")
    if not all(math.isfinite(number) for row in record for number in row):
        raise ValueError("no numbers")

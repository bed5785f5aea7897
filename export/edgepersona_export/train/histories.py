"""What is learnt from: people's records in the order they were written, and the pairs in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from edgepersona.errors import InputError
from edgepersona.importers.jsonl import read_by_user
from edgepersona.records import Record

LEAST_EARLIER = 3
"""A person with fewer records so far says too little to learn from."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One record, to be foretold from those that its author had written before."""

    task: str
    source: int
    """Number of the file that it is of."""
    user: str
    record: int
    """Row in the corpus."""
    earlier: tuple[int, ...]
    """Rows of the author's strictly earlier records, oldest first."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """All records, each once, and the samples drawn from them."""

    records: tuple[Record, ...]
    samples: tuple[Sample, ...]


def read_corpus(
    sources: Sequence[tuple[Path, str]],
    *,
    seed: int = 0,
    window: int = 64,
    most_per_user: int = 40,
) -> Corpus:
    """Read JSONL histories, each with its task, and pair each record with the earlier ones.

    ``window``: the newest so many earlier records are kept. ``most_per_user``: of one person's
    pairs so many are drawn, so that nobody's manner becomes everybody's. Raises InputError where a
    file has no pairs at all.
    """
    rng = Random(seed)  # noqa: S311 - a shuffle, not a secret
    rows: dict[Record, int] = {}
    samples: list[Sample] = []
    for number, (path, task) in enumerate(sources):
        found: list[Sample] = []
        for user, records in sorted(_by_user(path).items()):
            own = _pairs(records, rows, task, number, user, window)
            rng.shuffle(own)
            found += own[:most_per_user]
        if not found:
            raise InputError(
                f"{path}: nobody in it has a titled record with {LEAST_EARLIER} earlier ones; "
                "expected lines with user_id, date, title and text"
            )
        samples += found
    rng.shuffle(samples)
    return Corpus(tuple(rows), tuple(samples))


def _by_user(path: Path) -> dict[str, list[Record]]:
    people: dict[str, list[Record]] = defaultdict(list)
    for user, item in read_by_user(path):
        record = item.record
        if record is not None and record.title.strip() and record.text.strip():
            people[user].append(record)
    for records in people.values():
        records.sort(key=lambda record: record.date)  # stable: without dates, the file's order
    return people


def _pairs(
    records: list[Record],
    rows: dict[Record, int],
    task: str,
    source: int,
    user: str,
    window: int,
) -> list[Sample]:
    places = [rows.setdefault(record, len(rows)) for record in records]
    samples = []
    for i, record in enumerate(records):
        before: list[int] = []
        for j in range(i - 1, -1, -1):
            # Of the same day, or where one date only says the year, nobody knows which came first.
            if records[j].id != record.id and _is_before(records[j].date, record.date):
                before.append(places[j])
                if len(before) == window:
                    break
        if len(before) >= LEAST_EARLIER:
            samples.append(Sample(task, source, user, places[i], tuple(reversed(before))))
    return samples


def _is_before(earlier: str, later: str) -> bool:
    if not earlier and not later:
        return True
    return bool(earlier) and earlier < later and not later.startswith(earlier)

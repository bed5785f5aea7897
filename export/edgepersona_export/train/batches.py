"""From samples to tensors, every choice drawn from the seed and the sample's place alone.

So a run that was stopped, or is spread over several processes, sees what one run in one go sees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgepersona.errors import InputError
from edgepersona.records import Record
from edgepersona_export.train.histories import Corpus, Sample
from edgepersona_export.train.model import BESIDE_RECORDS, History, Shape
from edgepersona_export.train.prompts import PromptWriter, Written
from edgepersona_export.train.vectors import Vectors

_SORTED_TOGETHER = 8
"""Batches whose samples are sorted by length between them: little is computed for padding."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """How a sample is varied each time it is seen."""

    dropped: float = 0.5
    """Of half of the samples, a random part of the history up to this is left out (PPlug, §4)."""
    cold: float = 0.1
    """So many samples have no history at all, for people who are new."""
    shown: float = 0.25
    """In so many batches the nearest records stand in the prompt already, in words."""
    shown_records: int = 3
    shown_tokens: int = 96
    """Of each record's text."""
    target_tokens: int = 24

    def __post_init__(self) -> None:
        for name in ("dropped", "cold", "shown"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise InputError(f"{name} {share} is out of range: expected 0 to 1")


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one step reads: everything of the samples but the soft tokens."""

    before: list[list[int]]
    before_other: list[list[int]] | None
    """With the records of the other user; None: no records are shown."""
    after: list[list[int]]
    targets: list[list[int]]
    tasks: Tensor
    own: History
    other: History
    """Of another user of the batch, with the same questions."""
    has_other: Tensor
    """bool (n,): false where the batch knows no other user."""

    def share(self, rank: int, of: int) -> Batch:
        """Return every ``of``-th sample from ``rank`` on: a process's part."""
        mine = slice(rank, None, of)
        return Batch(
            self.before[mine],
            self.before_other and self.before_other[mine],
            self.after[mine],
            self.targets[mine],
            self.tasks[mine],
            _rows(self.own, mine),
            _rows(self.other, mine),
            self.has_other[mine],
        )


class Collator:
    """Turns samples into batches."""

    def __init__(
        self,
        corpus: Corpus,
        vectors: Vectors,
        writer: PromptWriter,
        shape: Shape,
        drawing: Drawing,
    ) -> None:
        self._corpus, self._vectors, self._writer = corpus, vectors, writer
        self._shape, self._drawing = shape, drawing
        # As an answer begins: a word without the space before it is another token.
        titles = writer.tokenizer.encode_plain([f" {r.title.strip()}" for r in corpus.records])
        self._words = np.zeros((len(titles), shape.words), np.int64)
        self._lengths = np.zeros(len(titles), np.int64)
        for row, ids in enumerate(titles):
            cut = ids[: shape.words]
            self._words[row, : len(cut)], self._lengths[row] = cut, len(cut)

    def collate(self, samples: Sequence[Sample], seed: str) -> Batch:
        """Make a batch; ``seed`` is the run's and the step's, so that epochs differ."""
        rngs = [Random(f"{seed}:{number}") for number in range(len(samples))]  # noqa: S311
        earlier = [self._drop(s.earlier, rng) for s, rng in zip(samples, rngs, strict=True)]
        chosen = [_another(samples, i, rng) for i, rng in enumerate(rngs)]
        # What two wrote together may stand in the other's history: it would give the answer away.
        others = [
            earlier[i] if j is None else tuple(row for row in earlier[j] if row != s.record)
            for i, (s, j) in enumerate(zip(samples, chosen, strict=True))
        ]
        shows = Random(seed).random() < self._drawing.shown  # noqa: S311
        written = [self._write(s, e, shows=shows) for s, e in zip(samples, earlier, strict=True)]
        theirs = (
            [self._write(s, e, shows=True).before for s, e in zip(samples, others, strict=True)]
            if shows
            else []
        )
        return Batch(
            before=[list(w.before) for w in written],
            before_other=[list(before) for before in theirs] or None,
            after=[list(w.after) for w in written],
            targets=[
                self._writer.target(
                    self._corpus.records[s.record], most=self._drawing.target_tokens
                )
                for s in samples
            ],
            tasks=torch.tensor(
                [self._shape.tasks.index(s.task + BESIDE_RECORDS * shows) for s in samples]
            ),
            own=self.history(samples, earlier),
            other=self.history(samples, others),
            has_other=torch.tensor(
                [j is not None and bool(earlier[i]) for i, j in enumerate(chosen)]
            ),
        )

    def history(self, samples: Sequence[Sample], earlier: Sequence[Sequence[int]]) -> History:
        """Set each sample's question against the records in ``earlier``."""
        width = max([1, *map(len, earlier)])
        rows = np.zeros((len(samples), width), np.int64)
        is_record = np.zeros((len(samples), width), bool)
        for number, kept in enumerate(earlier):
            rows[number, : len(kept)], is_record[number, : len(kept)] = kept, True
        is_word = np.arange(self._shape.words) < self._lengths[rows][..., None]
        return History(
            queries=_float(self._vectors.queries[[s.record for s in samples]]),
            items=_float(self._vectors.items[rows]),
            outputs=_float(self._vectors.outputs[rows]),
            words=torch.from_numpy(self._words[rows]),
            is_word=torch.from_numpy(is_word & is_record[..., None]),
            is_record=torch.from_numpy(is_record),
        )

    def _drop(self, earlier: tuple[int, ...], rng: Random) -> tuple[int, ...]:
        if rng.random() < self._drawing.cold:
            return ()
        share = rng.random() * self._drawing.dropped * (rng.random() < 0.5)
        kept = tuple(row for row in earlier if rng.random() >= share)
        return kept or earlier[-1:]

    def _write(self, sample: Sample, earlier: Sequence[int], *, shows: bool) -> Written:
        shown = self._nearest(sample, earlier) if shows and earlier else []
        return self._writer.write(
            sample.task,
            self._corpus.records[sample.record],
            shown,
            record_tokens=self._drawing.shown_tokens,
        )

    def _nearest(self, sample: Sample, earlier: Sequence[int]) -> list[Record]:
        rows = np.array(earlier)
        near = self._vectors.items[rows].astype(np.float32) @ self._vectors.queries[
            sample.record
        ].astype(np.float32)
        best = rows[np.argsort(-near, kind="stable")[: self._drawing.shown_records]]
        return [self._corpus.records[row] for row in best]


def epochs(
    samples: Sequence[Sample], records: Sequence[Record], *, batch: int, seed: int, start: int
) -> Iterator[tuple[int, list[Sample]]]:
    """Yield (step, samples) from step ``start`` on, for ever; an epoch's rest is left out.

    ``records`` are the corpus's: samples with texts of like length come together.
    """
    step = start
    per_epoch = steps_of(samples, batch)
    if not per_epoch:
        raise InputError(f"no source has as many samples to learn from as a batch, {batch}")
    while True:
        order = _order(samples, records, batch, seed=f"{seed}:{step // per_epoch}")
        for number in range(step % per_epoch, per_epoch):
            yield step, order[number]
            step += 1


def rows_of(samples: Iterable[Sample]) -> set[int]:
    """Return the rows of the corpus that samples read."""
    return {row for sample in samples for row in (sample.record, *sample.earlier)}


def steps_of(samples: Sequence[Sample], batch: int) -> int:
    """Return how many batches there are in an epoch, each of one source."""
    return sum(count // batch for count in Counter(s.source for s in samples).values())


def _order(
    samples: Sequence[Sample], records: Sequence[Record], batch: int, *, seed: str
) -> list[list[Sample]]:
    rng = Random(seed)  # noqa: S311 - an order, not a secret
    shuffled = list(samples)
    rng.shuffle(shuffled)
    batches = []
    chunk = batch * _SORTED_TOGETHER
    # A batch is of one source: another of its users writes of the same kind of thing.
    for source in sorted({s.source for s in samples}):
        of_one = [s for s in shuffled if s.source == source]
        for start in range(0, len(of_one), chunk):
            alike = sorted(of_one[start : start + chunk], key=lambda s: len(records[s.record].text))
            batches += [alike[i : i + batch] for i in range(0, len(alike) - batch + 1, batch)]
    rng.shuffle(batches)
    return batches


def _another(samples: Sequence[Sample], i: int, rng: Random) -> int | None:
    others = [j for j, s in enumerate(samples) if s.user != samples[i].user]
    return rng.choice(others) if others else None


def _rows(history: History, mine: slice) -> History:
    return History(**{f.name: getattr(history, f.name)[mine] for f in fields(history)})


def _float(vectors: NDArray[np.float16]) -> Tensor:
    return torch.from_numpy(vectors.astype(np.float32))

"""Everything a run needs before its first step, from the files it is told of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch

from edgepersona.bundle import Bundle, hash_file
from edgepersona.errors import InputError
from edgepersona.headfile import HeadFile, model_hashes
from edgepersona.records import Record
from edgepersona_export.train.batches import Collator, Drawing, epochs, rows_of, steps_of
from edgepersona_export.train.frozen import FrozenModel
from edgepersona_export.train.histories import Corpus, Sample
from edgepersona_export.train.judge import judged
from edgepersona_export.train.model import (
    BESIDE_RECORDS,
    PersonaHead,
    Shape,
    calibrate,
    words_of,
)
from edgepersona_export.train.options import Options, Places
from edgepersona_export.train.prompts import PromptWriter
from edgepersona_export.train.start import start_from
from edgepersona_export.train.vectors import Vectors

FIRST_WORDS = ("\n\n{}s I wrote:", "\n", "\n{}:")
"""What learnt tokens begin as: before and after the persona, and before each title.

So a head that has learnt nothing shows titles as a small model reads them best: in the form that
the answer is opened in.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A run, ready to start."""

    head: PersonaHead
    collator: Collator
    judging: Collator
    """The same without chance: nothing left out, nothing shown in words."""
    judging_beside: Collator | None
    """As ``judging``, with records in every prompt; None where nothing is learnt beside any."""
    records: Sequence[Record]
    """The corpus's."""
    learnt: list[Sample]
    held_out: list[Sample]
    recipe: dict[str, Any]
    credits: tuple[str, ...]
    """Whom all is owed to that the head learns from, and that the one it began with did."""


def prepare(
    bundle: Bundle,
    corpus: Corpus,
    vectors: Vectors,
    frozen: FrozenModel,
    places: Places,
    options: Options,
    *,
    earlier: HeadFile | None = None,
) -> Prepared:
    """Make the head, begun with an ``earlier`` one, and what feeds it.

    ``vectors`` need be no more than ``rows_read`` says.
    """
    torch.manual_seed(options.seed)
    writer = PromptWriter(bundle, text_tokens=options.text_tokens)
    shape = shape_of(options, vectors.items.shape[1], frozen.hidden)
    learnt, held_out = split(corpus.samples, options.held_out)
    still = replace(options.drawing, dropped=0.0, shown=0.0, cold=0.0)

    def collator(drawing: Drawing) -> Collator:
        return Collator(corpus, vectors, writer, shape, drawing)

    head = new_head(shape, frozen, writer)
    credited = places.credits
    if earlier:
        start_from(head, earlier)
        if options.only_beside:
            head.learn_only_beside()
        # What was learnt from them is in this head too.
        credited = tuple(dict.fromkeys((*earlier.credits, *credited)))
    return Prepared(
        head=head,
        collator=collator(options.drawing),
        judging=collator(still),
        judging_beside=collator(replace(still, shown=1.0)) if options.drawing.shown else None,
        records=corpus.records,
        learnt=learnt,
        held_out=held_out,
        recipe={
            "data": [[path.name, hash_file(path), task] for path, task in places.sources],
            "models": model_hashes(bundle),
            "options": options.to_json(),
            "start": earlier and earlier.hash,
        },
        credits=credited,
    )


def rows_read(corpus: Corpus, options: Options) -> set[int]:
    """Return the rows of the corpus that a run reads: those of its steps and of its judgement.

    Raises InputError where there is too little to learn from.
    """
    learnt, held_out = split(corpus.samples, options.held_out)
    if len(learnt) < options.batch:
        raise InputError(
            f"{len(learnt)} samples to learn from are fewer than a batch of {options.batch}"
        )
    size, seed, steps = options.batch, options.seed, steps_in(learnt, options)
    if steps <= steps_of(learnt, size):  # else the rest of one epoch may come in the next
        drawn = epochs(learnt, corpus.records, batch=size, seed=seed, start=0)
        learnt = [sample for _, samples in islice(drawn, steps) for sample in samples]
    return rows_of([*learnt, *judged(held_out)])


def steps_in(learnt: Sequence[Sample], options: Options) -> int:
    """Return how many steps a run takes."""
    return max(1, math.ceil(options.epochs * steps_of(learnt, options.batch)))


def shape_of(options: Options, ndim: int, hidden: int) -> Shape:
    """Return the sizes of the head that a run with these options learns."""
    tasks = options.tasks
    if options.drawing.shown:
        tasks = (*tasks, *(task + BESIDE_RECORDS for task in tasks))
    return Shape(ndim, hidden, tasks, **options.shape)


def new_head(shape: Shape, frozen: FrozenModel, writer: PromptWriter) -> PersonaHead:
    """Make a head that has learnt nothing: its tokens are words still."""
    encode: Callable[[str], list[int]] = writer.tokenizer.encode
    kinds = [task.removesuffix(BESIDE_RECORDS).capitalize() for task in shape.tasks]
    before, after, lead = (
        frozen.embed(
            torch.tensor(
                [words_of(encode(text.format(kind)), count) for kind in kinds], dtype=torch.long
            )
        )
        for text, count in zip(FIRST_WORDS, (shape.before, shape.after, shape.lead), strict=True)
    )
    head = PersonaHead(shape, calibrate(frozen.table()), first_words=(before, after, lead))
    head.to(frozen.device)
    return head


def split(samples: Sequence[Sample], share: float) -> tuple[list[Sample], list[Sample]]:
    """Hold people out, not samples: what is learnt of somebody must not be what is judged."""
    users = sorted({sample.user for sample in samples})
    chosen = set(users[:: max(2, round(1 / share))]) if share else set()
    learnt = [s for s in samples if s.user not in chosen]
    return learnt, [s for s in samples if s.user in chosen]

"""Batches: whose history stands where, and that nothing in them gives the answer away."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="export extra is not installed")

from edgepersona_export.train.batches import Collator, Drawing, epochs, steps_of
from edgepersona_export.train.histories import Sample, read_corpus
from edgepersona_export.train.model import Shape
from edgepersona_export.train.prompts import PromptWriter
from edgepersona_export.train.vectors import vectors_of
from tests import tiny_training

pytestmark = pytest.mark.filterwarnings("default")

SHAPE = Shape(8, 32, ("title", "title+rag"), pooled=2, records=2, words=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("made")
    writer = PromptWriter(tiny_training.write_bundle(folder / "bundle"))
    return writer, tiny_training.write_data(folder / "history.jsonl"), folder


def collator(made, source: Path, **drawing: float) -> tuple[Collator, tuple[Sample, ...]]:
    writer, _, folder = made
    corpus = read_corpus([(source, "title")])
    vectors = vectors_of(corpus.records, tiny_training.Embeds(), folder / f"{source.stem}.npz")
    return Collator(corpus, vectors, writer, SHAPE, Drawing(**drawing)), corpus.samples


def two_people(samples: tuple[Sample, ...]) -> list[Sample]:
    first = samples[0]
    return [first, next(s for s in samples if s.user != first.user)]


def test_beside_records_each_prompt_shows_those_of_the_history_that_it_goes_with(made) -> None:
    writer, source, _ = made
    made_by, samples = collator(made, source, shown=1.0, dropped=0.0)
    pair = two_people(samples)
    batch = made_by.collate(pair, "0")
    assert batch.tasks.tolist() == [1, 1]
    assert batch.before_other is not None
    for row, (own, other) in enumerate(zip(batch.before, batch.before_other, strict=True)):
        mine, theirs = (f"of {pair[i].user[1:]}\n" for i in (row, 1 - row))
        own_text, other_text = writer.tokenizer.decode(own), writer.tokenizer.decode(other)
        assert mine in own_text
        assert theirs in other_text
        assert theirs not in own_text
        assert mine not in other_text


def test_without_records_in_words_one_prompt_serves_both(made) -> None:
    made_by, samples = collator(made, made[1], shown=0.0)
    batch = made_by.collate(two_people(samples), "0")
    assert batch.before_other is None
    assert batch.tasks.tolist() == [0, 0]
    assert batch.has_other.tolist() == [True, True]


def test_what_two_wrote_together_is_not_in_the_others_history(made, tmp_path: Path) -> None:
    file = tmp_path / "together.jsonl"
    lines = [
        {"user_id": u, "date": f"2020-01-0{d}", "title": t, "text": t, "id": t}
        for u in "ab"
        for d, t in [*((d, f"{u}{d}") for d in (1, 2, 3, 5)), (4, "both")]
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made_by, samples = collator(made, file, shown=0.0, dropped=0.0)
    both = next(s for s in samples if made_by.length(s) == 4 and s.user == "a")
    last = next(s for s in samples if s.user == "b" and both.record in s.earlier)
    batch = made_by.collate([both, last], "0")
    assert int(batch.other.is_record[0].sum()) == 3
    assert int(batch.own.is_record[1].sum()) == 4


def test_a_batch_is_of_one_source(made) -> None:
    made_by, samples = collator(made, made[1])
    mixed = [*samples, *(replace(s, source=1) for s in samples)]
    drawn = epochs(mixed, made_by, batch=4, seed=0, start=0)
    steps = [next(drawn)[1] for _ in range(steps_of(mixed, 4))]
    assert {len({s.source for s in batch}) for batch in steps} == {1}
    assert {batch[0].source for batch in steps} == {0, 1}

"""Batches: whose history stands where, and that nothing in them gives the answer away."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="export extra is not installed")

from edgepersona_export.train.batches import Collator, Drawing, epochs, rows_of, steps_of
from edgepersona_export.train.histories import Sample, read_corpus
from edgepersona_export.train.model import Shape
from edgepersona_export.train.options import Options
from edgepersona_export.train.prepare import rows_read, split
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
    records = read_corpus([(file, "title")]).records
    both = next(s for s in samples if records[s.record].title == "both" and s.user == "a")
    last = next(s for s in samples if s.user == "b" and both.record in s.earlier)
    batch = made_by.collate([both, last], "0")
    assert int(batch.other.is_record[0].sum()) == 3
    assert int(batch.own.is_record[1].sum()) == 4


def test_a_batch_is_of_one_source(made) -> None:
    corpus = read_corpus([(made[1], "title")])
    mixed = [*corpus.samples, *(replace(s, source=1) for s in corpus.samples)]
    drawn = epochs(mixed, corpus.records, batch=4, seed=0, start=0)
    steps = [next(drawn)[1] for _ in range(steps_of(mixed, 4))]
    assert {len({s.source for s in batch}) for batch in steps} == {1}
    assert {batch[0].source for batch in steps} == {0, 1}


def test_only_records_that_a_run_reads_have_vectors(made, tmp_path: Path) -> None:
    corpus = read_corpus([(made[1], "title")])
    options = Options(batch=2, epochs=0.1, held_out=0.3)
    rows = rows_read(corpus, options)
    assert len(rows) < len(corpus.records)
    learnt, held_out = split(corpus.samples, options.held_out)
    ((_, first),) = islice(epochs(learnt, corpus.records, batch=2, seed=0, start=0), 1)
    assert rows == rows_of([*first, *held_out])
    embedder = tiny_training.Embeds()
    whole = vectors_of(corpus.records, embedder, tmp_path / "whole.npz")
    embedder.texts = 0
    for _ in range(2):  # made, then read
        some = vectors_of(corpus.records, embedder, tmp_path / "some.npz", rows=rows)
        assert embedder.texts == 3 * len(rows)  # questions, records, titles
        for row in range(len(corpus.records)):
            expected = whole.items[row] if row in rows else 0 * whole.items[row]
            assert (some.items[row] == expected).all()


def test_a_run_of_whole_epochs_reads_all_that_batches_hold(made) -> None:
    corpus = read_corpus([(made[1], "title")])
    options = Options(batch=1, epochs=3, held_out=0.3)
    assert rows_read(corpus, options) == rows_of(corpus.samples)

"""What a run keeps: vectors of texts, and answers, also where it was stopped in the middle."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgepersona.errors import InputError
from edgepersona.evaluation.answers import Answer, Journal
from edgepersona.evaluation.vectors import KeptVectors
from tests.standins import NDIM, WordEmbedder

if TYPE_CHECKING:
    from pathlib import Path

ANSWER = Answer(
    "k1", "q1", "rag", "own", (3.5, 2.0), 7, 90, "tea: \u2028 a « note »", 5, 0.1, 0.2, 4
)


def kept(file: Path, embedder: WordEmbedder) -> KeptVectors:
    return KeptVectors(file, lambda: embedder, NDIM)


def test_each_text_is_embedded_once_also_in_a_later_run(tmp_path: Path) -> None:
    embedder, texts = WordEmbedder(), ["tea", "boats", "tea"]
    first = kept(tmp_path / "v.bin", embedder).encode(texts)
    assert embedder.encoded == ["tea", "boats"]
    again = kept(tmp_path / "v.bin", embedder)
    assert np.array_equal(again.encode(texts), first)
    again.prepare(["stars", "boats", "stars"], lambda done, total: None)
    assert embedder.encoded == ["tea", "boats", "stars"]
    assert np.array_equal(first, WordEmbedder().encode(texts))


def test_a_query_is_not_a_document(tmp_path: Path) -> None:
    embedder = WordEmbedder()
    vectors = kept(tmp_path / "v.bin", embedder)
    vectors.encode(["tea"])
    vectors.encode(["tea"], role="query")
    assert embedder.encoded == ["tea", "tea"]


def test_progress_of_embedding_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    texts = [f"text {i}" for i in range(100)]
    kept(tmp_path / "v.bin", WordEmbedder()).prepare(texts, lambda *told_: told.append(told_))
    assert told == [(64, 100), (100, 100)]


@pytest.mark.parametrize("cut", [1, 31, 32, 100, 32 + 4 * NDIM])
def test_vectors_that_were_cut_off_are_made_again(tmp_path: Path, cut: int) -> None:
    file, embedder = tmp_path / "v.bin", WordEmbedder()
    whole = kept(file, embedder).encode(["tea", "boats"])
    file.write_bytes(file.read_bytes()[:-cut])
    assert np.array_equal(kept(file, embedder).encode(["tea", "boats"]), whole)
    assert embedder.encoded == ["tea", "boats", "boats"]
    assert np.array_equal(kept(file, embedder).encode(["boats", "tea"]), whole[::-1])


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.jsonl")
    journal.add(ANSWER)
    scored = replace(ANSWER, key="k2", output=None)
    journal.add(scored)
    again = Journal(tmp_path / "a.jsonl")
    assert (again["k1"], again["k2"]) == (ANSWER, scored)
    assert "k3" not in again


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_an_answer_that_was_cut_off_is_made_again(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "a.jsonl"
    journal = Journal(file)
    journal.add(ANSWER)
    journal.add(replace(ANSWER, key="k2"))
    file.write_bytes(file.read_bytes()[:-cut])
    again = Journal(file)
    assert "k1" in again
    assert "k2" not in again
    again.add(replace(ANSWER, key="k3"))
    assert Journal(file)["k3"].question == "q1"


@pytest.mark.parametrize("line", [b"no JSON", b"[]", b"{}", b'{"key": "k", "nats": 3}', b"\xff"])
def test_a_file_of_something_else_is_refused_by_line(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(line + b"\n")
    with pytest.raises(InputError, match=r"a.jsonl: line 1: is no answer .*another folder"):
        Journal(tmp_path / "a.jsonl")

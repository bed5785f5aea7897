"""Figures of a report, from answers written by hand."""

from __future__ import annotations

import pytest

from edgepersona.evaluation import Question, find_benchmark
from edgepersona.evaluation.answers import Answer
from edgepersona.evaluation.report import make_report
from edgepersona.evaluation.running import TEMPERATURES, Case, Row
from edgepersona.records import Record, Task

pytest.importorskip("rouge_score", reason="eval extra is not installed")

OWN, OTHER = Row("rag", "own"), Row("rag", "other")


def question(name: str, title: str) -> Question:
    history = (Record("a text", title=title, id="r"),)
    return Question(name, name, Task("another text", kind="subject"), history, "a b")


def answer(row: Row, name: str, output: str) -> Answer:
    nats = (2.0,) * len(TEMPERATURES)
    return Answer(name, name, row.strategy, row.history, nats, 2, 9, output)


def test_answers_that_are_a_title_of_the_history_read_are_counted() -> None:
    ann, bob = question("ann", " a b "), question("bob", "c d")
    cases = [Case(ann, bob), Case(bob, ann)]
    answers = {
        OWN: [answer(OWN, "ann", "a b"), answer(OWN, "bob", "a b")],
        OTHER: [answer(OTHER, "ann", "c d"), answer(OTHER, "bob", "a b")],
    }
    report = make_report(find_benchmark("LaMP_6"), cases, answers, {}, against=(), seed=0)
    assert [row["copied"] for row in report["rows"]] == [0.5, 1.0]
    assert [row["figures"]["rouge-1"]["value"] for row in report["rows"]] == [1.0, 0.5]
    assert [row["figures"]["nats"]["value"] for row in report["rows"]] == [1.0, 1.0]
    (held,) = report["differences"]
    assert held["figures"]["rouge-1"]["value"] == 0.5


def test_of_tasks_without_titles_nothing_is_counted_as_copied() -> None:
    rated = [answer(OWN, "ann", "3")]
    cases = [Case(Question("ann", "ann", Task("t", kind="rating"), (), "3"))]
    report = make_report(find_benchmark("LaMP_3"), cases, {OWN: rated}, {}, against=(), seed=0)
    assert report["rows"][0]["copied"] is None

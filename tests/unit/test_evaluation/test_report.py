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


def answer(row: Row, name: str, output: str, *, total: float = 2.0) -> Answer:
    nats = (total,) * len(TEMPERATURES)
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


def test_what_two_strategies_say_of_their_user_is_compared_question_by_question() -> None:
    ann, bob = question("ann", "a b"), question("bob", "c d")
    cases = [Case(ann, bob), Case(bob, ann)]
    totals = {  # of two tokens each: rag's own is 1 nat a token below its other's, pplug's 1.5
        OWN: (2.0, 8.0), OTHER: (4.0, 10.0),
        Row("pplug", "own"): (1.0, 2.0), Row("pplug", "other"): (4.0, 5.0),
    }  # fmt: skip
    answers = {
        row: [
            answer(row, case.question.user, "a b", total=nats)
            for case, nats in zip(cases, both, strict=True)
        ]
        for row, both in totals.items()
    }
    report = make_report(
        find_benchmark("LaMP_6"), cases, answers, {}, against=("none", "rag"), seed=0
    )
    (held,) = report["contrasts"]
    assert (held["strategy"], held["against"]) == ("pplug", "rag")
    # It is so for each question, so also in each resample, though questions are far apart.
    assert held["figures"]["nats"] == pytest.approx({"value": -0.5, "low": -0.5, "high": -0.5})
    assert held["figures"]["rouge-1"]["value"] == 0


def test_a_strategy_without_another_user_is_not_compared_by_what_it_says_of_one() -> None:
    ann, bob = question("ann", "a b"), question("bob", "c d")
    given = {row: [answer(row, "ann", "a b")] for row in (OWN, Row("pplug", "own"))}
    report = make_report(
        find_benchmark("LaMP_6"), [Case(ann, bob)], given, {}, against=("rag",), seed=0
    )
    assert report["contrasts"] == []

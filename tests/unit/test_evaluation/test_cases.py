"""Whom a question is compared with, and what questions are made of histories."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgepersona.errors import InputError
from edgepersona.evaluation import Question, find_benchmark
from edgepersona.evaluation.calibration import history_questions
from edgepersona.evaluation.control import other_histories
from edgepersona.records import Record, Task

SUBJECTS = find_benchmark("LaMP_6")


def made(name: str, user: str, *, records: int = 4, text: str = "Asked by") -> Question:
    history = tuple(
        Record(f"{name} wrote {i}", title=f"{name} {i}", date=f"2020-01-{i + 1:02}", id=f"r{i}")
        for i in range(records)
    )
    return Question(name, user, Task(f"{text} {name}", kind="subject"), history, f"re {name}")


def test_the_other_is_another_user_of_a_similar_size() -> None:
    questions = [
        made("a1", "ann"),
        made("a2", "ann"),
        made("b", "bob", records=5),
        made("c", "cy", records=9),
    ]
    others = other_histories(questions, questions, seed=0)
    assert [other.user for other in others[:2]] == ["bob", "bob"]
    assert others[2].user == "ann"
    assert others[3].user == "bob"


def test_the_seed_chooses_among_those_that_qualify_question_by_question() -> None:
    questions = [made(f"q{i}", f"user {i}") for i in range(30)]

    def chosen(seed: int, among: list[Question] = questions) -> list[str]:
        return [other.user for other in other_histories(among, questions, seed=seed)]

    assert chosen(1) == chosen(1) != chosen(2)
    assert len(set(chosen(1))) > 10
    assert chosen(1, questions[5:9]) == chosen(1)[5:9]


def test_a_co_author_or_who_has_the_question_in_the_history_is_no_control() -> None:
    ann, bob, cy, dee = (made(name, name) for name in "abcd")
    bob = replace(bob, history=(*bob.history[1:], ann.history[0]))
    cy = replace(cy, history=(*cy.history[1:], replace(cy.history[0], text=ann.task.text)))
    for seed in range(5):
        assert other_histories([ann], [ann, bob, cy, dee], seed=seed) == [dee]


def test_where_there_is_nobody_to_compare_with_it_is_said() -> None:
    with pytest.raises(InputError, match=r"question a: there is no other user"):
        other_histories([made("a", "ann")], [made("a", "ann"), made("b", "ann")], seed=0)


def test_a_history_question_asks_for_the_latest_record_with_what_came_before() -> None:
    (found,) = history_questions(SUBJECTS, [made("a", "ann")], count=5, seed=0)
    assert (found.task.text, found.task.kind, found.answer) == ("a wrote 3", "subject", "a 3")
    assert [record.title for record in found.history] == ["a 0", "a 1", "a 2"]
    assert found.user == "ann"


def test_what_is_of_the_same_day_is_not_earlier() -> None:
    question = made("a", "ann", records=5)
    history = tuple(
        replace(record, date="2020-01-04") if i >= 3 else record
        for i, record in enumerate(question.history)
    )
    (found,) = history_questions(SUBJECTS, [replace(question, history=history)], count=1, seed=0)
    assert [record.title for record in found.history] == ["a 0", "a 1", "a 2"]


def test_without_dates_the_order_of_the_file_counts() -> None:
    question = made("a", "ann")
    history = tuple(replace(record, date="") for record in question.history)
    (found,) = history_questions(SUBJECTS, [replace(question, history=history)], count=1, seed=0)
    assert found.answer == "a 3"
    assert len(found.history) == 3


def test_what_a_question_asks_is_never_made_a_history_question() -> None:
    first = made("a", "ann")
    later = replace(made("b", "ann"), history=first.history, task=Task(" a  wrote\n3", "subject"))
    found = history_questions(SUBJECTS, [first, later], count=5, seed=0)
    assert [question.answer for question in found] == ["a 2"]


def test_no_record_is_asked_for_twice_and_no_more_than_wanted() -> None:
    questions = [replace(made("a", "ann"), id=f"q{i}") for i in range(3)]
    questions += [made(f"b{i}", f"bob {i}") for i in range(6)]
    found = history_questions(SUBJECTS, questions, count=4, seed=1)
    assert len(found) == 4
    assert len({question.task.text for question in found}) == 4


def test_tasks_whose_records_are_no_questions_have_none() -> None:
    assert history_questions(find_benchmark("LaMP_7"), [made("a", "ann")], count=3, seed=0) == []

"""Files of questions and outputs are read as LaMP writes them, and refused by place otherwise."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from edgepersona.errors import InputError
from edgepersona.evaluation import find_benchmark, read_questions
from edgepersona.evaluation.questions import predictions

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.test_evaluation.conftest import Files

SUBJECTS = find_benchmark("LaMP_6")


def test_a_question_has_its_task_its_history_and_its_answer(files: Files) -> None:
    found = read_questions(SUBJECTS, *files.write())
    assert [q.id for q in found] == ["ann-1", "ann-2", "bob-1", "bob-2", "eve-1", "eve-2"]
    first = found[0]
    assert (first.user, first.answer) == ("ann", "a subject for ann-1")
    assert (first.task.kind, first.task.text) == ("subject", "tea are on my mind, 1")
    record = first.history[3]
    assert (record.id, record.title, record.date) == ("ann1r3", "tea: note 3", "2020-01-04")


def test_gzip_is_read_whatever_the_name(files: Files) -> None:
    paths = files.write()
    for path in paths:
        path.write_bytes(gzip.compress(path.read_bytes()))
    assert len(read_questions(SUBJECTS, *paths)) == 6


@pytest.mark.parametrize(
    ("task", "given", "kind", "instruction", "text"),
    [
        ("LaMP_1", 'Which is related? [1]: "A" [2]: "B"', "instruction", "Which is related?",
         '[1]: "A" [2]: "B"'),
        ("LaMP_2", "Which tag? tags: [x, y] description: D", "tag",
         "Which tag? tags: [x, y]", "D"),
        ("LaMP_3", "What is the score? review: good", "rating", "", "good"),
        ("LaMP_4", "Generate a headline for the following article: A", "headline", "", "A"),
        ("LaMP_5", "Generate a title for the following abstract of a paper: A", "title", "", "A"),
        ("LaMP_5", "An abstract, without any request.", "title", "",
         "An abstract, without any request."),
        ("LaMP_7", "Paraphrase the following tweet without any explanation before or after it: T",
         "instruction", None, "T"),
        ("LongLaMP_2", "Write the abstract of X", "instruction", None, "Write the abstract of X"),
    ],
)  # fmt: skip
def test_every_task_puts_its_questions_in_its_own_way(
    task: str, given: str, kind: str, instruction: str | None, text: str
) -> None:
    found = find_benchmark(task).question(given)
    assert (found.kind, found.text) == (kind, text)
    assert found.instruction if instruction is None else found.instruction == instruction


def test_long_lamp_has_its_answers_beside_the_questions(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    entries: list[dict[str, Any]] = [
        {"input": "Write a review", "output": "It is fine.", "reviewerId": "ann", "profile": [
            {"reviewText": "Good tea.", "summary": "Good", "description": "A pot", "overall": 4}
        ]},
        {"input": "Write a post", "output": "Boats!", "author": "bob", "profile": [
            {"content": "I sail.", "summary": "Sailing"}
        ]},
    ]  # fmt: skip
    file.write_text("\n".join(map(json.dumps, entries)))
    ann, bob = read_questions(find_benchmark("LongLaMP_3"), file)
    assert (ann.id, ann.user, ann.answer) == ("1", "ann", "It is fine.")
    assert (ann.history[0].text, ann.history[0].title) == ("Good tea.", "Good")
    assert (bob.user, bob.history[0].text) == ("bob", "I sail.")


def test_an_entry_without_words_is_passed_over(files: Files) -> None:
    files.questions[0]["profile"][1] |= {"text": " ", "title": ""}
    assert len(read_questions(SUBJECTS, *files.write())[0].history) == 3


def test_two_entries_of_one_id_are_both_kept(files: Files) -> None:
    files.questions[0]["profile"][1]["id"] = files.questions[0]["profile"][0]["id"]
    assert len({r.id for r in read_questions(SUBJECTS, *files.write())[0].history}) == 4


def break_ids(files: Files) -> None:
    files.outputs["golds"] = files.outputs["golds"][1:]


def break_questions(files: Files) -> None:
    files.outputs["golds"].append({"id": "zoe-1", "output": "x"})


def break_task(files: Files) -> None:
    files.outputs["task"] = "LaMP_4"


def break_shape(files: Files) -> None:
    files.outputs = {"answers": []}


def break_input(files: Files) -> None:
    files.questions[2]["input"] = ""


def break_profile(files: Files) -> None:
    files.questions[1]["profile"][2] = {"text": 3}


def break_order(files: Files) -> None:
    files.questions.append(files.questions[0])


def break_kind(files: Files) -> None:
    files.questions[0] = {"id": "x", "text": "no question"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_ids, r"outputs.json: lacks 1 of the ids in .*questions.json: 'ann-1'"),
        (break_questions, r"questions.json: lacks 1 of the ids in .*outputs.json: 'zoe-1'"),
        (break_task, r"outputs.json: holds the outputs of 'LaMP_4'.*asked for is LaMP_6"),
        (break_shape, r"outputs.json: is no file of outputs: expected .*LaMP_6.*golds"),
        (break_input, r"questions.json: bob-1 has no text under 'input'"),
        (break_profile, r"question ann-2, profile entry 3: 'text' is a JSON int, expected text"),
        (break_order, r"questions.json: 'ann-1' stand there more than once"),
        (break_kind, r"question 1: expected an object with id, input and profile"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_by_place(
    files: Files, damage: Any, message: str
) -> None:
    damage(files)
    with pytest.raises(InputError, match=message) as caught:
        read_questions(SUBJECTS, *files.write())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[", b"not JSON", b"\x1f\x8bdamaged", b"[]", b"[3]"])
def test_what_is_no_questions_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "q.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"q\.json"):
        read_questions(find_benchmark("LongLaMP_1"), file)


def test_a_file_that_is_not_there_is_named(files: Files, tmp_path: Path) -> None:
    questions, _ = files.write()
    with pytest.raises(InputError, match=r"nowhere\.json: cannot be read"):
        read_questions(SUBJECTS, questions, tmp_path / "nowhere.json")


def test_a_true_rating_must_be_one(files: Files) -> None:
    files.outputs["task"] = "LaMP_3"
    with pytest.raises(InputError, match=r"ann-1: its true answer is 'a subject.*rating of 1 to 5"):
        read_questions(find_benchmark("LaMP_3"), *files.write())


def test_predictions_have_the_shape_of_outputs() -> None:
    assert predictions(SUBJECTS, {"ann-1": "x"}) == {
        "task": "LaMP_6",
        "golds": [{"id": "ann-1", "output": "x"}],
    }


def test_an_unknown_task_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"task 'LaMP_9'.*LaMP_1, LaMP_2"):
        find_benchmark("LaMP_9")

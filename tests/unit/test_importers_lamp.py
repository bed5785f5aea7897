"""LaMP questions: one user's profile out of many."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from edgepersona.errors import InputError
from edgepersona.importers import detect, read

if TYPE_CHECKING:
    from pathlib import Path


def questions(path: Path, *entries: dict) -> Path:
    path.write_text(json.dumps([{"input": "?", **entry} for entry in entries]))
    return path


@pytest.mark.parametrize(
    ("entry", "title", "text", "kind"),
    [
        ({"title": "T", "abstract": "A", "date": "2017"}, "T", "A", "paper"),
        ({"description": "D", "tag": "comedy"}, "comedy", "D", ""),
        ({"text": "R", "score": 4}, "4", "R", "review"),
        ({"text": "A", "title": "H"}, "H", "A", ""),
        ({"text": "tweet"}, "", "tweet", ""),
    ],
)
def test_profile_entries_of_every_task(
    tmp_path: Path, entry: dict, title: str, text: str, kind: str
) -> None:
    file = questions(tmp_path / "dev.json", {"id": "q", "profile": [{"id": "11", **entry}]})
    assert detect(file) == "lamp"
    (item,) = read(file)
    assert item.record is not None
    assert (item.record.title, item.record.text, item.record.kind) == (title, text, kind)
    assert (item.record.id, item.record.source) == ("11", "lamp:dev")


def test_a_user_is_a_user_id_or_a_question(tmp_path: Path) -> None:
    file = questions(
        tmp_path / "q.json",
        {"id": "q1", "user_id": "ann", "profile": [{"text": "a"}, {"text": "b"}]},
        {"id": "q2", "user_id": "bob", "profile": [{"text": "c"}]},
        {"id": "q3", "user_id": "ann", "profile": [{"text": "d"}]},
    )
    with pytest.raises(InputError, match=r"\(ann, bob\).*--user"):
        read(file)
    with pytest.raises(InputError, match=r"'eve'.*ann, bob"):
        list(read(file, user="eve"))
    assert [item.position for item in read(file, user="ann")] == [1, 2, 4]
    assert [item.position for item in read(file, user="q2")] == [3]


def test_a_bad_question_or_entry_is_named_and_the_rest_go_on(tmp_path: Path) -> None:
    file = tmp_path / "q.json"
    file.write_text('[{"id": "a", "profile": [{"text": ""}, 3, {"text": "x"}]}, {"id": "a"}, {]')
    errors = [item.error for item in read(file, kind="lamp", user="a")]
    assert errors[0].startswith("question 1, profile entry 1: ")
    assert errors[1] == "question 1, profile entry 2: a JSON int, expected an object"
    assert errors[2] == ""
    assert errors[3] == "question 2: no list 'profile' in it"
    assert errors[4].startswith("question 3: ")

"""A tiny benchmark: three users who write of tea, boats and stars, in LaMP's files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

TOPICS = {"ann": "tea", "bob": "boats", "eve": "stars"}


def question(user: str, number: int, *, records: int = 4) -> dict[str, Any]:
    topic = TOPICS[user]
    return {
        "id": f"{user}-{number}",
        "user_id": user,
        "input": f"Generate a subject for the following email: {topic} are on my mind, {number}",
        "profile": [
            {
                "id": f"{user}{number}r{i}",
                "date": f"2020-01-{i + 1:02}",
                "title": f"{topic}: note {i}",
                "text": f"Of {topic} I wrote this, for {number}, the {i}th time.",
            }
            for i in range(records)
        ],
    }


@dataclass
class Files:
    """Questions and outputs, to be written once they are as a test wants them."""

    folder: Path
    questions: list[dict[str, Any]]
    outputs: dict[str, Any]

    def write(self) -> tuple[Path, Path]:
        paths = self.folder / "questions.json", self.folder / "outputs.json"
        for path, value in zip(paths, (self.questions, self.outputs), strict=True):
            path.write_text(json.dumps(value), "utf-8")
        return paths


@pytest.fixture
def files(tmp_path: Path) -> Files:
    questions = [question(user, number) for user in TOPICS for number in (1, 2)]
    golds = [{"id": q["id"], "output": f"a subject for {q['id']}"} for q in questions]
    return Files(tmp_path, questions, {"task": "LaMP_6", "golds": golds})

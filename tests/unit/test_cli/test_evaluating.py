"""``edgepersona eval`` refuses what it cannot measure, in one line and before models are loaded."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.test_cli.conftest import Ended

pytest.importorskip("rouge_score", reason="eval extra is not installed")


@pytest.fixture
def evaluate(
    run: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ended]:
    """Run the command on two questions of two users, with other options where they are given."""
    from tests import tiny

    tiny.write_empty_bundle(tmp_path / "bundle")
    monkeypatch.setenv("EDGEPERSONA_BUNDLE", str(tmp_path / "bundle"))
    questions = [
        {"id": i, "user_id": i, "input": f"review: {i}", "profile": [{"text": i, "score": 3}]}
        for i in ("a", "b")
    ]
    golds = [{"id": i, "output": "3"} for i in ("a", "b")]
    (tmp_path / "q.json").write_text(json.dumps(questions))
    (tmp_path / "o.json.gz").write_bytes(
        gzip.compress(json.dumps({"task": "LaMP_3", "golds": golds}).encode())
    )

    def evaluate_(*more: str, **changed: str | None) -> Ended:
        options: dict[str, str | None] = {
            "--task": "LaMP_3",
            "--questions": str(tmp_path / "q.json"),
            "--outputs": str(tmp_path / "o.json.gz"),
            "--strategy": "rag",
            "--out": str(tmp_path / "out"),
            **{f"--{name}": value for name, value in changed.items()},
        }
        given = [part for pair in options.items() if pair[1] is not None for part in pair]
        return run("eval", *given, *more)

    return evaluate_


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"task": "LaMP_9"}, "task 'LaMP_9' is not known; expected one of LaMP_1"),
        ({"strategy": "rag,cloud"}, "strategy 'cloud' is not known; expected one of none"),
        ({"strategy": "rag,"}, "a strategy's name is empty"),
        ({"outputs": None}, "--outputs is missing"),
        ({"limit": "0"}, "--limit: '0' is no whole number of 1 or more"),
        ({"seed": "-1"}, "--seed: '-1' is no whole number"),
    ],
)
def test_wrong_options_are_wrong_usage(
    evaluate: Callable[..., Ended], changed: dict[str, str | None], message: str
) -> None:
    ended = evaluate(**changed)
    assert ended.status == 2
    assert message in ended.err.splitlines()[-1]


def test_files_that_do_not_match_are_refused_before_anything_is_loaded(
    evaluate: Callable[..., Ended], tmp_path: Path
) -> None:
    (tmp_path / "q.json").write_text('[{"id": "a", "input": "x", "profile": []}]')
    ended = evaluate()
    assert ended.status == 1
    assert ended.error.startswith(f"{tmp_path / 'q.json'}: lacks 1 of the ids in")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there_is_named(evaluate: Callable[..., Ended]) -> None:
    assert "nowhere.json: cannot be read" in evaluate(questions="nowhere.json").error


def test_a_control_needs_another_user(evaluate: Callable[..., Ended], tmp_path: Path) -> None:
    text = (tmp_path / "q.json").read_text().replace('"user_id": "b"', '"user_id": "a"')
    (tmp_path / "q.json").write_text(text)
    assert "there is no other user" in evaluate("--control").error

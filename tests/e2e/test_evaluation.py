"""``edgepersona eval`` with real models: measured, stopped, gone on with."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Program

pytest.importorskip("rouge_score", reason="eval extra is not installed")
pytest.importorskip("matplotlib", reason="eval extra is not installed")

USERS = {"ann": "the garden", "bob": "the harbour"}


@pytest.fixture
def files(tmp_path: Path) -> list[str | Path]:
    questions: list[dict[str, Any]] = []
    for user, place in USERS.items():
        notes = [
            {
                "id": f"{user}{i}",
                "date": f"2020-01-0{i + 1}",
                "title": f"[{place}] report {i}",
                "text": f"This is what I saw in {place} on the {i + 1}th day of the year.",
            }
            for i in range(5)
        ]
        text = f"What I saw in {place} today is like what I saw before."
        ask = f"Generate a subject for the following email: {text}"
        questions.append({"id": f"q-{user}", "user_id": user, "input": ask, "profile": notes})
    golds = [{"id": f"q-{user}", "output": f"[{place}] report 5"} for user, place in USERS.items()]
    (tmp_path / "q.json").write_text(json.dumps(questions))
    (tmp_path / "o.json").write_text(json.dumps({"task": "LaMP_6", "golds": golds}))
    return ["--questions", tmp_path / "q.json", "--outputs", tmp_path / "o.json"]


def test_own_history_is_worth_more_than_anothers(
    equipped: Program, files: list[str | Path], tmp_path: Path
) -> None:
    command = ["eval", "--task", "LaMP_6", *files, "--strategy", "rag", "--control"]
    command += ["--calibrate", "2", "--out", tmp_path / "out"]
    ended = equipped(*command)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(
        "LaMP_6: 2 questions of 2 users; temperatures fitted on 2 questions"
    )
    report = json.loads((tmp_path / "out" / "report.json").read_bytes())
    nats = {
        (row["row"]["strategy"], row["row"]["history"]): row["figures"]["nats"]["value"]
        for row in report["rows"]
    }
    assert nats["rag", "own"] < nats["rag", "other"] < nats["none", "none"]
    again = equipped(*command, "--json")
    assert again.json == report


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_ended_goes_on_with_what_is_kept(
    equipped: Program, files: list[str | Path], tmp_path: Path, how: signal.Signals
) -> None:
    answers = tmp_path / "out" / "answers.jsonl"
    command = ["eval", "--task", "LaMP_6", *files, "--strategy", "rag,recent", "--control"]
    command += ["--calibrate", "2", "--workers", "2", "--out", tmp_path / "out"]
    process = equipped.start(*command)
    while process.poll() is None and not answers.exists():
        time.sleep(0.01)
    process.send_signal(how)
    _, err = process.communicate()
    if how is signal.SIGINT:
        assert process.returncode == 1
        assert b"interrupted; " in err
        assert b"answers are kept in" in err
    before = answers.read_bytes()
    whole = before[: before.rfind(b"\n") + 1]
    assert equipped(*command).status == 0
    assert answers.read_bytes().startswith(whole)
    assert len(answers.read_bytes().splitlines()) == 20
    assert not (tmp_path / "out" / "profiles").exists()

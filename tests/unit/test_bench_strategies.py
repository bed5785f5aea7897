"""What was measured goes into the page in the place of what stood there."""

from __future__ import annotations

import pytest

from bench.strategies import BEGIN, END, PAGE, split, with_measured

REPORT = {
    "task": "LaMP_6",
    "questions": 2,
    "questions_in_file": 6,
    "users": 2,
    "calibration_questions": 0,
    "seed": 0,
    "generator": "a model",
    "variant": "cpu-int4",
    "provider": "native",
    "max_new_tokens": 48,
    "rows": [
        {
            "row": {"strategy": "none", "history": "none"},
            "figures": {"nats": {"value": 3.25, "low": 3.0, "high": 3.5}},
            "copied": 0.25,
            "temperature": None,
            "prompt_tokens": 90.0,
            "ttft_s": 0.5,
            "seconds": 0.5,
        }
    ],
    "against": ["none", "rag"],
    "differences": [],
    "contrasts": [],
}


def test_tables_stand_between_the_marks_and_twice_changes_nothing() -> None:
    page = f"before\n\n{BEGIN}\n\nold\n\n{END}\n\nafter\n"
    once = with_measured(page, {"commits": REPORT})
    assert once.startswith(f"before\n\n{BEGIN}\n\n### commits\n\nLaMP_6: 2 questions of 2 users:")
    assert "| none | none | 3.250 [3.000, 3.500] | 25% | – | 90 | 0.50 |" in once
    assert "a model (cpu-int4, native)" in once
    assert "2 of 6 questions" in once
    assert once.endswith(f"{END}\n\nafter\n")
    assert "old" not in once
    assert with_measured(once, {"commits": REPORT}) == once


def test_the_page_has_the_marks() -> None:
    assert with_measured(PAGE.read_text("utf-8"), {"a set": REPORT})


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(SystemExit, match="lacks"):
        with_measured("no marks", {})


def test_a_set_has_a_name_and_a_path() -> None:
    assert split("commits=a=b.json") == ("commits", "a=b.json")
    with pytest.raises(SystemExit, match="NAME=REPORT"):
        split("report.json")

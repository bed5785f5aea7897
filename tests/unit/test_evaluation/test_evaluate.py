"""A whole evaluation, on stand-ins for the models: what is asked, kept, written, gone on with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgepersona.errors import BundleError, InputError
from edgepersona.evaluation import Options, evaluate, find_benchmark
from edgepersona.evaluation.answers import Journal
from edgepersona.evaluation.folder import held_folder
from edgepersona.evaluation.running import _generated
from edgepersona.evaluation.tables import as_markdown, as_text, tables
from edgepersona.generator import Generator
from edgepersona.prompt import Prompt
from edgepersona.strategies import find
from edgepersona.weights import fit_weight
from tests import tiny, tiny_persona
from tests.standins import ChainDecoder, WordEmbedder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgepersona.bundle import Bundle
    from edgepersona.evaluation.answers import Answer
    from edgepersona.store import Store
    from tests.unit.test_evaluation.conftest import Files

pytest.importorskip("rouge_score", reason="eval extra is not installed")
pytest.importorskip("matplotlib", reason="eval extra is not installed")

SUBJECTS = find_benchmark("LaMP_6")
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass
class Evaluator:
    """Evaluates on one decoder; counts what it reads."""

    files: Files
    bundle: Bundle
    out: Path
    decoder: ChainDecoder = field(default_factory=lambda: ChainDecoder(259))
    embedder: WordEmbedder = field(default_factory=WordEmbedder)

    def __call__(self, *strategies: str, stop_after: int = 0, **options: Any) -> dict[str, Any]:
        self.decoder.context = 8192
        self.decoder.prefilled.clear()

        def progress(what: str, done: int, total: int) -> None:
            if what == "answer" and 0 < done == stop_after:
                raise KeyboardInterrupt

        return evaluate(
            SUBJECTS,
            *self.files.write(),
            self.out,
            bundle=self.bundle,
            options=Options(strategies, **{"calibrate": 3, "max_new_tokens": 8, **options}),
            embedder=lambda: self.embedder,
            generator=lambda _: Generator(self.bundle, max_context=8192, decoder=self.decoder),
            progress=progress,
        )

    @property
    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / "answers.jsonl").read_bytes().splitlines()]


@dataclass
class FakeStream:
    result: SimpleNamespace
    layout: SimpleNamespace

    def __iter__(self) -> Iterator[str]:
        return iter(())


@pytest.fixture
def run(files: Files, tmp_path: Path) -> Evaluator:
    return Evaluator(files, tiny.write_empty_bundle(tmp_path / "bundle"), tmp_path / "out")


def named(report: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["row"]["strategy"], row["row"]["history"]) for row in report["rows"]]


def test_rows_are_none_and_each_strategy_with_own_and_other_history(run: Evaluator) -> None:
    report = run("rag", "recent", "none", "rag", control=True)
    assert named(report) == [
        ("none", "none"), ("rag", "own"), ("rag", "other"), ("recent", "own"), ("recent", "other"),
    ]  # fmt: skip
    assert {row["n"] for row in report["rows"]} == {6}
    assert (report["questions"], report["users"], report["calibration_questions"]) == (6, 3, 3)
    by_row = {tuple(row["row"].values()): row for row in report["rows"]}
    assert by_row["none", "none"]["records"] == 0
    assert by_row["rag", "own"]["records"] == by_row["rag", "other"]["records"] == 4
    assert by_row["rag", "own"]["prompt_tokens"] > by_row["none", "none"]["prompt_tokens"]


def test_without_control_there_is_no_other(run: Evaluator) -> None:
    assert named(run("rag")) == [("none", "none"), ("rag", "own")]


def test_what_is_written_is_in_the_shape_of_the_outputs(run: Evaluator) -> None:
    report = run("rag", control=True)
    for name in ("none", "rag", "rag-other"):
        held = json.loads((run.out / f"predictions-{name}.json").read_text("utf-8"))
        assert held["task"] == "LaMP_6"
        assert [gold["id"] for gold in held["golds"]] == [q["id"] for q in run.files.questions]
        assert all(isinstance(gold["output"], str) for gold in held["golds"])
    assert json.loads((run.out / "report.json").read_text("utf-8")) == report
    assert (run.out / "plot.png").read_bytes().startswith(PNG)


def test_the_likelihood_is_that_of_the_true_answer_behind_the_prompt(run: Evaluator) -> None:
    report = run("none", calibrate=0)
    (row,) = report["rows"]
    total = 0.0
    generator = Generator(run.bundle, decoder=run.decoder)
    for question in run.files.questions:
        answer = generator.tokenizer.encode(f" a subject for {question['id']}")
        # The stand-in's logits follow from the last three tokens: those before are the prompt's.
        task = SUBJECTS.question(question["input"])
        prompt = find("none")(task, None)  # type: ignore[arg-type]
        assert isinstance(prompt, Prompt)
        ids = generator.stream(prompt).layout.token_ids
        read = [run.decoder.embed([i])[0].tobytes() for i in [*ids, *answer]]
        for at, token in enumerate(answer):
            logits = run.decoder.logits(read[: len(ids) + at]).astype(np.float64)
            total -= logits[token] - np.log(np.exp(logits).sum())
    assert row["figures"]["nats"]["value"] == pytest.approx(total / row["true_tokens"], rel=1e-5)
    assert "nats, scaled" not in row["figures"]
    assert row["temperature"] is None


def test_a_hedging_temperature_is_fitted_where_the_model_is_too_sure(run: Evaluator) -> None:
    run.decoder.spread = 12.0
    (row,) = run("none")["rows"]
    assert row["temperature"] > 2
    assert row["figures"]["nats, scaled"]["value"] < row["figures"]["nats"]["value"]


def test_own_and_other_are_compared_question_by_question(run: Evaluator) -> None:
    report = run("rag", control=True)
    (held,) = [d for d in report["differences"] if d["against"]["history"] == "other"]
    own, other = (
        next(row for row in report["rows"] if row["row"] == {"strategy": "rag", "history": history})
        for history in ("own", "other")
    )
    for name, figure in held["figures"].items():
        apart = own["figures"][name]["value"] - other["figures"][name]["value"]
        assert figure["value"] == pytest.approx(apart)
        assert figure["low"] <= figure["value"] <= figure["high"]


def test_a_run_that_was_stopped_goes_on_and_ends_as_one_that_was_not(
    run: Evaluator, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run("rag", control=True, stop_after=11)
    kept = run.answers
    assert 11 <= len(kept) < 27
    resumed = run("rag", control=True)
    assert run.answers[: len(kept)] == kept
    assert len({answer["key"] for answer in run.answers}) == len(run.answers) == 27
    run.out = tmp_path / "whole"
    whole = run("rag", control=True)

    def without_times(report: dict[str, Any]) -> dict[str, Any]:
        for row in report["rows"]:
            del row["ttft_s"], row["seconds"]
        return report

    assert without_times(resumed) == without_times(whole)


def test_what_was_answered_is_not_asked_again(run: Evaluator) -> None:
    run("rag")
    run("rag")
    assert run.decoder.prefilled == []
    run("rag", "recent")
    assert {answer["strategy"] for answer in run.answers[18:]} == {"recent"}


@pytest.mark.parametrize("change", ["input", "profile", "output", "length"])
def test_an_answer_to_something_else_is_not_taken_for_it(run: Evaluator, change: str) -> None:
    run("rag", calibrate=0)
    before = len(run.answers)
    question = run.files.questions[0]
    if change == "input":
        question["input"] += " again"
    elif change == "profile":
        question["profile"][0]["title"] = "another title"
    elif change == "output":
        run.files.outputs["golds"][0]["output"] = "another"
    run("rag", calibrate=0, max_new_tokens=9 if change == "length" else 8)
    assert len(run.answers) - before == (12 if change == "length" else 2)


def test_a_limit_takes_some_and_a_larger_one_adds_to_them(run: Evaluator) -> None:
    assert run("none", limit=2)["questions"] == 2
    few = {answer["question"] for answer in run.answers if answer["output"] is not None}
    assert run("none", limit=4)["questions"] == 4
    more = {answer["question"] for answer in run.answers if answer["output"] is not None}
    assert len(few) == 2
    assert few < more
    predicted = json.loads((run.out / "predictions-none.json").read_text("utf-8"))
    assert {gold["id"] for gold in predicted["golds"]} == more


def test_texts_are_embedded_once_for_all_profiles(run: Evaluator) -> None:
    run("rag", "recent", control=True)
    assert len(run.embedder.encoded) == len(set(run.embedder.encoded))


def test_an_output_folder_that_is_a_file_is_refused(run: Evaluator) -> None:
    run.out.write_text("a file")
    with pytest.raises(InputError, match="out: cannot be made a folder"):
        run("none")


def test_two_runs_do_not_write_to_one_folder(run: Evaluator) -> None:
    with held_folder(run.out), pytest.raises(InputError, match="out: another run writes to it"):
        run("none")
    assert run("none")["questions"] == 6


def test_profiles_do_not_stay_also_not_those_of_a_run_that_was_killed(run: Evaluator) -> None:
    (run.out / "profiles" / "left").mkdir(parents=True)
    (run.out / "profiles" / "left" / "profile.db").write_text("someone's text")
    run("rag")
    assert not (run.out / "profiles").exists()


def test_tables_have_a_line_a_row_and_say_what_own_history_gains(run: Evaluator) -> None:
    first, *gains = tables(run("rag", "recent", control=True))
    assert [line[:2] for line in first.rows] == [
        ("none", "none"), ("rag", "own"), ("rag", "other"), ("recent", "own"), ("recent", "other"),
    ]  # fmt: skip
    assert [table.title for table in gains] == [
        "own minus another user's history", "own minus none", "own minus rag",
        "own minus another user's history, less the same of rag",
    ]  # fmt: skip
    assert [[line[0] for line in table.rows] for table in gains] == [
        ["rag", "recent"], ["rag", "recent"], ["recent"], ["recent"],
    ]  # fmt: skip
    lines = as_text(first).splitlines()
    assert "6 questions of 3 users" in lines[0]
    assert len({len(line) for line in lines[1:]}) == 1
    assert as_markdown(first).splitlines()[2].startswith("| strategy | history | ROUGE-1 |")


def test_side_by_side_gives_the_same_answers(run: Evaluator, tmp_path: Path) -> None:
    one = run("rag", "recent", control=True)
    run.out = tmp_path / "again"
    several = run("rag", "recent", control=True, workers=3)
    assert several["workers"] == 3
    assert [row["figures"] for row in several["rows"]] == [row["figures"] for row in one["rows"]]
    assert len({answer["key"] for answer in run.answers}) == len(run.answers)


def test_what_fails_in_a_worker_ends_the_run_with_its_error(
    run: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(journal: Journal, answer: Answer) -> None:
        raise InputError(f"no room for {answer.question}")

    monkeypatch.setattr(Journal, "add", fail)
    with pytest.raises(InputError, match="no room for"):
        run("rag", workers=2)


def test_a_strategy_that_the_bundle_cannot_serve_is_refused_before_anything_is_read(
    run: Evaluator,
) -> None:
    with pytest.raises(BundleError, match="has no persona head"):
        run("rag", "pplug")
    assert run.embedder.encoded == []
    assert run.decoder.prefilled == []


def test_another_head_in_the_bundle_changes_only_what_reads_it(run: Evaluator) -> None:
    run.bundle = tiny_persona.add_random_head(run.bundle.path)
    run("rag", "pplug+rag", calibrate=0)
    before = len(run.answers)
    run.bundle = tiny_persona.add_random_head(run.bundle.path, seed=1)
    run("rag", "pplug+rag", calibrate=0)
    assert [answer["strategy"] for answer in run.answers[before:]] == ["pplug+rag"] * 6


def test_what_rows_of_a_question_begin_with_is_read_once(run: Evaluator) -> None:
    run.bundle = tiny_persona.add_random_head(run.bundle.path)
    report = run("rag", "pplug", "pplug-soft", "pplug+rag", "rag+cache", calibrate=0, control=True)
    tokens = {tuple(row["row"].values()): 6 * row["prompt_tokens"] for row in report["rows"]}
    needed = tokens["none", "none"] + tokens["rag", "own"] + tokens["rag", "other"]
    # Beside it: soft tokens with what follows them, and 8 records of each profile for its weight.
    assert needed < sum(run.decoder.prefilled) < 0.5 * sum(tokens.values())


def test_the_time_of_what_was_read_before_counts_in_proportion() -> None:
    read: list[Any] = []

    def told(positions: list[int], reused: int, ttft_s: float) -> dict[str, Any]:
        result = SimpleNamespace(
            text=" x ", new_tokens=3, ttft_s=ttft_s, decode_s=0.5, reused_tokens=reused
        )
        layout = SimpleNamespace(positions=positions)
        return _generated(FakeStream(result, layout), 0.25, read)  # type: ignore[arg-type]

    first = told([*range(100)], 20, 2.0)  # 20 are common to all questions: no row's own
    assert (first["ttft_s"], first["seconds"], first["output"]) == (2.25, 2.75, "x")
    assert told([*range(50), *range(500, 550)], 50, 1.0)["ttft_s"] == 0.25 + 1.0 + 2 * 0.5
    assert told([*range(100)], 99, 0.125)["ttft_s"] == 0.25 + 0.125 + 2 * 0.99
    assert told([*range(900, 950)], 0, 1.0)["ttft_s"] == 0.25 + 1.0


def test_the_cache_is_weighed_before_it_is_measured_once_for_each_history(
    run: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[int] = []

    def count(store: Store, field: str, generator: Generator, counts: Any, **more: Any) -> None:
        if store.load_weight(field) is None:  # type: ignore[arg-type]
            fitted.append(store.count())
            fit_weight(store, field, generator, counts, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("edgepersona.weights.fit_weight", count)
    report = run("none+cache", "rag+cache", control=True, calibrate=0)
    assert named(report)[1:] == [
        ("none+cache", "own"), ("none+cache", "other"),
        ("rag+cache", "own"), ("rag+cache", "other"),
    ]  # fmt: skip
    assert fitted == [4] * 6
    by_row = {tuple(row["row"].values()): row for row in report["rows"]}
    assert by_row["none+cache", "own"]["prompt_tokens"] == by_row["none", "none"]["prompt_tokens"]


def test_others_can_be_compared_with_than_none_and_rag(run: Evaluator) -> None:
    report = run("rag", "recent", "recent+cache", against=("recent", "pag"))
    _, *gains = tables(report)
    assert {table.title: [row[0] for row in table.rows] for table in gains} == {
        "own minus recent": ["rag", "recent+cache"]
    }
    report = run("rag", "recent", "recent+cache", against=("none",))
    _, *gains = tables(report)
    assert {table.title: [row[0] for row in table.rows] for table in gains} == {
        "own minus none": ["rag", "recent", "recent+cache"],
        "own minus the same without its last part": ["recent+cache"],
    }

"""What n-grams weigh is fitted on the latest records, kept, and off where they do not help."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from edgepersona.errors import ProfileError
from edgepersona.records import Record
from edgepersona.weigher import Weigher
from edgepersona.weights import (
    DEFAULT,
    HELD_OUT,
    TEMPERATURES,
    WEIGHTS,
    Fit,
    fit_weight,
    read_fit,
)
from tests.standins import NDIM, ListedTokens

LLM = "a1" * 32


def nats(best: float) -> list[list[float]]:
    """Return those of a record that is likeliest with the weight ``best``."""
    return [[10 + abs(weight - best) + t for t in range(len(TEMPERATURES))] for weight in WEIGHTS]


def test_the_weight_is_the_one_that_makes_records_likeliest() -> None:
    assert Fit(LLM, 20, (nats(0.5),) * 4).weight == 0.5
    assert Fit(LLM, 20, (nats(0.5),) * 3 + (nats(0.0),) * 5).weight == 0.0
    assert Fit(LLM, 20, (nats(0.5),) * 3).weight == DEFAULT


def test_of_equals_the_least_is_taken_so_what_changes_nothing_is_off() -> None:
    same = [[5.0] * len(TEMPERATURES)] * len(WEIGHTS)
    assert Fit(LLM, 20, (same,) * 5).weight == 0.0


def test_a_mere_hedge_gains_nothing() -> None:
    cold = [[50.0 - 10 * weight, *[9.0] * (len(TEMPERATURES) - 1)] for weight in WEIGHTS]
    assert Fit(LLM, 20, (cold,) * 5).weight == 0.0


def test_a_fit_is_read_as_it_was_kept() -> None:
    fit = Fit(LLM, 20, (nats(0.5), nats(0.25)))
    kept = read_fit(fit.as_json())
    assert kept is not None
    assert (kept.generator, kept.records) == (LLM, 20)
    assert np.allclose(kept.nats, fit.nats)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "{}",
        '"text"',
        json.dumps({"generator": LLM, "records": "many", "nats": []}),
        json.dumps({"generator": LLM, "records": 3, "nats": [[[1.0]]]}),
        json.dumps({"generator": LLM, "records": 3, "nats": [nats(0.5)[1:]]}),
        json.dumps({"generator": LLM, "records": 3, "nats": [5]}),
        json.dumps({"generator": LLM, "records": 3, "nats": [nats(float("nan"))]}),
    ],
)
def test_what_is_no_fit_is_begun_anew(text: str | None) -> None:
    assert read_fit(text) is None


def test_a_fit_serves_until_the_history_has_grown_by_a_quarter() -> None:
    fit = Fit(LLM, 40)
    assert fit.serves(LLM, 50)
    assert not fit.serves(LLM, 51)
    assert not fit.serves("b2" * 32, 40)


class Llm:
    """A generator that finds a text as unlikely as the bias of its prompt is heavy, or light."""

    hash = LLM
    tokenizer = SimpleNamespace(decode=lambda ids: "")

    def __init__(self, best: float = 0.25) -> None:
        self.best = best
        self.asked: list[str] = []

    def stream(self, prompt):
        weight = prompt.bias._weight if prompt.bias else 0.0

        def log_probs(answer: str, *, temperatures):
            self.asked += [answer] if not weight else []
            return np.full((len(temperatures), 2), -1 - abs(weight - self.best), np.float32)

        return SimpleNamespace(log_probs=log_probs)


class Shown(ListedTokens):
    """N-grams of rows alone, which show what is left of them when a record is foretold."""

    def __init__(self, rows) -> None:
        super().__init__()
        self.records = {int(row): (1,) for row in rows}
        self.left: list[set[int]] = []

    def remove(self, ids) -> int:
        removed = super().remove(ids)
        self.left.append(set(self.records))
        return removed


@pytest.fixture
def fit(store):
    def fit_(llm: Llm, *, stop_after: int = 99, field: str = "title") -> Shown | None:
        made: list[Shown] = []

        def counts() -> Shown:
            made.append(Shown(store.rows()))
            return made[0]

        left = iter(range(stop_after))
        fit_weight(store, field, llm, counts, wanted=lambda: next(left, None) is not None)
        return made[0] if made else None

    return fit_


def fill(store, n: int, **more) -> None:
    records = [
        Record(f"text {i}", f"title {i}", date=f"20{i:02}", id=f"r{i}", **more) for i in range(n)
    ]
    store.add(records, np.ones((n, NDIM), np.float32))


def test_each_of_the_latest_is_foretold_from_those_before_it(store, fit) -> None:
    fill(store, 20)
    llm = Llm()
    counts = fit(llm)
    assert llm.asked == [f"title {i}" for i in range(19, 19 - HELD_OUT, -1)]
    rows = sorted(store.rows().tolist())
    assert counts.left == [set(rows[:-i]) for i in range(1, HELD_OUT + 1)]
    assert read_fit(store.load_weight("title")).weight == 0.25
    assert store.load_weight("text") is None


def test_texts_are_foretold_as_well(store, fit) -> None:
    fill(store, 6)
    llm = Llm(best=0.0)
    fit(llm, field="text")
    assert llm.asked[0] == "text 5"
    assert read_fit(store.load_weight("text")).weight == 0.0


def test_a_fit_that_was_cut_short_goes_on_where_it_was(store, fit) -> None:
    fill(store, 20)
    first, second = Llm(), Llm()
    fit(first, stop_after=3)
    assert len(read_fit(store.load_weight("title")).nats) == 3
    fit(second)
    assert len(first.asked) == 3
    assert len(second.asked) == HELD_OUT - 3
    assert fit(second) is None  # whole: nothing is counted for it


def test_a_grown_history_and_another_llm_are_fitted_anew(store, fit) -> None:
    fill(store, 8)
    fit(Llm())
    store.add([Record("a", "b", id="more")], np.ones((1, NDIM), np.float32))
    llm = Llm()
    assert fit(llm) is None
    records = [Record(f"x{i}", "y", id=f"x{i}") for i in range(9)]
    store.add(records, np.ones((9, NDIM), np.float32))
    fit(llm)
    assert len(llm.asked) == HELD_OUT


def test_what_others_wrote_is_not_foretold(store, fit) -> None:
    fill(store, 9, kind="read")
    llm = Llm()
    fit(llm)
    assert llm.asked == []


def test_a_change_meanwhile_keeps_nothing(store, fit) -> None:
    fill(store, 9)
    llm = Llm()
    stream = llm.stream

    def deleting(prompt):
        store.delete(["r3"])
        return stream(prompt)

    llm.stream = deleting
    fit(llm)
    assert store.load_weight("title") is None
    assert len(llm.asked) == 1


def test_a_fit_goes_with_a_record_that_is_removed_or_changed(store, fit) -> None:
    fill(store, 9)
    for change in (
        lambda: store.delete(["r3"]),
        lambda: store.update(Record("new", id="r4"), np.ones(NDIM, np.float32)),
    ):
        fit(Llm())
        assert store.load_weight("title") is not None
        change()
        assert store.load_weight("title") is None


def test_a_weigher_runs_once_at_a_time_and_stops_when_asked() -> None:
    begun, going, runs = threading.Event(), threading.Event(), []

    def fit(wanted) -> None:
        runs.append(wanted)
        begun.set()
        going.wait()
        assert not wanted()

    weigher = Weigher(fit)
    weigher.begin()
    begun.wait()
    weigher.begin()
    weigher.pause()
    going.set()
    weigher.join()
    assert len(runs) == 1
    weigher.begin()
    weigher.close()
    weigher.close()
    weigher.begin()
    weigher.join()
    assert len(runs) == 2


@pytest.mark.parametrize("error", [ProfileError("locked"), ValueError("a bug")])
def test_what_fails_is_logged_and_tried_after_another_answer(error, caplog) -> None:
    runs: list[bool] = []

    def fit(wanted) -> None:
        runs.append(wanted())
        raise error

    weigher = Weigher(fit)
    for _ in range(2):
        weigher.begin()
        weigher.join()
    assert runs == [True, True]
    assert bool(caplog.records) == isinstance(error, ValueError)
    weigher.close()

"""The harness of the search benchmarks: recall, tuning, what is removed, rows on disk."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from bench import rows
from bench.rows import compare, publish
from bench.vectors import data
from bench.vectors.data import Vectors
from bench.vectors.peer import Setting, steps
from bench.vectors.tuning import recall, tune


def _grows(setting: Setting) -> tuple[float, float]:
    """Recall .1 for each step of ef, and 10 microseconds."""
    return setting["ef"] / 10, setting["ef"] * 10


def test_recall_counts_each_true_row_once_whatever_its_rank() -> None:
    truth = np.array([[1, 2, 3], [4, 5, 6]])
    assert recall(np.array([[3, 2, 1], [4, 4, 9]]), truth) == pytest.approx(4 / 6)
    assert recall(np.array([[-1, -1, -1], [-1, -1, -1]]), truth) == 0


@pytest.mark.parametrize("target", [0.1, 0.3, 0.7, 0.8, 1.0])
def test_tuning_finds_the_smallest_setting_that_reaches_the_target(target: float) -> None:
    ladder: list[Setting] = [{"ef": ef} for ef in range(1, 13)]
    chosen = tune([ladder], _grows, target=target, limit_us=1000)
    assert chosen.reached
    assert chosen.setting == {"ef": round(10 * target)}


def test_tuning_takes_the_fastest_ladder_of_those_that_reach_the_target() -> None:
    def measure(setting: Setting) -> tuple[float, float]:
        return (1.0, 50) if setting["factor"] == 4 else _grows(setting)

    ladders: list[list[Setting]] = [
        [{"factor": factor, "ef": ef} for ef in range(1, 13)] for factor in (2, 4)
    ]
    assert tune(ladders, measure, target=0.9, limit_us=1000).setting == {"factor": 4, "ef": 1}


def test_tuning_gives_up_where_time_runs_out_and_returns_the_best_recall() -> None:
    ladder: list[Setting] = [{"ef": ef} for ef in range(1, 9)]
    slow = tune([ladder], _grows, target=0.9, limit_us=25)
    assert not slow.reached
    assert slow.setting == {"ef": 4}
    short = tune([ladder], _grows, target=0.9, limit_us=1000)
    assert not short.reached
    assert short.recall == 0.8


def test_steps_never_repeat_and_end_where_they_should() -> None:
    numbers = steps(1, 300)
    assert numbers[0] == 1
    assert numbers[-1] == 300
    assert all(a < b <= max(a + 1, 1.2 * a) for a, b in pairwise(numbers))


def test_truth_is_what_a_plain_search_finds_with_and_without_half_the_rows(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(data, "CACHE", tmp_path)
    monkeypatch.setattr(data, "_STEP", 64)
    generator = np.random.default_rng(5)
    rows = generator.standard_normal((200, 8), dtype=np.float32)
    queries = generator.standard_normal((7, 8), dtype=np.float32)
    vectors = Vectors("random", rows, queries, tmp_path / "some.npy", "")
    scores = queries @ rows.T
    assert data.truth(vectors).tolist() == np.argsort(-scores)[:, : data.K].tolist()
    gone = data.half(200)
    assert len(set(gone.tolist())) == 100
    scores[:, gone] = -np.inf
    expected = np.argsort(-scores)[:, : data.K].tolist()
    assert data.truth(vectors, half_removed=True).tolist() == expected
    assert data.truth(vectors, half_removed=True).tolist() == expected  # read back


def test_a_smaller_set_is_the_head_of_a_larger_one(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(data, "_BLOCK", 30)
    base = data._unit(np.random.default_rng(1).standard_normal((30, data.NDIM), np.float32))
    for given in (base, None):
        small, large = tmp_path / "a-50.npy", tmp_path / "a-80.npy"
        data._write(small, given)
        data._write(large, given)
        whole = np.load(large)
        assert np.array_equal(np.load(small), whole[:50])
        assert np.allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    data._write(tmp_path / "b-60.npy", base)
    noisy = np.load(tmp_path / "b-60.npy")
    assert np.array_equal(noisy[:30], base)
    assert (noisy[:30] * noisy[30:]).sum(axis=1).mean() == pytest.approx(data.COSINE, abs=0.01)


def test_a_rows_extras_stand_beside_its_fields_in_the_file(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(rows, "OUT", tmp_path)
    row = compare(
        "w", "p", [2.0, 4.0], [1.0, 1.0], unit="us", better="lower", quality="", extras={"n": 5}
    )
    publish("w", [row], "a machine")
    (written,) = json.loads((tmp_path / "w.json").read_text())
    assert (written["ratio"], written["n"], written["ours"]) == (3.0, 5, 3.0)
    assert "extras" not in written
    assert "a machine" in capsys.readouterr().out

"""Intervals hold the truth as often as they say, and temperatures are found where they are."""

from __future__ import annotations

import numpy as np
import pytest

from edgepersona.evaluation.bootstrap import Bootstrap
from edgepersona.evaluation.metrics import ratio
from edgepersona.evaluation.temperature import at_temperature, best_temperature


def mean(means: np.ndarray) -> np.ndarray:
    return means[..., 0]


def test_an_interval_is_about_two_standard_errors_on_either_side() -> None:
    items = np.random.default_rng(3).normal(5, 2, (400, 1))
    found = Bootstrap(400, seed=0).estimate(items, mean)
    half = 1.96 * items.std() / 20
    assert found.value == pytest.approx(items.mean())
    assert found.low == pytest.approx(items.mean() - half, abs=0.02)
    assert found.high == pytest.approx(items.mean() + half, abs=0.02)


def test_a_difference_is_of_pairs() -> None:
    random = np.random.default_rng(4)
    noise = random.normal(0, 10, (100, 1))
    own, other = noise + 1, noise + random.normal(0, 0.1, (100, 1))
    found = Bootstrap(100, seed=0).difference(own, other, mean)
    assert 0.9 < found.low < found.value < found.high < 1.1


def test_nats_are_taken_by_token_not_by_question() -> None:
    items = np.array([[2.0, 1], [2.0, 9]])
    assert Bootstrap(2, seed=0).estimate(items, ratio).value == pytest.approx(0.4)


def test_the_same_seed_gives_the_same_interval() -> None:
    items = np.random.default_rng(5).normal(size=(30, 1))
    one, again, other = (Bootstrap(30, seed=seed).estimate(items, mean) for seed in (1, 1, 2))
    assert one == again != other


GRID = np.array([2 ** (step / 4) for step in range(-4, 13)])


def curves(logits: np.ndarray, true: np.ndarray, temperatures: np.ndarray) -> np.ndarray:
    scaled = logits[:, None, :] / temperatures[None, :, None]
    total = np.log(np.exp(scaled - scaled.max(-1, keepdims=True)).sum(-1)) + scaled.max(-1)
    return total - np.take_along_axis(scaled, true[:, None, None], -1)[..., 0]


@pytest.mark.parametrize("hidden", [0.7, 1.0, 1.7, 3.0])
def test_the_temperature_that_logits_were_divided_by_is_found(hidden: float) -> None:
    random = np.random.default_rng(6)
    logits = random.normal(0, 2, (4000, 50))
    true = np.array([
        random.choice(50, p=row) for row in np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    ])  # fmt: skip
    held = curves(logits * hidden, true, GRID)
    found = best_temperature(GRID, held)
    assert found == pytest.approx(hidden, rel=0.06)
    wanted = curves(logits * hidden, true, np.array([found]))[:, 0]
    assert np.abs(at_temperature(GRID, held, found) - wanted).max() < 0.02
    assert at_temperature(GRID, held, found).mean() == pytest.approx(wanted.mean(), abs=1e-4)


def test_a_temperature_beyond_what_was_measured_is_the_last_that_was() -> None:
    falling = np.linspace(5, 1, len(GRID))[None]
    assert best_temperature(GRID, falling) == GRID[-1]
    assert at_temperature(GRID, falling, GRID[-1])[0] == pytest.approx(1)

"""Costs of longer passes are learnt, and one slow pass does not spoil them."""

from __future__ import annotations

import pytest

from edgepersona.passcosts import PassCosts


def learnt(measured: dict[int, float], times: int = 60) -> PassCosts:
    costs = PassCosts()
    costs.note_step(0.01)
    for _ in range(times):
        for tokens, cost in measured.items():
            costs.note(tokens, 0.01 * cost)
    return costs


def test_a_line_through_what_was_measured_is_found() -> None:
    costs = learnt({2: 1.3, 4: 1.5, 16: 2.7})
    for tokens in (2, 3, 8, 16, 32):
        assert costs.of(tokens) == pytest.approx(1.2 + 0.1 * (tokens - 1), rel=0.02)


def test_one_length_alone_is_known_by_itself() -> None:
    costs = learnt({8: 5.0}, times=300)
    assert costs.of(8) == pytest.approx(5.0, rel=0.01)
    assert costs.of(16) > costs.of(8) > costs.of(2) > 0


def test_one_slow_pass_counts_as_twice_what_was_expected_at_most() -> None:
    costs = learnt({2: 1.1, 8: 1.7})
    expected = costs.of(8)
    assert expected < costs.note(8, 100.0) < 1.2 * expected
    costs.note_step(100.0)
    assert costs.step_s <= 0.011


def test_what_changes_for_good_is_followed() -> None:
    costs = learnt({2: 1.1, 8: 1.7})
    for _ in range(60):
        costs.note(2, 0.02)
        costs.note(8, 0.08)
    assert costs.of(8) == pytest.approx(8.0, rel=0.05)


def test_a_slow_first_pass_is_soon_made_up_for() -> None:
    costs = PassCosts()
    costs.note_step(1.0)
    for _ in range(12):
        costs.note_step(0.01)
    assert costs.step_s < 0.03

from __future__ import annotations

import numpy as np
import pytest

from edgepersona.circles import hold_back


def changed(answer: list[int], vocab: int = 10) -> dict[int, float]:
    """Return what the logits of the next token lose, by token, where they lose anything."""
    logits = np.zeros(vocab, np.float32)
    hold_back(logits, answer)
    return {int(token): float(-logits[token]) for token in np.flatnonzero(logits)}


def test_what_would_say_four_tokens_again_gets_less_likely() -> None:
    assert changed([1, 2, 3, 4, 1, 2, 3]) == {4: 5.0}


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [1],
        [1, 2, 3],
        [1, 2, 3, 4],
        [1, 2, 3, 4, 2, 3],
        [1, 2, 3, 4, 5, 2, 3],
        [1, 2, 3, 1, 3, 2],
    ],
)
def test_an_answer_that_has_not_said_its_last_three_tokens_before_goes_on_freely(
    answer: list[int],
) -> None:
    assert changed(answer) == {}


def test_every_time_counts_in_each_way_in_which_it_went_on() -> None:
    assert changed([1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3, 4, 1, 2, 3]) == {4: 10.0, 5: 5.0}


def test_one_token_over_and_over_is_a_circle_too() -> None:
    assert changed([7, 7, 7]) == {}
    assert changed([7, 7, 7, 7]) == {7: 5.0}

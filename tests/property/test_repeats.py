"""Repeats beside a search of every position."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgepersona.repeats import LEAST, LONGEST, Repeats

# Few distinct tokens, so that much repeats; large ids, so that pairs need their 64 bits.
TOKENS = st.lists(st.sampled_from([0, 1, 2, 2**31 - 1]), max_size=120)


def longest(tokens: list[int]) -> int:
    """Return how many tokens at the end stood before, ``LONGEST`` at most."""
    last = len(tokens) - 1
    best = 0
    for end in range(last):
        length = 0
        while length <= end and tokens[end - length] == tokens[last - length]:
            length += 1
        best = max(best, length)
    return min(best, LONGEST) if best >= LEAST else 0


def continued(tokens: list[int], end: int, count: int) -> list[int]:
    text = list(tokens)
    for i in range(count):
        text.append(text[end + 1 + i])
    return text[len(tokens) :]


@given(TOKENS, TOKENS)
def test_a_match_is_the_longest_there_is(prompt: list[int], answer: list[int]) -> None:
    repeats, tokens = Repeats(prompt), list(prompt)
    for token in [None, *answer]:
        if token is not None:
            repeats.add(token)
            tokens.append(token)
        assert repeats.match == longest(tokens)


@given(TOKENS, st.integers(1, 40))
def test_what_comes_next_followed_the_match(tokens: list[int], count: int) -> None:
    repeats = Repeats([])
    for token in tokens:
        repeats.add(token)
    after = repeats.next(count)
    if not repeats.match:
        assert after == []
        return
    matched = tokens[-repeats.match :]
    ends = [
        end
        for end in range(len(tokens) - 1)
        if tokens[max(0, end + 1 - repeats.match) : end + 1] == matched
    ]
    assert after in [continued(tokens, end, count) for end in ends]


def test_of_equal_matches_the_newest_counts() -> None:
    assert Repeats([5, 6, 1, 5, 6, 2, 5, 6]).next(1) == [2]


def test_a_long_run_of_one_token_goes_on() -> None:
    repeats = Repeats([3] * 100)
    assert (repeats.match, repeats.next(5)) == (LONGEST, [3] * 5)


def test_a_text_grows_past_the_room_it_was_given() -> None:
    repeats = Repeats([])
    for token in [*range(300), *range(40)]:
        repeats.add(token)
    assert (repeats.match, repeats.next(3)) == (LONGEST, [40, 41, 42])

"""What was read before is not read again, and changes nothing of what comes out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgepersona.prefixes import LEAST_HEAD, PrefixCache, common_length
from tests.standins import ChainDecoder, ChainState

PROMPT = list(range(40))


def read(decoder: ChainDecoder, cache: PrefixCache, ids: Sequence[int], **options) -> ChainState:
    """Read a prompt as an answer does, and check the logits behind it; return what read it."""
    given: dict = {"capacity": len(ids) + 8, **options}
    state = cache.take(ids, **given)
    assert state.length < len(ids)
    logits = state.extend(decoder.embed(ids[state.length :]))
    plain = decoder.start(capacity=len(ids)).extend(decoder.embed(ids))
    np.testing.assert_array_equal(logits, plain)
    decoder.prefilled.pop()
    return state


@pytest.fixture
def decoder() -> ChainDecoder:
    return ChainDecoder(50, order=None)


@pytest.fixture
def cache(decoder: ChainDecoder) -> PrefixCache:
    return PrefixCache(decoder, "5f", size_bytes=100_000)


def test_a_chats_next_turn_reads_only_what_is_new(decoder, cache) -> None:
    state = read(decoder, cache, PROMPT, capacity=100)
    cache.put(PROMPT, state)
    again = read(decoder, cache, [*PROMPT, 7, 8, 9], capacity=60)
    assert again is state  # nothing is copied
    assert decoder.prefilled == [40, 3]


def test_one_token_is_always_left_to_read(decoder, cache) -> None:
    cache.put(PROMPT, read(decoder, cache, PROMPT))
    read(decoder, cache, PROMPT)
    assert decoder.prefilled == [40, 1]


def test_a_sequence_in_use_is_nobody_elses(decoder, cache) -> None:
    cache.put(PROMPT, read(decoder, cache, PROMPT))
    first, second = (read(decoder, cache, PROMPT) for _ in range(2))
    assert first is not second
    assert decoder.prefilled == [40, 1, 40]


def test_another_prompt_with_the_same_beginning_leaves_the_first_as_it_is(decoder, cache) -> None:
    cache.put(PROMPT, read(decoder, cache, PROMPT))
    other = [*PROMPT[:20], *range(20)]
    cache.put(other, read(decoder, cache, other))
    read(decoder, cache, [*other, 1])
    read(decoder, cache, [*PROMPT, 1])
    assert decoder.prefilled == [40, 20, 1, 1]


def test_what_only_one_answer_needed_makes_way_for_the_next_prompt(decoder, cache) -> None:
    state = read(decoder, cache, PROMPT, capacity=100)
    cache.put(PROMPT, state, stem=20)
    other = [*PROMPT[:20], *range(20)]
    assert read(decoder, cache, other) is state
    cache.put(other, state, stem=25)
    assert read(decoder, cache, [*PROMPT[:20], 1]) is not state


def test_room_is_left_for_a_next_turn(decoder, cache) -> None:
    state = read(decoder, cache, PROMPT, capacity=60)
    cache.put(PROMPT, state)
    assert read(decoder, cache, [*PROMPT, *range(9)], capacity=72) is state
    decoder.context = 70
    assert cache.take([1], capacity=60).capacity == 70
    assert cache.take([1], capacity=71).capacity == 71


def test_too_small_a_sequence_is_copied_into_a_larger_one(decoder, cache) -> None:
    state = read(decoder, cache, PROMPT, capacity=41)
    cache.put(PROMPT, state)
    longer = read(decoder, cache, [*PROMPT, *range(9)], capacity=90)
    assert longer is not state
    assert decoder.prefilled == [40, 9]


def test_soft_vectors_are_compared_by_their_bytes(decoder, cache) -> None:
    soft = np.ones((2, 2), np.float32)
    positions = [*range(20), *(row.tobytes() for row in soft), 3]
    state = decoder.start(capacity=30)
    state.extend(np.concatenate([decoder.embed(range(20)), soft, decoder.embed([3])]))
    cache.put(positions, state)
    assert cache.take([*positions, 4], capacity=30).length == 23
    cache.put(positions, state)
    other = [*range(20), soft[0].tobytes(), (2 * soft[1]).tobytes(), 3]
    assert cache.take(other, capacity=30).length == 21


def test_the_least_recently_used_go_and_the_newest_stays(decoder) -> None:
    one = 8 * 60  # of a sequence that was asked for with room for 48
    cache = PrefixCache(decoder, "5f", size_bytes=2 * one)
    prompts = [[i, *PROMPT[1:]] for i in range(4)]
    for prompt in prompts:
        cache.put(prompt, read(decoder, cache, prompt))
    assert [cache.take(p, capacity=48).length for p in prompts] == [0, 39, 39, 39]
    none = PrefixCache(decoder, "5f", size_bytes=1)
    for prompt in prompts[:2]:
        none.put(prompt, read(decoder, none, prompt))
    assert [none.take(p, capacity=48).length for p in prompts[:2]] == [0, 39]


def test_a_cache_of_no_bytes_keeps_nothing(decoder) -> None:
    cache = PrefixCache(decoder, "5f", size_bytes=0)
    cache.put(PROMPT, read(decoder, cache, PROMPT))
    assert cache.take(PROMPT, capacity=48).length == 0


def test_what_is_let_go_of_is_read_anew(decoder, cache) -> None:
    cache.put(PROMPT, read(decoder, cache, PROMPT))
    cache.clear()
    read(decoder, cache, PROMPT)
    assert decoder.prefilled == [40, 40]


class Heads(dict):
    """Saved heads, in memory; counts what is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def load(self, key: bytes) -> bytes | None:
        self.asked += 1
        return self.get(key)


def test_a_saved_head_is_asked_for_only_where_memory_has_less(decoder, cache) -> None:
    heads = Heads()
    state = decoder.start(capacity=40)
    state.extend(decoder.embed(PROMPT[:30]))
    heads[cache.key(PROMPT[:30])] = state.save(30)
    decoder.prefilled.clear()
    cache.put(PROMPT, read(decoder, cache, PROMPT, head=30, saved=heads))
    read(decoder, cache, [*PROMPT[:35], 1], head=30, saved=heads)
    assert (decoder.prefilled, heads.asked) == ([10, 1], 1)
    read(decoder, cache, [5, *PROMPT], head=LEAST_HEAD - 1, saved=heads)
    assert heads.asked == 1


def test_a_saved_head_that_does_not_fit_is_read_anew(decoder, cache) -> None:
    heads = Heads()
    heads[cache.key(PROMPT[:30])] = b"not of this engine"
    read(decoder, cache, PROMPT, head=30, saved=heads)
    assert decoder.prefilled == [40]


def test_a_key_is_of_model_variant_provider_and_content(decoder, cache) -> None:
    other = ChainDecoder(50)
    other.provider = "another"
    soft = np.ones(2, np.float32).tobytes()
    keys = [
        cache.key(PROMPT),
        cache.key(PROMPT[:-1]),
        cache.key([*PROMPT[:-1], soft]),
        PrefixCache(decoder, "60", size_bytes=0).key(PROMPT),
        PrefixCache(other, "5f", size_bytes=0).key(PROMPT),
    ]
    assert len(set(keys)) == len(keys)
    assert PrefixCache(ChainDecoder(50), "5f", size_bytes=0).key(PROMPT) == keys[0]


@pytest.mark.parametrize("same", range(9))
def test_common_length_is_where_two_differ(same: int) -> None:
    one = [*range(same), *[-1] * (8 - same)]
    assert common_length(one, list(range(8))) == same
    assert common_length(one[:same], list(range(8))) == same

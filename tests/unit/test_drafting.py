"""Drafts change no answer, save time where they are right, and cost next to none where not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from edgepersona.drafting import Drafting
from edgepersona.passcosts import PassCosts
from edgepersona.sampling import Sampler, SamplingParams
from tests.standins import ChainDecoder

PROMPT = [5, 9, 2, 5, 9, 7, 1, 2, 3]
GREEDY = SamplingParams(temperature=0.0)


def answer(
    decoder: ChainDecoder, prompt: Sequence[int], n: int, params: SamplingParams, **options
) -> tuple[list[int], Drafting]:
    """Make ``n`` tokens, as an answer is made; return them, and their passes."""
    state = decoder.start(capacity=len(prompt) + n)
    sampler = Sampler(params, prompt)
    logits = state.extend(decoder.embed(prompt))[0]
    given: dict = {"costs": PassCosts(decoder.clock), **options}
    passes = Drafting(state, prompt, limit=n, **given)
    tokens = [sampler.sample(logits)]
    while len(tokens) < n:
        tokens.append(sampler.sample(passes.after(tokens[-1])))
    passes.settle()
    assert state._read == [v.tobytes() for v in decoder.embed([*prompt, *tokens[:-1]])]
    return tokens, passes


def cheap(tokens: int) -> float:
    return 1 + 0.05 * (tokens - 1)


def taught(decoder: ChainDecoder) -> PassCosts:
    """Return what passes of ``decoder`` cost, as known after a while."""
    costs = PassCosts(decoder.clock)
    costs.note_step(decoder.cost(1))
    for _ in range(50):
        costs.note(2, decoder.cost(2))
        costs.note(16, decoder.cost(16))
    return costs


@pytest.mark.parametrize("order", [1, 2, 3, None])
@pytest.mark.parametrize(
    "params",
    [
        GREEDY,
        SamplingParams(seed=4),
        SamplingParams(seed=5, temperature=0.4, top_k=3),
        SamplingParams(seed=6, repetition_penalty=1.3, temperature=0.5),
    ],
)
def test_an_answer_is_that_of_plain_decoding(order: int | None, params: SamplingParams) -> None:
    plain, _ = answer(ChainDecoder(40, order=order), PROMPT, 120, params, enabled=False)
    drafted, passes = answer(ChainDecoder(40, order=order, cost=cheap), PROMPT, 120, params)
    assert drafted == plain
    assert passes.accepted <= passes.drafted


def test_drafts_are_made_and_come_true_where_the_answer_repeats() -> None:
    decoder = ChainDecoder(20, order=2, cost=cheap)
    _, passes = answer(decoder, PROMPT, 120, GREEDY)
    assert passes.accepted > 60
    assert len(decoder.passes) < 60


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9])
def test_a_draft_never_goes_beyond_the_answer(n: int) -> None:
    prompt = [1, 2, 3, 4] * 10
    decoder = ChainDecoder(20, order=1, cost=cheap)
    costs = taught(decoder)
    answer(decoder, prompt, n, GREEDY, costs=costs)  # the stand-in's capacity is exact


def test_switched_off_nothing_is_drafted() -> None:
    decoder = ChainDecoder(20, order=1, cost=cheap)
    _, passes = answer(decoder, PROMPT, 60, GREEDY, enabled=False)
    assert (passes.drafted, set(decoder.passes)) == (0, {1})


COSTS: dict[str, Callable[[int], float]] = {
    "cheap": cheap,
    "as on a laptop": lambda tokens: 1.1 + 0.15 * (tokens - 1) if tokens > 1 else 1.0,
    "as dear as steps": float,
    "dearer than steps": lambda tokens: 3.0 * tokens if tokens > 1 else 1.0,
}


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
@pytest.mark.parametrize("order", [1, 2, 3, None])
@pytest.mark.parametrize("vocab", [4, 300])
def test_no_answer_takes_much_longer_than_without(
    cost: Callable[[int], float], order: int | None, vocab: int
) -> None:
    n = 300
    params = SamplingParams(seed=1, temperature=1.0, top_p=1.0)
    decoder = ChainDecoder(vocab, order=order, cost=cost, spread=2.0)
    answer(decoder, PROMPT, n, params, costs=taught(decoder))
    assert decoder.clock.now <= n / 0.97


def test_copying_takes_a_fraction_of_the_time() -> None:
    decoder = ChainDecoder(50, order=2, cost=COSTS["as on a laptop"])
    answer(decoder, PROMPT, 250, GREEDY, costs=taught(decoder))
    assert decoder.clock.now < 250 / 2.2


def test_a_first_answer_learns_at_a_bounded_price() -> None:
    decoder = ChainDecoder(4, order=None, cost=COSTS["dearer than steps"])
    answer(decoder, PROMPT, 100, GREEDY)
    assert decoder.clock.now < 100 * 1.1


def test_what_is_drawn_has_the_models_distribution() -> None:
    """Pearson's chi-squared over all answers of three tokens, drafts made before each."""
    decoder = ChainDecoder(3, order=2, spread=1.0, cost=cheap)
    prompt = [0, 1, 2, 0, 1, 1, 0, 2, 0, 1]
    rounds, counts, drafted, accepted = 4000, Counter(), 0, 0
    costs = taught(decoder)
    for seed in range(rounds):
        params = SamplingParams(seed=seed, temperature=1.0, top_p=1.0)
        # A fourth token, so that there is room for drafts of three.
        tokens, passes = answer(decoder, prompt, 4, params, costs=costs)
        counts[tuple(tokens[:3])] += 1
        drafted += passes.drafted
        accepted += passes.accepted
    assert drafted > rounds / 4
    assert 0.1 * drafted < accepted < 0.9 * drafted  # both outcomes are in what was counted
    statistic = 0.0
    for outcome in np.ndindex(3, 3, 3):
        expected, read = float(rounds), list(prompt)
        for token in outcome:
            logits = decoder.logits([v.tobytes() for v in decoder.embed(read)]).astype(float)
            expected *= np.exp(logits[token]) / np.exp(logits).sum()
            read.append(token)
        statistic += (counts[outcome] - expected) ** 2 / expected
    assert statistic < 54.1  # of 26 degrees of freedom: exceeded by one run in a thousand


class Only:
    """Forces a text, and forbids everything else behind it but even tokens."""

    def __init__(self, forced: list[int]) -> None:
        self._forced = forced
        self.asked: list[list[int]] = []

    def forced(self) -> list[int]:
        forced, self._forced = self._forced, []
        return forced

    def permitted(self, tokens: Sequence[int]) -> int:
        self.asked.append(list(tokens))
        return next((i for i, token in enumerate(tokens) if token % 2), len(tokens))


def test_forced_tokens_are_drafted_and_forbidden_ones_are_not() -> None:
    decoder = ChainDecoder(20, order=1, cost=cheap)
    costs = taught(decoder)
    prompt = [4, 6, 8, 2, 1, 4]
    state = decoder.start(capacity=100)
    state.extend(decoder.embed(prompt))
    restraint = Only([2, 2, 2])
    passes = Drafting(state, prompt, limit=50, costs=costs, restraint=restraint)
    passes.after(6)
    assert decoder.passes == [4]
    passes.after(3)  # none of those: they are forgotten
    assert state.length == 8
    for token in (6, 8):
        passes.after(token)
    assert restraint.asked[-1][:2] == [2, 1]
    assert decoder.passes[-1] == 2
    assert state.length == 11


def test_n_grams_are_asked_where_nothing_repeats() -> None:
    decoder = ChainDecoder(200, order=1, cost=cheap)
    plain, _ = answer(decoder, PROMPT, 9, GREEDY, enabled=False)
    asked: list[list[int]] = []

    def continuations(context: Sequence[int], n: int) -> list[int]:
        asked.append(list(context))
        at = plain.index(context[-1]) + 1
        return plain[at : at + n]

    decoder.passes.clear()
    costs = taught(decoder)
    tokens, passes = answer(decoder, PROMPT, 9, GREEDY, costs=costs, continuations=continuations)
    assert tokens == plain
    assert asked[0] == plain[:1]
    assert max(map(len, asked)) <= 4
    assert passes.accepted > 0

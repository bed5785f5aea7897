"""A mixture is what it says: shares of what the LLM says with a persona and without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepersona.decoder import Decoder
from edgepersona.generator import Generator
from edgepersona.mixture import without_persona
from edgepersona.prompt import Prompt, SoftSegment, TextSegment
from edgepersona.sampling import SamplingParams

pytest.importorskip("torch", reason="export extra is not installed")

from tests import tiny

GREEDY = SamplingParams(max_new_tokens=24, temperature=0.0)
ANSWER = "an answer of some words"


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    folder = tmp_path_factory.mktemp("bundle")
    return Generator(tiny.write_bundle(folder, tiny.llama(259)))


@pytest.fixture(params=["behind", "before"])
def prompt(generator: Generator, request: pytest.FixtureRequest) -> Prompt:
    rows = np.random.default_rng(5).normal(0, 1, (3, generator.decoder.hidden))
    soft = SoftSegment(rows.astype(np.float32))
    words = (TextSegment("I wrote this once.", "r1"), TextSegment("What would I write now?"))
    segments = (*words, soft) if request.param == "behind" else (soft, *words)
    return Prompt("Be brief.", segments, opening="Title:")


class Lift:
    """A bias that makes one token likelier."""

    def apply(self, logits: NDArray[np.float32], answer: Sequence[int]) -> None:
        logits[7] += 2


class Recorder:
    """A bias that changes nothing, and keeps what it is given."""

    def __init__(self) -> None:
        self.steps: list[tuple[list[int], NDArray[np.float32]]] = []

    def apply(self, logits: NDArray[np.float32], answer: Sequence[int]) -> None:
        self.steps.append((list(answer), logits.copy()))


def _logits_after(
    decoder: Decoder, prompt: NDArray[np.float32], answer: Sequence[int]
) -> NDArray[np.float32]:
    vectors = np.concatenate([prompt, decoder.embed(answer)]) if answer else prompt
    return decoder.start(capacity=len(vectors)).extend(vectors)[0]


def _shares(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    weights: NDArray[np.float32] = np.exp(logits - logits.max())
    return weights / weights.sum()


def _likelihoods(generator: Generator, prompt: Prompt) -> NDArray[np.float32]:
    return generator.stream(prompt, GREEDY).log_probs(ANSWER)[0]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_each_token_is_as_likely_as_the_shares_say(
    generator: Generator, prompt: Prompt, share: float
) -> None:
    own = _likelihoods(generator, prompt)
    plain = _likelihoods(generator, without_persona(prompt))
    assert np.abs(own - plain).max() > 0.05  # else this would show nothing
    mixed = _likelihoods(generator, replace(prompt, plain_share=share))
    expected = np.log((1 - share) * np.exp(own) + share * np.exp(plain))
    np.testing.assert_allclose(mixed, expected, atol=1e-4)


def test_what_is_drawn_from_while_answering_is_the_mixture(
    generator: Generator, prompt: Prompt
) -> None:
    seen = Recorder()
    "".join(generator.stream(replace(prompt, plain_share=0.4, bias=seen), GREEDY))
    assert len(seen.steps) == GREEDY.max_new_tokens
    decoder = generator.decoder
    layouts = [generator.stream(p, GREEDY).layout for p in (prompt, without_persona(prompt))]
    for answer, logits in seen.steps:
        own, plain = (
            _shares(_logits_after(decoder, layout.vectors(decoder.embed, 0), answer))
            for layout in layouts
        )
        np.testing.assert_allclose(_shares(logits), 0.6 * own + 0.4 * plain, atol=1e-4)


@pytest.mark.parametrize("drafts", [True, False])
def test_drafts_and_what_is_kept_read_change_no_answer(
    generator: Generator, prompt: Prompt, drafts: bool
) -> None:
    mixed = replace(prompt, plain_share=0.3)
    params = SamplingParams(max_new_tokens=24, seed=3, drafts=drafts)
    alone = "".join(generator.stream(mixed, params))
    generator.prefixes.clear()
    assert "".join(generator.stream(mixed, replace(params, drafts=not drafts))) == alone


def test_a_bias_comes_on_top_of_the_mixture(generator: Generator, prompt: Prompt) -> None:
    mixed = replace(prompt, plain_share=0.3)
    lifted = _likelihoods(generator, replace(mixed, bias=Lift()))
    assert (lifted < _likelihoods(generator, mixed)).all()  # no token of the answer is lifted


def test_an_answer_that_is_cancelled_before_it_begins_is_empty(
    generator: Generator, prompt: Prompt
) -> None:
    stream = generator.stream(replace(prompt, plain_share=0.3), GREEDY)
    stream.cancel()
    assert "".join(stream) == ""
    assert stream.log_probs(ANSWER).shape[0] == 1

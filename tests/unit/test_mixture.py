"""A mixture is what it says: of what the LLM says with a persona, and without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepersona.decoder import Decoder
from edgepersona.generator import Generator
from edgepersona.mixture import Bend, Mixture, without_persona
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
        logits[7] += 6


def _logits_after(
    decoder: Decoder, prompt: NDArray[np.float32], answer: Sequence[int]
) -> NDArray[np.float32]:
    vectors = np.concatenate([prompt, decoder.embed(answer)]) if len(answer) else prompt
    return decoder.start(capacity=len(vectors)).extend(vectors)[0]


def _shares(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def _likelihoods(generator: Generator, prompt: Prompt) -> NDArray[np.float32]:
    return generator.stream(prompt, GREEDY).log_probs(ANSWER)[0]


def _expected(
    generator: Generator, prompt: Prompt, answer: Sequence[int], bias: Lift | None = None
) -> list[NDArray[np.float64]]:
    """Return the shares of what may follow each beginning of ``answer``, as the method is told."""
    decoder, weight, found = generator.decoder, 0.5, []
    layouts = [generator.stream(p, GREEDY).layout for p in (prompt, without_persona(prompt))]
    prompts = [layout.vectors(decoder.embed, 0) for layout in layouts]
    for at in range(len(answer) + 1):
        both = [_logits_after(decoder, p, answer[:at]) for p in prompts]
        if bias:
            for logits in both:
                bias.apply(logits, answer[:at])
        own, plain = map(_shares, both)
        mixed = (1 - weight) * own + weight * plain
        found.append(np.minimum(mixed, mixed[own.argmax()]))
        found[-1] /= found[-1].sum()
        if at < len(answer):
            joint = (1 - weight) * own[answer[at]], weight * plain[answer[at]]
            weight = 0.7 * joint[1] / sum(joint) + 0.3 * 0.5
    return found


@pytest.mark.parametrize("drafts", [True, False])
def test_what_an_answer_is_drawn_from_is_as_the_method_says(
    generator: Generator, prompt: Prompt, monkeypatch: pytest.MonkeyPatch, drafts: bool
) -> None:
    drawn_from: list[tuple[list[int], NDArray[np.float32]]] = []
    mix = Mixture.mix

    def watched(
        self: Mixture, logits: NDArray[np.float32], answer: Sequence[int], bend: Bend
    ) -> None:
        mix(self, logits, answer, bend)
        drawn_from.append((list(answer), logits.copy()))

    monkeypatch.setattr(Mixture, "mix", watched)
    params = SamplingParams(max_new_tokens=24, seed=11, drafts=drafts)
    "".join(generator.stream(replace(prompt, mixed=True, bias=Lift()), params))
    assert len(drawn_from) == params.max_new_tokens
    expected = _expected(generator, prompt, drawn_from[-1][0], Lift())
    for (_, logits), shares in zip(drawn_from, expected, strict=True):
        np.testing.assert_allclose(_shares(logits), shares, atol=1e-5)


def test_likelihoods_are_those_of_the_mixture(generator: Generator, prompt: Prompt) -> None:
    own = _likelihoods(generator, prompt)
    plain = _likelihoods(generator, without_persona(prompt))
    mixed = _likelihoods(generator, replace(prompt, mixed=True))
    assert np.abs(own - plain).max() > 0.05  # else this would show nothing
    ids = generator.tokenizer.encode(" " + ANSWER)
    shares = _expected(generator, prompt, ids)
    expected = np.log([s[i] for s, i in zip(shares, ids, strict=False)])
    np.testing.assert_allclose(mixed, expected, atol=1e-4)


@pytest.mark.parametrize("drafts", [True, False])
def test_a_greedy_answer_is_that_of_the_persona(
    generator: Generator, prompt: Prompt, drafts: bool
) -> None:
    params = replace(GREEDY, drafts=drafts)
    alone = "".join(generator.stream(prompt, params))
    assert "".join(generator.stream(without_persona(prompt), params)) != alone
    assert "".join(generator.stream(replace(prompt, mixed=True), params)) == alone


@pytest.mark.parametrize("drafts", [True, False])
def test_drafts_and_what_is_kept_read_change_no_answer(
    generator: Generator, prompt: Prompt, drafts: bool
) -> None:
    mixed = replace(prompt, mixed=True)
    params = SamplingParams(max_new_tokens=24, seed=3, drafts=drafts)
    alone = "".join(generator.stream(mixed, params))
    generator.prefixes.clear()
    assert "".join(generator.stream(mixed, replace(params, drafts=not drafts))) == alone


@pytest.mark.parametrize("drafts", [True, False])
def test_a_bias_and_what_keeps_answers_brief_come_before_the_mixture(
    generator: Generator, prompt: Prompt, drafts: bool
) -> None:
    params = replace(GREEDY, drafts=drafts)
    brief = replace(prompt, bias=Lift(), brief=True)
    alone = "".join(generator.stream(brief, params))
    assert alone != "".join(generator.stream(prompt, params))
    assert "".join(generator.stream(replace(brief, mixed=True), params)) == alone


def test_an_answer_that_is_cancelled_before_it_begins_is_empty(
    generator: Generator, prompt: Prompt
) -> None:
    stream = generator.stream(replace(prompt, mixed=True), GREEDY)
    stream.cancel()
    assert "".join(stream) == ""
    assert stream.log_probs(ANSWER).shape[0] == 1

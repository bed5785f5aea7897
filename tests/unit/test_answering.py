"""What speeds answers up changes none: drafts, what was read before, and what a profile keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepersona.circles import hold_back
from edgepersona.generator import Generation, Generator
from edgepersona.profile import Profile
from edgepersona.prompt import Prompt, SoftSegment, TextSegment
from edgepersona.records import Record, Task
from edgepersona.sampling import SamplingParams
from edgepersona.weights import DEFAULT, HELD_OUT, read_fit
from tests import tiny
from tests.standins import ChainDecoder, Nudge, NumpyVectors

PROMPT = Prompt("Be brief.", (TextSegment("Say it again: abcabcabcabcabc."),))
GREEDY = SamplingParams(max_new_tokens=60, temperature=0.0, seed=0)
DRAWN = SamplingParams(max_new_tokens=60, temperature=0.8, seed=3)


def cheap(tokens: int) -> float:
    return 1 + 0.05 * (tokens - 1)


@pytest.fixture
def make(tmp_path: Path):
    """Make generators that say a, b, c and d, and take time on their own clocks."""
    bundle = tiny.write_empty_bundle(tmp_path / "bundle")

    def make_(decoder: ChainDecoder | None = None, **options) -> Generator:
        decoder = decoder or ChainDecoder(cost=cheap)
        generator = Generator(bundle, decoder=decoder, **options)
        decoder.only = generator.tokenizer.encode("abcd")
        generator.costs.clock = decoder.clock
        generator.costs.note_step(1.0)
        return generator

    return make_


def finish(generator: Generator, prompt: Prompt, params: SamplingParams, **options) -> Generation:
    stream = generator.stream(prompt, params, **options)
    pieces = "".join(stream)
    assert stream.result.text == pieces
    return stream.result


def same(one: Generation, other: Generation) -> bool:
    """Compare what an answer is, not how it came about."""
    names = ("text", "finish_reason", "prompt_tokens", "new_tokens", "seed")
    return [getattr(one, n) for n in names] == [getattr(other, n) for n in names]


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("params", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_drafts_change_no_answer(make, order: int, params: SamplingParams) -> None:
    plain = finish(make(ChainDecoder(order=order)), PROMPT, replace(params, drafts=False))
    decoder = ChainDecoder(order=order, cost=cheap)
    drafted = finish(make(decoder), PROMPT, params)
    assert same(drafted, plain)
    assert plain.drafted == plain.accepted == 0
    if params is GREEDY:
        assert drafted.accepted > 10
        assert len(decoder.passes) < 50


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("params", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_drafts_change_no_answer_under_a_bias(make, order: int, params: SamplingParams) -> None:
    answers = []
    for drafts in (False, True):
        generator = make(ChainDecoder(order=order, cost=cheap))
        prompt = replace(PROMPT, bias=Nudge(generator.tokenizer.encode("abcd"), strength=30.0))
        answers.append(finish(generator, prompt, replace(params, drafts=drafts)))
    plain, drafted = answers
    assert same(drafted, plain)
    assert plain.drafted == 0
    assert drafted.drafted > 0
    unbiased = finish(make(ChainDecoder(order=order, cost=cheap)), PROMPT, params)
    assert unbiased.text != plain.text


def repeated(generator: Generator, text: str) -> int:
    """Count the places where four tokens stand that stood in the text before."""
    ids = generator.tokenizer.encode(text)
    fours = [tuple(ids[at : at + 4]) for at in range(len(ids) - 3)]
    return len(fours) - len(set(fours))


@pytest.mark.parametrize("params", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_a_brief_answer_leaves_its_circles_with_drafts_as_without(
    make, params: SamplingParams
) -> None:
    brief = replace(PROMPT, brief=True)
    answers = [
        finish(make(ChainDecoder(order=2, cost=cheap)), brief, replace(params, drafts=drafts))
        for drafts in (False, True)
    ]
    assert same(*answers)
    free = finish(generator := make(ChainDecoder(order=2)), PROMPT, params)
    assert repeated(generator, answers[0].text) < repeated(generator, free.text) / 2


@pytest.mark.parametrize("place", range(0, 60, 7))
def test_an_answer_ends_inside_of_a_draft_as_without_one(make, place: int) -> None:
    whole = finish(make(), PROMPT, GREEDY)
    token = make().tokenizer.encode(whole.text)[place]
    for stopped in (replace(GREEDY, max_new_tokens=place + 1), GREEDY):
        answers = []
        for drafts in (False, True):
            generator = make()
            if stopped is GREEDY:
                generator.stop_tokens = frozenset({token})
            answers.append(finish(generator, PROMPT, replace(stopped, drafts=drafts)))
        assert same(*answers)
    letters = whole.text[place : place + 3]
    answers = [
        finish(make(), PROMPT, replace(GREEDY, stop=(letters,), drafts=drafts))
        for drafts in (False, True)
    ]
    assert same(*answers)
    assert answers[0].text == whole.text[: whole.text.index(letters)]


def test_a_second_turn_reads_only_what_is_new(make) -> None:
    decoder = ChainDecoder(order=None)
    generator = make(decoder)
    first = finish(generator, Prompt("Be brief.", (TextSegment("Hello."),)), DRAWN)
    turns = (("user", "Hello."), ("assistant", "something else"))
    second = Prompt("Be brief.", (TextSegment("And then?"),), turns=turns)
    decoder.prefilled.clear()
    answer = finish(generator, second, DRAWN)
    assert answer.reused_tokens == first.prompt_tokens
    assert sum(decoder.prefilled) == answer.prompt_tokens - first.prompt_tokens
    assert same(answer, finish(make(ChainDecoder(order=None)), second, DRAWN))


def test_each_turn_of_a_chat_goes_on_behind_the_last_answer(make) -> None:
    decoder = ChainDecoder(order=None)
    decoder.context = 4096
    generator = make(decoder)
    generator.stop_tokens = frozenset({generator.tokenizer.encode("d")[0]})
    turns: tuple[tuple[str, str], ...] = ()
    read = 0
    for question in ("One?", "Two?", "Three?"):
        prompt = Prompt("Be brief.", (TextSegment(question),), turns=turns)
        answer = finish(generator, prompt, GREEDY)
        assert answer.finish_reason == "stop"
        assert answer.reused_tokens == read
        turns += (("user", question), ("assistant", answer.text))
        read = answer.prompt_tokens + len(answer.text)


def test_a_persona_is_told_from_another(make) -> None:
    decoder = ChainDecoder(order=None)
    generator = make(decoder)

    def prompt(value: float) -> Prompt:
        vectors = np.full((2, 2), value, np.float32)
        return Prompt("Be brief.", (SoftSegment(vectors), TextSegment("Hello.")), constant=1)

    one, other = (finish(generator, prompt(value), GREEDY) for value in (1.0, 2.0))
    assert one.text != other.text
    again = finish(generator, prompt(1.0), GREEDY)
    assert same(again, one)
    head = generator.stream(prompt(1.0)).layout.head
    assert other.reused_tokens == again.reused_tokens == head - 2


def test_an_answer_that_is_given_up_leaves_what_it_read(make) -> None:
    generator = make(ChainDecoder(order=2, cost=cheap))
    pieces = iter(generator.stream(PROMPT, GREEDY))
    for _ in range(20):
        next(pieces)
    pieces.close()
    answer = finish(generator, PROMPT, DRAWN)
    assert answer.reused_tokens == answer.prompt_tokens - 1
    assert same(answer, finish(make(ChainDecoder(order=2)), PROMPT, DRAWN))


def test_a_cancelled_prompt_leaves_what_was_read(make) -> None:
    decoder = ChainDecoder(order=None)
    decoder.context = 4096
    generator = make(decoder)
    long = Prompt("Be brief.", (TextSegment("word " * 250),))
    stream = generator.stream(long, GREEDY)
    extend = decoder.start(capacity=8).__class__.extend

    def cancelling(self, vectors, *, wanted=1):
        stream.cancel()
        return extend(self, vectors, wanted=wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder.start(capacity=8).__class__, "extend", cancelling)
        assert "".join(stream) == ""
    assert stream.result.finish_reason == "cancelled"
    assert finish(generator, long, GREEDY).reused_tokens == 512


def test_without_a_cache_every_prompt_is_read_whole(make) -> None:
    generator = make(cache_bytes=0)
    for _ in range(2):
        assert finish(generator, PROMPT, GREEDY).reused_tokens == 0


@pytest.fixture
def profile(make, store, embedder):
    """A profile whose generator is a stand-in, and how to have another on the same store."""

    def open_(**options) -> Profile:
        decoder = ChainDecoder(order=None, **options)
        decoder.context = 1024
        return Profile(
            store,
            embedder=lambda: embedder,
            vectors=NumpyVectors,
            generator=lambda: make(decoder),
        )

    return open_


TASK = Task("When is tea?")
SHORT = SamplingParams(max_new_tokens=4, temperature=0.0, seed=0)


def test_a_head_is_read_once_for_many_runs(profile) -> None:
    first = profile()
    first.add([Record("tea at four", id="tea")])
    answers = [first.generate(TASK, params=SHORT)]
    second = profile()
    answers.append(second.generate(TASK, params=SHORT))
    head = second.stream(TASK, params=SHORT).layout.head
    assert [a.reused_tokens for a in answers] == [0, head]
    assert head > 100
    assert same(*answers)


def test_a_head_is_forgotten_with_the_next_change(profile) -> None:
    first = profile()
    first.add([Record("tea at four", id="tea")])
    first.generate(TASK, params=SHORT)
    first.add([Record("coffee at nine", id="coffee")])
    assert profile().generate(TASK, params=SHORT).reused_tokens == 0


def test_what_was_read_of_a_record_goes_with_it(profile) -> None:
    own = profile()
    own.add([Record("tea at four", id="tea"), Record("coffee at nine", id="coffee")])
    own.generate(TASK, params=SHORT)
    assert own.generate(TASK, params=SHORT).reused_tokens > 200
    own.delete(["coffee"])
    cache = own._generator.get().prefixes
    assert cache._kept == []
    assert own.generate(TASK, params=SHORT).reused_tokens == 0
    own.update(Record("tea at five", id="tea"))
    assert cache._kept == []


def test_an_answer_under_way_while_a_record_goes_leaves_nothing_behind(profile) -> None:
    own = profile()
    own.add([Record("tea at four", id="tea"), Record("coffee at nine", id="coffee")])
    stream = own.stream(TASK, params=SHORT)
    pieces = iter(stream)
    next(pieces)
    own.delete(["coffee"])
    list(pieces)
    assert own._generator.get().prefixes._kept == []
    assert profile().generate(TASK, params=SHORT).reused_tokens == 0


def test_what_another_process_removed_is_let_go_of_at_the_next_answer(
    profile, open_store, embedder
) -> None:
    own = profile()
    own.add([Record("tea at four", id="tea"), Record("coffee at nine", id="coffee")])
    own.generate(TASK, params=SHORT)
    open_store().delete(["coffee"])
    own.stream(TASK, params=SHORT)
    assert own._generator.get().prefixes._kept == []


def test_closing_lets_go_of_what_was_read(profile) -> None:
    own = profile()
    own.generate(TASK, params=SHORT, strategy="none")
    cache = own._generator.get().prefixes
    assert len(cache._kept) == 1
    own.close()
    assert cache._kept == []


def test_an_opening_is_read_and_not_given_out(make) -> None:
    decoder = ChainDecoder(order=None)
    generator = make(decoder)
    decoder.only = generator.tokenizer.encode(" a")
    opened = finish(generator, replace(PROMPT, opening="Title:"), GREEDY)
    plain = finish(generator, PROMPT, GREEDY)
    assert opened.prompt_tokens == plain.prompt_tokens + len("Title:")
    assert opened.text != plain.text
    assert opened.text == opened.text.lstrip()
    assert "Title" not in opened.text


def likelihood(decoder: ChainDecoder, read: list[int], answer: list[int], t: float) -> list[float]:
    found = []
    for at, token in enumerate(answer):
        seen = [decoder.embed([i])[0].tobytes() for i in [*read, *answer[:at]]]
        logits = decoder.logits(seen).astype(np.float64) / t
        found.append(logits[token] - np.log(np.exp(logits).sum()))
    return found


@pytest.mark.parametrize("opening", ["", "Title:"])
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 150])
def test_log_probs_are_those_of_each_token_behind_the_prompt(
    make, opening: str, length: int
) -> None:
    decoder = ChainDecoder(order=None)
    decoder.context = 4096
    generator = make(decoder)
    decoder.only = []
    prompt = replace(PROMPT, opening=opening)
    answer = ("tea and boats and " * 20)[:length]
    ids = generator.tokenizer.encode(f" {answer}" if opening else answer)
    stream = generator.stream(prompt, GREEDY)
    found = stream.log_probs(answer, temperatures=(1.0, 2.0))
    assert found.shape == (2, len(ids))
    for row, temperature in zip(found, (1.0, 2.0), strict=True):
        wanted = likelihood(decoder, stream.layout.token_ids, ids, temperature)
        assert row == pytest.approx(wanted, rel=1e-4)


def test_log_probs_and_answers_do_not_disturb_each_other(make) -> None:
    plain = finish(make(ChainDecoder(order=None)), PROMPT, GREEDY)
    generator = make(ChainDecoder(order=None))
    stream = generator.stream(PROMPT, GREEDY)
    before = stream.log_probs("abcd")
    answer = "".join(stream)
    assert answer == plain.text
    assert np.array_equal(stream.log_probs("abcd"), before)
    # Where the answer begins as the text does, what was read of it is not taken for the prompt.
    assert np.array_equal(
        stream.log_probs(answer),
        make(ChainDecoder(order=None)).stream(PROMPT, GREEDY).log_probs(answer),
    )


def test_log_probs_read_a_prompt_that_was_answered_only_once(make) -> None:
    decoder = ChainDecoder(order=None)
    generator = make(decoder)
    stream = generator.stream(PROMPT, GREEDY)
    for _ in stream:
        pass
    decoder.prefilled.clear()
    stream.log_probs("abcd")
    assert sum(decoder.prefilled) == 4


def test_log_probs_of_nothing_are_none_and_those_beyond_the_context_are_left_out(make) -> None:
    stream = make(ChainDecoder(order=None), max_context=200).stream(PROMPT, GREEDY)
    assert stream.log_probs("").shape == (1, 0)
    assert stream.log_probs("a" * 500).shape == (1, 200 - stream.layout.token_count)


TITLE = Task("What comes next?", kind="title")
WORDS = SamplingParams(max_new_tokens=40, temperature=0.0, seed=0)


def histories(n: int = 12) -> list[Record]:
    return [
        Record(f"text {i}", "dcbadcbabdca"[i % 3 :], date=f"20{i:02}", id=f"{i}") for i in range(n)
    ]


def test_the_cache_makes_answers_of_the_users_own_words(profile) -> None:
    own = profile(spread=1.0)
    own.add(histories())
    # Of a title what says the same again is held back, and four letters soon do.
    task = replace(TITLE, kind="tag")
    plain, biased = (own.generate(task, strategy=s, params=WORDS) for s in ("none", "none+cache"))
    assert biased.strategy == "none+cache"
    assert plain.prompt_tokens == biased.prompt_tokens

    def triples(text: str) -> int:
        held = "|".join(record.title for record in histories(3))
        return sum(text[at : at + 3] in held for at in range(len(text) - 2))

    assert triples(biased.text) > triples(plain.text) + 5
    undrafted = replace(WORDS, drafts=False)
    assert same(own.generate(task, strategy="none+cache", params=undrafted), biased)
    own.close()


def test_without_words_of_the_users_own_the_cache_changes_nothing(profile) -> None:
    own = profile(spread=1.0)
    for records in ([], [Record("text", "dcbadcba", kind="read", id="theirs")]):
        own.add(records)
        answers = [own.generate(TITLE, strategy=s, params=WORDS) for s in ("none", "none+cache")]
        assert same(*answers)
        assert own.bias(TITLE) is None


def test_a_new_title_is_not_to_repeat_one_that_is_shown_but_a_rating_is(profile) -> None:
    own = profile(spread=1.0)
    own.add([*histories(3), Record("untitled", id="bare")])
    title = own._generator.get().tokenizer.encode(" " + histories(3)[1].title)
    for kind, repeats in (("title", False), ("headline", False), ("rating", True)):
        bias = own.bias(Task("What?", kind=kind), shown=["1", "bare"])
        assert bias._shown == ([] if repeats else [title])
        assert bias._weight < own.bias(Task("What?", kind=kind))._weight
    own.close()


def test_what_the_words_weigh_is_found_out_after_an_answer(profile, store) -> None:
    own = profile(spread=1.0)
    own.add(histories())
    own.generate(TITLE, strategy="none", params=WORDS)
    assert not own._weighers
    own.generate(TITLE, strategy="none+cache", params=WORDS)
    own._weighers["title"].join()
    fit = read_fit(store.load_weight("title"))
    assert len(fit.nats) == HELD_OUT
    assert own.bias(TITLE)._weight == fit.weight > 0
    fits = replace(fit, nats=tuple([[-n for n in row] for row in r] for r in fit.nats))
    own._store.save_weight("title", fits.as_json(), own.generation)
    assert own.bias(TITLE)._weight == 0  # off where it does not help
    assert same(*(own.generate(TITLE, strategy=s, params=WORDS) for s in ("none", "none+cache")))
    own.delete(["3"])
    assert own.bias(TITLE)._weight == DEFAULT
    own.close()


def test_what_the_words_weigh_can_be_waited_for(profile, store) -> None:
    own = profile(spread=1.0)
    own.weigh(TITLE)  # nothing to fit it on is no error
    own.add(histories())
    own.weigh(TITLE)
    fit = read_fit(store.load_weight("title"))
    assert len(fit.nats) == HELD_OUT
    own.weigh(TITLE)
    assert read_fit(store.load_weight("title")) == fit
    own.close()


@pytest.mark.parametrize("brief", [False, True])
def test_a_text_is_scored_as_it_would_be_drawn(make, *, brief: bool) -> None:
    generator = make(ChainDecoder(order=2))
    bias = Nudge(generator.tokenizer.encode("abcd"))
    prompt = replace(PROMPT, bias=bias, brief=brief)
    text = "abcddcbaabcd" * 8
    state, ids = generator.decoder, generator.tokenizer.encode(text)
    read = [row.tobytes() for row in generator.stream(PROMPT).layout.vectors(state.embed, 0)]
    expected = []
    for at, token in enumerate(ids):
        logits = state.logits(read)
        bias.apply(logits, ids[:at])
        if brief:
            hold_back(logits, ids[:at])
        for temperature in (1.0, 2.0):
            scaled = logits.astype(float) / temperature
            expected.append(scaled[token] - np.log(np.exp(scaled).sum()))
        read.append(state.embed([token])[0].tobytes())
    found = generator.stream(prompt).log_probs(text, temperatures=(1.0, 2.0))
    assert np.allclose(found.T.ravel(), expected, atol=1e-3)

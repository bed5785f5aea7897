"""An answer is streamed, ends where it should, can be stopped, and can be had again."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
import pytest

from edgepersona.errors import EdgePersonaError, InputError
from edgepersona.generator import Generator, Stream
from edgepersona.prompt import Prompt, SoftSegment, TextSegment
from edgepersona.sampling import SamplingParams

pytest.importorskip("torch", reason="export extra is not installed")

from tests import tiny

PROMPT = Prompt("Be brief.", (TextSegment("Say something."),))
GREEDY = SamplingParams(max_new_tokens=40, temperature=0.0)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    folder = tmp_path_factory.mktemp("bundle")
    return Generator(tiny.write_bundle(folder, tiny.llama(259)))


def _finish(stream: Stream) -> str:
    return "".join(stream)


def test_the_pieces_make_the_result(generator: Generator) -> None:
    stream = generator.stream(PROMPT, GREEDY, strategy="none")
    text = _finish(stream)
    result = stream.result
    assert (result.text, result.strategy, result.finish_reason) == (text, "none", "length")
    assert (result.new_tokens, result.prompt_tokens) == (40, stream.layout.token_count)
    assert result.provider == "CPUExecutionProvider"


def test_greedy_answers_are_the_same_each_time(generator: Generator) -> None:
    assert _finish(generator.stream(PROMPT, GREEDY)) == _finish(generator.stream(PROMPT, GREEDY))


def test_a_seed_gives_the_same_text_and_another_seed_another(generator: Generator) -> None:
    def text(seed: int | None) -> str:
        return _finish(generator.stream(PROMPT, SamplingParams(max_new_tokens=40, seed=seed)))

    assert text(5) == text(5)
    assert text(5) != text(6)


def test_a_drawn_seed_is_told_and_repeats_the_answer(generator: Generator) -> None:
    stream = generator.stream(PROMPT, SamplingParams(max_new_tokens=30))
    text = _finish(stream)
    again = generator.stream(PROMPT, SamplingParams(max_new_tokens=30, seed=stream.result.seed))
    assert _finish(again) == text


def test_a_stop_string_ends_the_answer_before_it(generator: Generator) -> None:
    whole = _finish(generator.stream(PROMPT, GREEDY))
    stop = whole[10:12]
    stream = generator.stream(PROMPT, SamplingParams(40, temperature=0.0, stop=(stop,)))
    assert _finish(stream) == whole[: whole.index(stop)]
    assert stream.result.finish_reason == "stop"


def test_a_stop_token_ends_the_answer_and_is_no_text(generator: Generator) -> None:
    first = generator.tokenizer.encode(_finish(generator.stream(PROMPT, GREEDY)))[0]
    kept = generator.stop_tokens
    generator.stop_tokens = frozenset({first})
    try:
        stream = generator.stream(PROMPT, GREEDY)
        assert _finish(stream) == ""
        assert stream.result.finish_reason == "stop"
    finally:
        generator.stop_tokens = kept


def test_cancelling_keeps_what_came_so_far(generator: Generator) -> None:
    whole = _finish(generator.stream(PROMPT, GREEDY))
    stream, got = generator.stream(PROMPT, GREEDY), ""
    for piece in stream:
        got += piece
        if len(got) > 5:
            stream.cancel()
    assert whole.startswith(got)
    assert got != whole
    assert (stream.result.finish_reason, stream.result.text) == ("cancelled", got)


def test_cancelling_before_the_first_token_gives_an_empty_answer(generator: Generator) -> None:
    stream = generator.stream(PROMPT, GREEDY)
    stream.cancel()
    assert _finish(stream) == ""
    assert (stream.result.new_tokens, stream.result.tokens_per_s) == (0, 0.0)


def test_the_result_is_refused_before_the_end(generator: Generator) -> None:
    stream = generator.stream(PROMPT, GREEDY)
    next(iter(stream))
    with pytest.raises(EdgePersonaError, match="not finished"):
        _ = stream.result


def test_streams_side_by_side_give_what_each_gives_alone(generator: Generator) -> None:
    other = Prompt("Be brief.", (TextSegment("Say another thing."),))
    alone = [_finish(generator.stream(p, GREEDY)) for p in (PROMPT, other)]
    first, second = generator.stream(PROMPT, GREEDY), generator.stream(other, GREEDY)
    mixed = ["", ""]
    for a, b in zip_longest(first, second, fillvalue=""):
        mixed[0] += a
        mixed[1] += b
    assert mixed == alone


def test_a_long_prompt_gives_way_and_the_answer_ends_at_the_context(generator: Generator) -> None:
    prompt = Prompt("s", (TextSegment("old " * 60, "old"), TextSegment("new " * 30)))
    stream = generator.stream(prompt, SamplingParams(500, temperature=0.0))
    _finish(stream)
    result = stream.result
    assert (result.dropped, result.records) == (("old",), ())
    assert result.prompt_tokens + result.new_tokens == generator.context
    assert result.finish_reason == "context"


def test_words_beyond_any_context_are_an_input_error(generator: Generator) -> None:
    with pytest.raises(InputError, match="the context leaves"):
        generator.stream(Prompt("s" * 300, (TextSegment("hello"),)), GREEDY)


def test_soft_vectors_reach_the_model(generator: Generator) -> None:
    words = generator.tokenizer.encode("Say something.")
    vectors = generator.decoder.embed(words)
    soft = generator.stream(Prompt("Be brief.", (SoftSegment(vectors),)), GREEDY)
    assert _finish(soft) == _finish(generator.stream(PROMPT, GREEDY))


def test_soft_vectors_of_another_model_are_an_input_error(generator: Generator) -> None:
    prompt = Prompt("s", (SoftSegment(np.ones((2, 7), np.float32)), TextSegment("hello")))
    with pytest.raises(InputError, match=r"soft vectors are float32 .*7.*96"):
        generator.stream(prompt, GREEDY)

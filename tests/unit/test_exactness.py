"""On the native engine an answer is the same, token for token, whatever made it come sooner."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from edgepersona.bundle import Bundle
from edgepersona.generator import Generation, Generator
from edgepersona.prompt import Prompt, TextSegment
from edgepersona.sampling import SamplingParams

pytest.importorskip("torch", reason="export extra is not installed")

from tests import tiny

TEXT = "the key to the shed hangs in the blue box, and the key to the box"
PROMPT = Prompt("Be brief.", (TextSegment(TEXT),))
SETTINGS = [
    {"temperature": 0.0},
    {"temperature": 0.3},
    {"temperature": 0.9, "top_p": 0.8},
    {"temperature": 0.5, "repetition_penalty": 1.2, "top_k": 20},
]


@pytest.fixture(scope="module", params=["int8", "int4"])
def bundle(request, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    # Small weights: such a model soon repeats itself, so that drafts come true.
    return tiny.write_bundle(
        folder,
        tiny.llama(259, initializer_range=0.05, max_position_embeddings=1024),
        precision=request.param,
    )


def make(bundle: Bundle, **options) -> Generator:
    """Make a generator to which every pass takes the same time: drafts always seem to pay."""
    generator = Generator(bundle, **options)
    assert generator.decoder.provider.startswith("native")
    generator.costs.clock = itertools.count().__next__
    return generator


def finish(generator: Generator, prompt: Prompt, **settings) -> Generation:
    stream = generator.stream(prompt, SamplingParams(max_new_tokens=80, seed=7, **settings))
    for _ in stream:
        pass
    return stream.result


@pytest.mark.parametrize("settings", SETTINGS)
def test_drafts_change_no_token(bundle: Bundle, settings: dict) -> None:
    plain = finish(make(bundle), PROMPT, drafts=False, **settings)
    drafted = finish(make(bundle), PROMPT, **settings)
    assert drafted.text == plain.text
    assert drafted.new_tokens == plain.new_tokens
    if settings["temperature"] == 0:
        assert drafted.accepted > 10


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_was_read_before_changes_no_token(bundle: Bundle, settings: dict) -> None:
    generator = make(bundle)
    first = finish(generator, PROMPT, **settings)
    again = finish(generator, PROMPT, **settings)
    assert again.text == first.text
    assert again.reused_tokens == again.prompt_tokens - 1
    turns = (("user", TEXT), ("assistant", first.text))
    second = Prompt("Be brief.", (TextSegment("and then?"),), turns=turns)
    with_the_first_turn = finish(generator, second, **settings)
    assert with_the_first_turn.reused_tokens > 50
    assert with_the_first_turn.text == finish(make(bundle), second, **settings).text


def test_a_saved_head_changes_no_token(bundle: Bundle, tmp_path: Path) -> None:
    kept: dict[bytes, bytes] = {}

    class Heads:
        load = kept.get
        note_use = staticmethod(lambda key: key not in kept)
        save = staticmethod(kept.__setitem__)
        is_stale = staticmethod(lambda: False)

    def answer(text: str, heads: type[Heads] | None) -> Generation:
        prompt = Prompt("Be brief, and to the point.", (TextSegment(text),))
        params = SamplingParams(max_new_tokens=40, seed=3)
        stream = make(bundle).stream(prompt, params, heads=heads)
        for _ in stream:
            pass
        return stream.result

    answer("first", Heads)
    restored = answer("second", Heads)
    assert len(kept) == 1
    assert restored.reused_tokens > 30
    assert restored.text == answer("second", None).text

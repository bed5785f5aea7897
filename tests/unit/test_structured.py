"""An answer to a schema is JSON that fits it, with drafts and without, or says that it was cut."""

from __future__ import annotations

import builtins
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepersona.errors import EdgePersonaError, InputError
from edgepersona.generator import Generation, Generator
from edgepersona.prompt import Prompt, TextSegment
from edgepersona.sampling import SamplingParams
from edgepersona.structured import Form, Schemas
from tests import tiny
from tests.standins import ChainDecoder, Nudge

pytest.importorskip("llguidance", reason="schema extra is not installed")

PROMPT = Prompt("Be brief.", (TextSegment("Describe it."),))
PARAMS = SamplingParams(max_new_tokens=120, temperature=1.0, seed=1)
SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 6},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "kinds": {"type": "array", "items": {"enum": ["mail", "note"]}, "maxItems": 2},
    },
    "required": ["title", "count", "kinds"],
    "additionalProperties": False,
}


@pytest.fixture
def schemas(tmp_path: Path) -> Schemas:
    vocab = tiny.write_tokenizer(tmp_path)
    return Schemas(tmp_path / "tokenizer.json", vocab=vocab + 5, stop_tokens=[tiny.STOP])


@pytest.fixture
def make(tmp_path: Path):
    bundle = tiny.write_empty_bundle(tmp_path / "bundle")

    def make_(order: int | None = None, **options) -> Generator:
        decoder = ChainDecoder(order=order, cost=lambda n: 1 + 0.05 * (n - 1), **options)
        decoder.context = 512
        generator = Generator(bundle, decoder=decoder)
        generator.costs.clock = decoder.clock
        generator.costs.note_step(1.0)
        return generator

    return make_


def finish(
    generator: Generator,
    schema: Any,
    params: SamplingParams = PARAMS,
    prompt: Prompt = PROMPT,
) -> Generation:
    stream = generator.stream(prompt, params, schema=schema)
    pieces = "".join(stream)
    assert stream.result.text == pieces
    return stream.result


@pytest.mark.parametrize("seed", range(8))
def test_what_comes_out_fits_the_schema(make, seed: int) -> None:
    answer = finish(make(), SCHEMA, replace(PARAMS, seed=seed))
    assert answer.finish_reason == "stop"
    found = json.loads(answer.text)
    assert list(found) == ["title", "count", "kinds"]
    assert len(found["title"]) <= 6
    assert 0 <= found["count"] <= 99
    assert set(found["kinds"]) <= {"mail", "note"}
    assert len(found["kinds"]) <= 2


@pytest.mark.parametrize("order", [1, 2, None])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_drafts_change_nothing_and_forced_words_are_read_at_once(
    make, order: int | None, temperature: float
) -> None:
    params = replace(PARAMS, temperature=temperature)
    plain = finish(make(order), SCHEMA, replace(params, drafts=False))
    generator = make(order)
    drafted = finish(generator, SCHEMA, params)
    assert (drafted.text, drafted.finish_reason) == (plain.text, plain.finish_reason)
    if plain.finish_reason == "stop":
        assert drafted.accepted > 10
        assert len(generator.decoder.passes) < drafted.new_tokens - 10


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_bias_works_within_the_schema(make, temperature: float) -> None:
    params = replace(PARAMS, temperature=temperature)
    answers = []
    for drafts in (False, True):
        generator = make()
        bias = Nudge(generator.tokenizer.encode("xyz<|"), strength=50.0)  # and what breaks JSON
        prompt = replace(PROMPT, bias=bias)
        answers.append(finish(generator, SCHEMA, replace(params, drafts=drafts), prompt))
    assert answers[0].text == answers[1].text != finish(make(), SCHEMA, params).text
    assert set(json.loads(answers[0].text)["title"]) & set("xyz<|")


def test_json_may_say_the_same_marks_again_where_the_answer_is_brief(make) -> None:
    lists = {"type": "array", "items": {"const": "aaaa"}, "minItems": 9, "maxItems": 9}
    brief = finish(make(), lists, replace(PARAMS, max_new_tokens=200), replace(PROMPT, brief=True))
    assert json.loads(brief.text) == ["aaaa"] * 9
    assert brief.text == finish(make(), lists, replace(PARAMS, max_new_tokens=200)).text


def test_an_answer_that_ends_for_room_says_so(make) -> None:
    answer = finish(make(), SCHEMA, replace(PARAMS, max_new_tokens=9))
    assert (answer.finish_reason, answer.new_tokens) == ("length", 9)
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.text)


def test_an_answer_ends_with_its_last_bracket(make) -> None:
    answer = finish(make(), {"type": "object", "additionalProperties": False})
    assert (answer.text, answer.new_tokens) == ("{}", 2)


def test_a_number_ends_where_the_model_stops_it(make) -> None:
    answer = finish(make(), {"type": "integer"}, replace(PARAMS, max_new_tokens=200))
    assert int(answer.text) is not None
    assert answer.finish_reason == "stop"


def test_without_a_schema_anything_goes(make) -> None:
    assert finish(make(), None).finish_reason in {"length", "stop"}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "strin"}, "cannot be followed: Invalid type: strin"),
        ({"type": "string", "pattern": "(("}, "unclosed group"),
        ({"$ref": "#"}, "no JSON fits it"),
        ({"$ref": "https://example.com/schema"}, "cannot be followed"),
        ({"enum": []}, "cannot be followed"),
        ({"not": {}}, "cannot be followed: Unimplemented"),
        ({"default": float("nan")}, "is no JSON"),
        ({"default": object()}, "is no JSON"),
        ({"title": "\ud800"}, "is no JSON"),
        ({"description": "x" * (1 << 20)}, "more than 1,048,576"),
        ("string", "schema is str"),
        (True, "schema is bool"),
        ([], "schema is list"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_refused_in_one_line(schemas, schema, why: str) -> None:
    with pytest.raises(InputError, match=why) as refusal:
        schemas.form(schema)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("levels", [100, 400, 100_000])
def test_a_schema_nested_too_deep_is_refused(schemas, levels: int) -> None:
    schema: dict = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    with pytest.raises(InputError, match="schema"):
        schemas.form(schema)
    while schema:  # taken apart by hand: letting go of it at once would recurse as deep
        schema = schema.get("properties", {}).get("a", {})


def test_stop_texts_beside_a_schema_are_refused(make) -> None:
    with pytest.raises(InputError, match="stop texts"):
        make().stream(PROMPT, replace(PARAMS, stop=("x",)), schema=SCHEMA)


def test_logits_beyond_the_tokenizer_are_never_drawn(schemas) -> None:
    logits = np.zeros(264, np.float32)
    schemas.form(SCHEMA).restrict(logits)
    assert np.flatnonzero(logits == 0).tolist() == [schemas._tokenizer.tokenize_str("{")[0]]
    assert np.isneginf(logits[1:3]).all()


def test_a_token_that_does_not_fit_is_an_input_error(schemas) -> None:
    form = schemas.form(SCHEMA)
    with pytest.raises(InputError, match="cannot be followed"):
        form.take(200)


def test_forms_of_one_schema_do_not_touch_each_other(schemas) -> None:
    first = schemas.form(SCHEMA)
    first.take(schemas._tokenizer.tokenize_str("{")[0])
    second = schemas.form(dict(SCHEMA))
    assert bytes(schemas._tokenizer.decode_bytes(second.forced())).startswith(b'{"title": "')
    assert bytes(schemas._tokenizer.decode_bytes(first.forced())).startswith(b'"title": "')


def test_many_schemas_are_compiled_and_few_kept(schemas) -> None:
    for i in range(40):
        assert isinstance(schemas.form({"const": i}), Form)
    assert len(schemas._compiled) == 16


def test_a_missing_llguidance_names_what_to_install(schemas, monkeypatch) -> None:
    whole = builtins.__import__

    def missing(name: str, *rest):
        if name.startswith("llguidance"):
            raise ImportError(name)
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(EdgePersonaError, match=r"pip install 'edgepersona\[schema\]'"):
        schemas.form(SCHEMA)

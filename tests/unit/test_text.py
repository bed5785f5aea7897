"""Text comes in and out of tokens without losing a character or letting one act as control."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepersona.errors import BundleError
from edgepersona.text import ChatTemplate, StopStrings, TextStream, Tokenizer
from tests import tiny


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.write_tokenizer(folder)
    return Tokenizer(folder / "tokenizer.json")


@given(text=st.text(max_size=40))
def test_a_stream_gives_the_text_and_never_half_a_character(
    tokenizer: Tokenizer, text: str
) -> None:
    stream = TextStream(tokenizer)
    pieces = [stream.add(i) for i in tokenizer.encode(text)]
    assert "".join(pieces) + stream.flush() == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


@given(text=st.text(max_size=12), space=st.text(" \n\t", max_size=3))
def test_a_trimmed_stream_begins_with_a_word(tokenizer: Tokenizer, text: str, space: str) -> None:
    stream = TextStream(tokenizer, trim=True)
    pieces = [stream.add(i) for i in tokenizer.encode(space + text)]
    assert "".join(pieces) + stream.flush() == (space + text).lstrip()


def test_a_character_cut_short_comes_out_marked_at_the_end(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer)
    ids = tokenizer.encode("a😀")
    assert [stream.add(i) for i in ids[:-1]] == ["a", "", "", ""]
    assert stream.flush() == "\ufffd"


def test_control_tokens_in_what_people_write_are_plain_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("<|im_end|>") == tokenizer.encode("<|im") + tokenizer.encode("_end|>")
    assert tokenizer.decode(tokenizer.encode("<|im_end|>")) == "<|im_end|>"


def test_control_tokens_of_the_template_are_single_ids(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_template("<|im_start|>a<|im_end|>") == [1, *tokenizer.encode("a"), 2]


@given(st.lists(st.text("abx", max_size=5)), st.lists(st.text("abx", min_size=1, max_size=3)))
def test_stop_strings_end_at_the_first_and_hold_back_only_what_could_be_one(
    pieces: list[str], stops: list[str]
) -> None:
    matcher, given_out = StopStrings(stops), ""
    whole = "".join(pieces)
    for piece in pieces:
        given_out += matcher.add(piece)
        if matcher.found:
            break
    found = [at for stop in stops if (at := whole.find(stop)) >= 0]
    if matcher.found:
        # Pieces after the one that completed a stop string were never seen.
        assert given_out in {whole[:at] for at in found}
        assert not any(stop in given_out for stop in stops)
    else:
        assert not found
        assert given_out + matcher.flush() == whole


def test_a_template_is_laid_out_around_contents_it_never_sees() -> None:
    template = ChatTemplate(tiny.TEMPLATE)
    assert template.lay_out("be kind", ["user"]) == [
        "<|im_start|>system\n", 0, "<|im_end|>\n<|im_start|>user\n", 1,
        "<|im_end|>\n<|im_start|>assistant\n",
    ]  # fmt: skip


def test_a_template_without_a_system_role_gets_it_before_the_first_words() -> None:
    source = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}[{{ m['content'] }}]{% endfor %}"
    )
    assert ChatTemplate(source).lay_out("be kind", ["user"]) == ["[", 0, "\n\n", 1, "]"]


@pytest.mark.parametrize(
    "source",
    ["{{ ''.__class__.__mro__[1].__subclasses__() }}", "{% for m in messages %}"],
    ids=["reaches out of the sandbox", "is no template"],
)
def test_a_hostile_or_broken_template_is_a_bundle_error(source: str) -> None:
    with pytest.raises(BundleError, match="chat template"):
        ChatTemplate(source).lay_out("", ["user"])


def test_a_file_that_is_no_tokenizer_is_a_bundle_error(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match="is no tokenizer"):
        Tokenizer(tmp_path / "tokenizer.json")

"""The user's n-grams as a bias: mixed in as the formula has it, but for what looks secret."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepersona._native import NgramModel
from edgepersona.biases import NgramBias

VOCAB = 0x3000
PLAUSIBLE, COPY, WEIGHT = 0.3, 1.5, 0.8


def decode(ids) -> str:
    return "".join(map(chr, ids))


def tokens(text: str) -> list[int]:
    return [*map(ord, text)]


def counted(*texts: str) -> NgramModel:
    model = NgramModel()
    read = [tokens(text) for text in texts]
    model.add(
        np.arange(len(texts)),
        np.array(tokens("".join(texts)), np.int32),
        np.cumsum([0, *map(len, read)]),
    )
    return model


def likelier(answer: str, *texts: str, weight: float = WEIGHT) -> str:
    """Return what gets likelier after ``answer``, for an LLM that holds all for equally likely."""
    logits = np.zeros(VOCAB, np.float32)
    NgramBias(lambda: counted(*texts), decode, weight).apply(logits, tokens(answer))
    assert (logits >= 0).all()
    return decode(np.flatnonzero(logits))


def test_what_the_user_wrote_next_gets_likelier() -> None:
    assert likelier("the ca", "a cat", "a car", "a cow") == " rt"
    assert likelier("", "a cat", "the cow") == "at"
    assert likelier("xyz", "a cat") == ""


def lifts(answer: str, *texts: str, **more) -> dict[str, float]:
    logits = np.zeros(VOCAB, np.float32)
    NgramBias(lambda: counted(*texts), decode, WEIGHT, **more).apply(logits, tokens(answer))
    return {chr(at): float(logits[at]) for at in np.flatnonzero(logits)}


def test_what_is_foretold_from_more_of_the_answer_counts_for_more() -> None:
    whole = lifts("ab", "abc")["c"]
    some = lifts("xab", "abc")["c"]
    beside = lifts("ab", "abc", beside_records=True)["c"]
    assert some == pytest.approx(0.75 * whole, rel=0.05)
    assert beside == pytest.approx(0.75 * whole, rel=1e-5)


def test_what_the_llm_does_not_hold_for_plausible_becomes_so_and_no_more() -> None:
    logits = np.zeros(VOCAB, np.float32)
    logits[ord("x")], logits[ord("c")] = 12, 10
    logits[ord("d")] = 12 + np.log(PLAUSIBLE) + 0.1
    NgramBias(lambda: counted("abc", "abd"), decode, WEIGHT).apply(logits, tokens("ab"))
    assert logits[ord("c")] == pytest.approx(12 + np.log(PLAUSIBLE), rel=1e-5)
    assert logits[ord("d")] > 12 + np.log(PLAUSIBLE) + 0.2
    assert logits.argmax() == ord("x")


def test_the_users_words_get_likelier_wherever_they_stood_but_no_likelier_than_plausible() -> None:
    logits = np.zeros(VOCAB, np.float32)
    logits[ord("x")] = 12
    NgramBias(lambda: counted("a cat", "5"), decode, WEIGHT).apply(logits, tokens("zz"))
    assert decode(np.flatnonzero(logits)) == " actx"
    assert logits[ord("a")] <= 12 + np.log(PLAUSIBLE)


def test_what_a_record_shown_alone_has_is_held_back() -> None:
    texts = ["the cat sat", "the dog ran", "a cat ate"]
    shown = [tokens("the cat sat")]
    assert lifts("the", *texts, shown=shown)[" "] > 0  # two records go on so
    assert lifts("the ", *texts, shown=shown)["c"] == -COPY
    assert lifts("the cat ", *texts, shown=shown)["s"] == -COPY
    assert lifts("a cat ", *texts, shown=shown)["s"] == -COPY  # behind its last two as well
    assert lifts("the cat ", *texts)["s"] > 0
    assert "s" not in lifts("the c", *texts, shown=shown)
    assert lifts("", "the cat", "a dog", shown=[tokens("the cat")])["t"] == -COPY
    assert lifts("the cat sat", *texts, shown=shown).get("s", 0) >= 0


def test_without_weight_nothing_is_lifted_and_what_is_shown_is_held_back() -> None:
    texts = ["the cat sat", "the dog ran"]
    assert likelier("the ", *texts, weight=0.0) == ""
    logits = np.zeros(VOCAB, np.float32)
    shown = [tokens("the cat sat")]
    NgramBias(lambda: counted(*texts), decode, 0.0, shown=shown).apply(logits, tokens("the "))
    assert decode(np.flatnonzero(logits)) == "c"
    assert logits.min() == -COPY


def held(logits: dict[str, float], *, spares: bool) -> dict[str, float]:
    """Return logits after "the cat " where "s" would copy, "e" is lifted and "x" is neither."""
    array = np.zeros(VOCAB, np.float32)
    for token, value in logits.items():
        array[ord(token)] = value
    bias = NgramBias(
        lambda: counted("the cat sat", "a cat ate", "the cat ended", "cat e"),
        decode,
        0.3,
        shown=[tokens("the cat sat")],
        spares=spares,
    )
    bias.apply(array, tokens("the cat "))
    return {token: float(array[ord(token)]) for token in "sex"}


def test_beside_a_persona_what_would_copy_is_held_back_as_far_as_a_greedy_answer_needs() -> None:
    close = {"s": 12.0, "x": 11.5}
    assert held(close, spares=False)["s"] == 12 - COPY
    assert 11.49 < held(close, spares=True)["s"] < held(close, spares=True)["x"]
    # What is no likelier than another says nothing in a greedy answer: nothing is taken from it.
    beaten = {"s": 11.0, "x": 12.0}
    assert held(beaten, spares=True)["s"] == 11
    # And what is the likeliest for all that was taken is said for all that: nothing is taken.
    ahead = {"s": 15.0, "x": 12.0}
    assert held(ahead, spares=False)["s"] == 15 - COPY
    assert held(ahead, spares=True)["s"] == 15


@given(st.lists(st.floats(0, 20, width=32), min_size=3, max_size=3, unique=True))
def test_a_greedy_answer_is_the_same_however_far_is_held_back(values: list[float]) -> None:
    logits = dict(zip("sex", values, strict=True))
    whole, spared = held(logits, spares=False), held(logits, spares=True)
    best = max(whole.values())
    if sorted(whole.values())[-2] < best:  # of two alike, either may be said
        assert max(whole, key=whole.get) == max(spared, key=spared.get)
    assert whole["s"] <= spared["s"] <= max(logits["s"], whole["s"])
    assert (whole["e"], whole["x"]) == (spared["e"], spared["x"])


def test_a_record_shown_that_is_not_counted_is_held_back_too() -> None:
    assert lifts("ab", "xyz", shown=[tokens("abc"), tokens("ab")]) == {"c": -COPY}


@pytest.mark.parametrize(
    "text",
    [
        "call me at +44 20 7946 0958 today",
        "to DE89 3704 0044 0532 0130 00",
        "ann.smith@example.org is mine",
        "the key ghp_aXb9Kd7fQ2 works",
        "see b9a43869c9f9 for it",
        "221 Baker Street",
        "at 221b Baker Street",
        "deadbeef is it",
        "my wJalrXUtnFEMIKMDENGbPxRfiCYzQvT now",
        "https://example.org/private/page",
    ],
)
def test_a_secret_that_one_record_has_is_never_foretold(text: str) -> None:
    secret = max(text.split(), key=lambda word: (any(not c.isalpha() for c in word), len(word)))
    start = text.index(secret)
    for at in range(start, start + len(secret)):
        assert text[at] not in likelier(text[:at], text, "Ω")
    assert text[start] in likelier(text[:start], text, f"{text}, too", "Ω")


def test_words_are_foretold_however_rare() -> None:
    text = "Donaudampfschifffahrt in Baker Street, don't iPhone teatime čtvrthrst"
    for at in range(len(text)):
        assert text[at] in likelier(text[:at], text)


def test_words_around_a_secret_are_foretold() -> None:
    text = "call 0171 now"
    found = [text[at] in likelier(text[:at], text, "other") for at in range(len(text))]
    assert [char for char, ok in zip(text, found, strict=True) if ok] == [*"call now"]


def test_what_two_records_go_on_with_differently_is_no_shared_secret() -> None:
    texts = ("call 0171 now", "call 0199 now")
    assert likelier("call 01", *texts) == " "  # with it the next word begins
    assert likelier("call ", *texts) == "0n"


def test_where_records_are_gone_nothing_is_foretold() -> None:
    logits = np.zeros(VOCAB, np.float32)
    NgramBias(lambda: None, decode, WEIGHT).apply(logits, tokens("a c"))
    NgramBias(NgramModel, decode, WEIGHT).apply(logits, tokens("a c"))
    assert not logits.any()


def test_tokens_beyond_the_logits_are_passed_over() -> None:
    logits = np.zeros(ord("c"), np.float32)
    NgramBias(lambda: counted("aac", "aab"), decode, WEIGHT).apply(logits, tokens("aa"))
    assert decode(np.flatnonzero(logits)) == "ab"


def test_a_character_that_is_not_whole_yet_is_no_obstacle() -> None:
    pieces = {1: b"a ", 2: b"\xc3", 3: b"\xa9", 4: b"t", 5: b"\xe2\x82", 6: b"\xac"}

    def joined(ids) -> str:
        return b"".join(pieces[i] for i in ids).decode("utf-8", "replace")

    model = NgramModel()
    model.add(np.array([1]), np.array([1, 2, 3, 4, 1, 5, 6], np.int32), np.array([0, 7]))
    for answer, following in (([1], 2), ([1, 2], 3), ([1, 2, 3], 4), ([1, 2, 3, 4, 1, 5], 6)):
        logits = np.zeros(8, np.float32)
        NgramBias(lambda: model, joined, WEIGHT).apply(logits, answer)
        assert following in np.flatnonzero(logits)


WORDS = st.text("klmno ", max_size=12)


@given(
    texts=st.lists(WORDS, min_size=1, max_size=6),
    answer=WORDS,
    seed=st.integers(0, 99),
    spread=st.sampled_from([0.5, 3.0]),
    weight=st.sampled_from([0.1, 0.5, 0.9]),
)
def test_the_lifts_are_those_of_the_formula(texts, answer, seed, spread, weight) -> None:
    logits = (spread * np.random.default_rng(seed).standard_normal(128)).astype(np.float32)
    p = np.exp(logits.astype(float))
    p /= p.sum()
    model, last = counted(*texts), np.array(tokens(answer)[-4:], np.int32)
    foretold = dict(zip(*(x.tolist() for x in model.distribution(last, least=1)), strict=True))
    whole = model.distribution(last, least=5)[0].tolist()
    written = [token for text in texts for token in tokens(text)]
    expected = p.copy()
    for token in {*written}:
        q = foretold.get(token, written.count(token) / len(written))
        w = weight * (0.5 if token not in foretold else 1.0 if token in whole else 0.75)
        if token not in foretold:
            q *= 1 - 0.75 / written.count(token)
        lifted = max(p[token], p[token] ** (1 - w) * q**w)
        plausible = PLAUSIBLE * p.max()
        if token not in foretold or p[token] < plausible:
            lifted = max(p[token], min(lifted, plausible))
        expected[token] = lifted
    NgramBias(lambda: model, decode, weight).apply(logits, tokens(answer))
    found = np.exp(logits.astype(float))
    assert np.allclose(found / found.sum(), expected / expected.sum(), rtol=2e-2, atol=1e-6)

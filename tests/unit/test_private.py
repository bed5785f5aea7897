"""What looks like a number, an address, a key or a mail is told from words."""

from __future__ import annotations

import pytest

from edgepersona.private import looks_private, word_at


@pytest.mark.parametrize(
    "text",
    [
        "+44 20 7946 0958",
        "(0171) 5550123",
        "DE89 3704 0044 0532 0130 00",
        "221",
        "12a",
        "2024-05-01",
        "4111-1111-1111-1111",
        "123-45-6789",
        "ann.smith@example.org",
        "<ann@example.org>,",
        "https://example.org/a",
        "www.example.org",
        "192.168.0.17",
        "b9a43869c9f9",
        "deadbeef",
        "(DEADBEEF)",
        "cafebabefeed.",
        "ghp_aXb9Kd7fQ",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMIKMDENGbPxRfiCYzQvT",
        "hunter2",
        "£5,000",
        "١٢٣",
        "\N{FULLWIDTH DIGIT ONE}\N{FULLWIDTH DIGIT TWO}",
    ],
)
def test_numbers_addresses_keys_and_mails_are_private(text: str) -> None:
    assert all(looks_private(word) for word in text.split())


@pytest.mark.parametrize(
    "text",
    [
        "tea teatime don't Baker Street",
        "Donaudampfschifffahrtsgesellschaft",
        "čtvrthrst ἀλήθεια שלום привет 你好",
        "facade decade defaced accede",
        "iPhone LaTeX JavaScript getElementById HTTPServer",
        "git-gui: README.md, builtin/apply.c (see)",
        "re-election mother-in-law's",
        "UPPERCASE NASA O'Brien McDonald",
        "C++ … — !",
    ],
)
def test_words_are_not(text: str) -> None:
    assert not any(looks_private(word) for word in text.split())


@pytest.mark.parametrize(
    ("text", "at", "word"),
    [
        ("call 0171 now", 5, "0171"),
        ("call 0171 now", 4, "0171"),
        ("call 0171 now", 7, "0171"),
        ("call 0171 now", 0, "call"),
        ("call", 4, "call"),
        ("call ", 5, ""),
        ("", 0, ""),
        ("電話番号0171です", 6, "0171"),
        ("a\nb2", 1, "b2"),
    ],
)
def test_a_word_is_found_where_it_goes_on(text: str, at: int, word: str) -> None:
    assert word_at(text, at) == word

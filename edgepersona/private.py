"""Tells words from what is nobody else's: numbers, addresses, keys and mails."""

from __future__ import annotations

import re

_GAPS = re.compile("[\\s\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
"""What stands between words: blanks, and scripts that put none between them."""

_MARKS = re.compile(r"\d|@|://|^www\.")
_HASH = re.compile(r"[0-9a-f]{8,}|[0-9A-F]{8,}")
_HUMPS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_MANY_HUMPS, _SHORT_HUMP = 5, 3


def looks_private(word: str) -> bool:
    """Say whether ``word``, a text without blanks, is no word but a secret by its looks.

    What has a digit is: parts of telephone and account numbers, dates, house numbers, versions,
    most keys and hashes. So is a mail address, one of the web, a hash without a digit, and letters
    whose case changes as by chance. Words are not, in any language, however rare.

    >>> [looks_private(word) for word in ("0171-555", "ann@example.org", "teatime", "iPhone")]
    [True, True, False, False]
    """
    if _MARKS.search(word) or _HASH.fullmatch(word.strip("()[]{}<>.,;:!?\"'")):
        return True
    humps: list[str] = _HUMPS.findall(word)
    return len(humps) >= _MANY_HUMPS and sum(map(len, humps)) < _SHORT_HUMP * len(humps)


def word_at(text: str, at: int) -> str:
    """Return the word of ``text`` that goes on at ``at``, or the first one behind it."""
    start = at
    while start > 0 and not _GAPS.match(text, start - 1):
        start -= 1
    if gap := _GAPS.match(text, at):  # what comes at ``at`` begins a word
        start = gap.end()
    end = _GAPS.search(text, start)
    return text[start : end.start() if end else len(text)]

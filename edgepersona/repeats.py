"""Where the last tokens of a text stood before in it, and so what may come next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST = 2
"""Fewest tokens of a match: one alone says little, and is found everywhere."""

LONGEST = 32
"""Longer matches count as this long."""

_CANDIDATES = 64


class Repeats:
    """A growing text of token ids, and the longest match of its end: the newest of equals.

    Adding a token takes microseconds: a match that goes on is followed; where it ends, all pairs
    of tokens are compared with the last one at once.

    >>> repeats = Repeats([7, 8, 9, 1, 7, 8])
    >>> repeats.match, repeats.next(3)
    (2, [9, 1, 7])
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self.match = 0
        """How many tokens at the end stood before, ``LONGEST`` at most; 0: fewer than two."""
        self._at = 0  # where the match ends
        self._tokens = list(tokens)
        self._pairs = np.zeros(max(64, 2 * len(tokens)), np.int64)
        ids = np.array(self._tokens, np.int64)
        self._pairs[1 : len(ids)] = ids[:-1] << 32 | ids[1:]
        if len(ids) > LEAST:
            self._search()

    def add(self, token: int) -> None:
        """Put ``token`` to the end."""
        tokens, n = self._tokens, len(self._tokens)
        tokens.append(token)
        if n == len(self._pairs):
            self._pairs = np.concatenate([self._pairs, np.zeros_like(self._pairs)])
        if n:
            self._pairs[n] = tokens[n - 1] << 32 | token
        if self.match and tokens[self._at + 1] == token:
            # It was the longest, so it is now: a longer one would have been longer before.
            self._at += 1
            self.match = min(self.match + 1, LONGEST)
        else:
            self._search()

    def next(self, count: int) -> list[int]:
        """Return ``count`` tokens that followed the match, none where there is no match.

        Where it reaches into the end itself, what lies between is repeated.
        """
        if not self.match:
            return []
        found = self._tokens[self._at + 1 : self._at + 1 + count]
        return found if len(found) == count else (found * (count // len(found) + 1))[:count]

    def _search(self) -> None:
        tokens, last = self._tokens, len(self._tokens) - 1
        self.match = 0
        if last < LEAST:
            return
        ends = np.flatnonzero(self._pairs[1:last] == self._pairs[last])[-_CANDIDATES:] + 1
        for end in ends[::-1].tolist():
            most = min(LONGEST, end + 1)
            length = LEAST
            while length < most and tokens[end - length] == tokens[last - length]:
                length += 1
            if length > self.match:
                self.match, self._at = length, end
            if length == LONGEST:
                break

"""Draft tokens, verified in one pass: the answer of plain decoding, in fewer passes.

Prompt lookup (Yang et al. 2023, arXiv 2304.04487) and the user's own n-grams, as speculative
decoding (Leviathan et al. 2023, arXiv 2211.17192, section 2.3). A draft is one run of tokens, so
drawing each position from the model, and going on while what is drawn is the draft, *is* their
rejection sampling. And since a token is drawn by the same random number from the same logits as
without a draft, the answer is the same, greedy or drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgepersona.decoder import DecodingState
from edgepersona.passcosts import PassCosts
from edgepersona.repeats import LONGEST, Repeats

Continuations = Callable[[Sequence[int], int], Sequence[int]]
"""The answer's last tokens, and how many tokens at most → what often came next."""

MOST = 31
"""The longest draft."""

CONTEXT = 4
"""How many of the answer's last tokens ``Continuations`` are asked with."""

_LENGTHS = frozenset({1, 2, 3, 5, 7, 11, 15, 23, MOST})
"""Lengths of drafts; with the token before them 2, 3, 4, 6, 8, …, which suit the kernels."""

_WORTH = 1.03
"""How many tokens a draft must be expected to bring in the time of one."""

_CREDIT, _ALLOWANCE, _MOST_CREDIT = 0.2, 0.02, 4.0
"""In passes: what drafts may lose at the start, and for each pass; how much gain is counted."""

_RETRY = 128
"""Passes without a draft after which a likely token is tried, to measure its cost again."""

# What a guess rests on, and how likely it is before one was seen: a match of 2, 3, 4, 5, 6 or 7,
# 8 to 11, 12 to 19, or more tokens; the n-grams; the restraint.
_CHANCES = (0.35, 0.5, 0.6, 0.65, 0.75, 0.85, 0.92, 0.95, 0.3, 0.9)
_NGRAMS, _FORCED = 8, 9
_BY_MATCH = [0, 0, 0, 1, 2, 3, 4, 4, *[5] * 4, *[6] * 8, *[7] * (LONGEST - 19 + MOST)]
_NEWEST = 24
"""Guesses of a kind that count, about."""


class Restraint(Protocol):
    """What forbids tokens, and at times leaves but one."""

    def forced(self) -> Sequence[int]:
        """Return the tokens that must come next, perhaps none."""

    def permitted(self, tokens: Sequence[int]) -> int:
        """Return how many of ``tokens``, from the first on, may come next."""


class Drafting:
    """The passes of one answer: ``after`` reads a token and returns the logits behind it.

    Where a draft is likely to be right, its tokens are read along; those that turn out wrong are
    forgotten. How likely that is follows from how often such guesses came true, made use of or
    not; what a longer pass costs is measured. And a draft is made on credit only: two hundredths of
    the passes so far, and what earlier drafts saved. So where drafts do not help, none are made.
    """

    def __init__(
        self,
        state: DecodingState,
        prompt: Sequence[int],
        *,
        limit: int,
        costs: PassCosts,
        enabled: bool = True,
        restraint: Restraint | None = None,
        continuations: Continuations | None = None,
    ) -> None:
        """Go on from ``state``, which has read ``prompt``, for an answer of up to ``limit``."""
        self.drafted = 0
        self.accepted = 0
        self._state = state
        self._prompt = prompt
        self._left = limit  # tokens that may still be chosen
        self._costs = costs
        self._enabled = enabled
        self._restraint = restraint
        self._continuations = continuations
        self._repeats: Repeats | None = None  # made when the first token is out
        self._answer: list[int] = []
        self._kind = 0
        self._guess: Sequence[int] = ()
        self._chances = [*_CHANCES]
        self._seen = [3] * len(_CHANCES)
        self._credit = _CREDIT
        self._idle = 0  # passes since the last draft
        self._draft: Sequence[int] = ()
        self._rows: NDArray[np.float32] | None = None
        self._row = 0

    def after(self, token: int) -> NDArray[np.float32]:
        """Read ``token``, the next of the answer; return the logits behind it, (vocab,).

        They are the caller's, to write to as well, until the next call.
        """
        self._left -= 1
        if self._rows is not None:
            if self._row < len(self._draft) and token == self._draft[self._row]:
                self._row += 1
                self.accepted += 1
                self._look(token)
                logits: NDArray[np.float32] = self._rows[self._row]
                return logits
            self.settle()
        self._look(token)
        draft = self._chosen() if self._left > 1 else ()
        started = self._costs.clock()
        if draft:
            self._rows = self._state.verify([token, *draft])
            cost = self._costs.note(1 + len(draft), self._costs.clock() - started)
            self._draft, self._row = draft, 0
            self.drafted += len(draft)
            self._credit += 1 + _ALLOWANCE - cost
            self._idle = 0
            logits = self._rows[0]
        else:
            logits = self._state.step(token)
            self._costs.note_step(self._costs.clock() - started)
            self._credit = min(self._credit + _ALLOWANCE, _MOST_CREDIT)
            self._idle += 1
        return logits

    def settle(self) -> None:
        """Forget what was drafted and did not come: the state has then read the answer alone."""
        if self._rows is not None:
            self._state.rewind(self._state.length - len(self._draft) + self._row)
            self._credit = min(self._credit + self._row, _MOST_CREDIT)
            self._rows = None

    def _look(self, token: int) -> None:
        """Compare ``token`` with what was guessed, and guess what comes behind it."""
        if not self._enabled:
            return
        if self._guess:
            self._learn(self._kind, self._guess[0] == token)
        if self._repeats is None:
            self._repeats = Repeats(self._prompt)
        self._repeats.add(token)
        self._answer.append(token)
        if self._restraint is not None and (forced := self._restraint.forced()):
            self._kind, self._guess = _FORCED, forced
        elif match := self._repeats.match:
            self._kind, self._guess = _BY_MATCH[match], self._repeats.next(1)
        elif self._continuations is not None:
            self._kind = _NGRAMS
            self._guess = self._continuations(self._answer[-CONTEXT:], MOST)
        else:
            self._guess = ()

    def _learn(self, kind: int, right: bool) -> None:
        self._seen[kind] = min(self._seen[kind] + 1, _NEWEST)
        self._chances[kind] += (right - self._chances[kind]) / self._seen[kind]

    def _chosen(self) -> Sequence[int]:
        """Return the draft that is expected to bring the most tokens in its time, perhaps none."""
        if not self._guess or not self._costs.step_s or self._repeats is None:
            return ()
        room = min(self._left - 1, MOST)
        if self._kind >= _NGRAMS:
            draft = self._guess[: self._worthwhile([self._kind] * min(len(self._guess), room))]
        else:
            match = self._repeats.match
            draft = self._repeats.next(self._worthwhile(_BY_MATCH[match : match + room]))
        if draft and self._restraint is not None and self._kind != _FORCED:
            draft = draft[: self._restraint.permitted(draft)]
        return draft

    def _worthwhile(self, kinds: Sequence[int]) -> int:
        """Return how many tokens to draft, whose guesses are of these kinds; 0: none."""
        best, best_rate = 0, _WORTH
        expected = reach = 1.0
        for length, kind in enumerate(kinds, start=1):
            reach *= self._chances[kind]
            expected += reach
            if length in _LENGTHS or length == len(kinds):
                cost = self._costs.of(1 + length)
                if cost - 1 > self._credit:
                    break
                if expected > best_rate * cost:
                    best, best_rate = length, expected / cost
        if not best and self._idle >= _RETRY and self._chances[kinds[0]] > 0.5:
            best = int(self._costs.of(2) - 1 <= self._credit)
        return best

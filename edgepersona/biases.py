"""The user's n-grams as a decoding bias: a cache language model that copies no secrets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgepersona._native import log_sum_exp
from edgepersona.private import looks_private, word_at

_CONTEXT = 4
"""Tokens that the next one is foretold from; n-grams are one longer."""

_NOWHERE = np.full(_CONTEXT, 0x7FFFFFFE, dtype=np.int32)
"""A context that no record has: after it come the user's tokens whatever stands before them."""

_UNIGRAM_SHARE = 0.1
"""What the native model gives those: the rest is left to longer contexts, and to the LLM."""

_WHOLE, _SOME, _NONE = 1.0, 0.75, 0.5
"""How much counts of what is foretold from an answer's whole beginning, from its last tokens, and
from none: fitted together on 160 commit subjects and 140 paper titles."""

_BESIDE_RECORDS = 0.75
"""How much counts of all that where records stand in the prompt, which say the same words."""

_PLAUSIBLE = 0.3
"""How likely a token must be for the LLM, in parts of its likeliest, to become the likeliest."""

_COPY = 1.5
"""Nats that are taken from going on with a record of the prompt that has what comes alone."""

_AROUND = 32
"""Tokens before and behind in which a word is looked for that looks like a secret."""

_MOST = 256
"""Tokens that are foretold from what stands before."""


class Counts(Protocol):
    """What the native ``NgramModel`` offers."""

    def distribution(
        self, context: NDArray[np.int32], limit: int = 512, *, least: int = 0
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the likeliest next tokens, and how likely each is."""

    def shared(self, context: NDArray[np.int32], ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Say which of ``ids`` two records at least have behind the context."""

    def continuations(self, context: NDArray[np.int32], n: int) -> NDArray[np.int32]:
        """Return at most ``n`` tokens that are likely to follow the context."""


class NgramBias:
    """Lifts what the user's n-grams foretell, and holds back what would copy a record shown.

    With p the LLM's and q what came next in the user's own records after the last one to four
    tokens of the answer (Kuhn and De Mori 1990), a token that q has for likelier gets

        p^(1 - w) q^w,

    a geometric mean, w being less for what is foretold from less. But what the LLM does not hold
    for plausible itself (Li et al. 2022, arXiv 2210.15097, section 3.3) is lifted no higher than
    that: the words are the user's, what is said is the LLM's. And a small LLM that is shown titles
    gives one of them for its own half of the time, which the user never does: where only one
    record has what comes next, and that stands in the prompt, the token gets less likely.

    A token is left out of q where only one record goes on with it, and the word it belongs to
    there looks like a number, an address, a key or a mail.

    Parameters
    ----------
    counts
        Returns the n-grams, None once they are gone.
    decode
        Token ids to text.
    weight
        w where most is foretold from, from 0 to 1. With 0 nothing is lifted.
    beside_records
        Whether records stand in the prompt.
    shown
        The tokens of those that an answer is not to repeat.
    spares
        Whether what would copy is held back no further than a greedy answer needs: for a prompt
        with a persona, which has learnt how far the user repeats what they wrote.
    """

    def __init__(
        self,
        counts: Callable[[], Counts | None],
        decode: Callable[[Sequence[int]], str],
        weight: float,
        *,
        beside_records: bool = False,
        shown: Sequence[Sequence[int]] = (),
        spares: bool = False,
    ) -> None:
        self._counts = counts
        self._decode = decode
        self._weight = weight * (_BESIDE_RECORDS if beside_records else 1.0)
        self._shown = [list(tokens) for tokens in shown]
        self._spares = spares
        self._pieces: dict[int, str] = {}
        self._private: dict[int, bool] = {}

    def apply(self, logits: NDArray[np.float32], answer: Sequence[int]) -> None:
        """Change ``logits``, (vocab,), in place: those of what follows ``answer``, its tokens."""
        counts = self._counts()
        if counts is None:
            return
        context = np.array(answer[-_CONTEXT:], dtype=np.int32)
        top = logits.max()
        total = np.float32(log_sum_exp(logits))
        copied = self._copied(counts, answer, context)
        copied = copied[copied < len(logits)]
        given = logits[copied]
        logits[copied] -= np.float32(_COPY)
        if self._weight:
            self._lift(logits, answer, counts, context, copied, top=top, total=total)
        if self._spares and copied.size:
            _spare(logits, copied, given)

    def _lift(
        self,
        logits: NDArray[np.float32],
        answer: Sequence[int],
        counts: Counts,
        context: NDArray[np.int32],
        copied: NDArray[np.int32],
        *,
        top: np.float32,
        total: np.float32,
    ) -> None:
        """Make likelier what the n-grams foretell, but for what is ``copied``."""
        ids, probs, weights, foretold = self._foretold(counts, context, len(logits))
        given, least = logits[ids], np.float32(np.log(_PLAUSIBLE))
        lifts = weights * (np.log(probs) - (given - total))
        plausible = foretold & (given >= top + least)
        lifts = np.where(plausible, lifts, np.minimum(lifts, logits.max() + least - given))
        lifts[np.isin(ids, copied)] = 0
        asked = np.flatnonzero(foretold & (lifts > 0))
        lifts[asked[self._secret(counts, answer, context, ids[asked])]] = 0
        logits[ids] += np.maximum(lifts, 0).astype(np.float32)

    def _copied(
        self, counts: Counts, answer: Sequence[int], context: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """Return what only a record shown has behind the last two tokens, or at its beginning."""
        last = list(answer[-2:])
        found = {
            tokens[at]
            for tokens in self._shown
            for at in range(len(last), len(tokens) if len(last) == 2 else len(last) + 1)
            if at < len(tokens) and tokens[at - len(last) : at] == last
        }
        ids = np.array(sorted(found), dtype=np.int32)
        return ids[~counts.shared(context, ids)] if found else ids

    def _foretold(
        self, counts: Counts, context: NDArray[np.int32], vocab: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Return tokens, their q, their w, and whether what stands before foretells them."""
        ids, probs = counts.distribution(context, _MOST, least=1)
        whole, _ = counts.distribution(context, _MOST, least=_CONTEXT + 1)
        alone, shares = counts.distribution(_NOWHERE)
        other = ~np.isin(alone, ids) & ~self._are_private(alone)
        weights = np.where(np.isin(ids, whole), _WHOLE, _SOME)
        every = np.concatenate([ids, alone[other]])
        q = np.concatenate([probs, shares[other] / np.float32(_UNIGRAM_SHARE)])
        w = np.concatenate([weights, np.full(other.sum(), _NONE)]) * self._weight
        foretold = np.arange(len(every)) < len(ids)
        known = every < vocab
        return every[known], q[known], w[known].astype(np.float32), foretold[known]

    def _are_private(self, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Say which of ``ids`` look like parts of a secret."""
        for token in ids.tolist():
            if token not in self._private:
                self._private[token] = looks_private(self._piece(token).strip())
        return np.array([self._private[token] for token in ids.tolist()], dtype=bool)

    def _piece(self, token: int) -> str:
        if token not in self._pieces:
            self._pieces[token] = self._decode([token])
        return self._pieces[token]

    def _secret(
        self,
        counts: Counts,
        answer: Sequence[int],
        context: NDArray[np.int32],
        ids: NDArray[np.int32],
    ) -> NDArray[np.bool_]:
        """Say which of ``ids`` would go on copying a secret out of one record."""
        secret = ~counts.shared(context, ids)
        written = "".join(map(self._piece, answer[-_AROUND:]))
        for at in np.flatnonzero(secret).tolist():
            rest = counts.continuations(np.append(context, ids[at]), _AROUND)
            text = written + "".join(map(self._piece, [int(ids[at]), *rest.tolist()]))
            secret[at] = looks_private(word_at(text, len(written)))
        return secret


def _spare(
    logits: NDArray[np.float32], copied: NDArray[np.int32], given: NDArray[np.float32]
) -> None:
    """Raise ``copied``, up to what was ``given``, as far as the likeliest token stays it.

    Where one of them is the likeliest though it was held back, holding back has changed nothing
    but how likely the answer is.
    """
    held = logits[copied]
    logits[copied] = -np.inf
    best = logits.max()
    if held.max() < best:
        given = np.minimum(given, np.nextafter(best, np.float32(-np.inf)))
    logits[copied] = given

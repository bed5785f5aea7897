"""What an LLM says with a persona, mixed token by token with what it says to the words alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgepersona._native import log_sum_exp
from edgepersona.decoder import Decoder, DecodingState, read_prompt
from edgepersona.layout import Layout
from edgepersona.prefixes import common_length
from edgepersona.prompt import Prompt, SoftSegment

Bend = Callable[[NDArray[np.float32], Sequence[int]], None]
"""Changes logits, (vocab,), in place: those of what follows an answer, its tokens."""

_KEPT = 0.7
"""How much of the weights is still that of the answer's tokens after the next one; the rest is even
again. Between 0.5 and 0.8 it matters little."""

_MOST = 50.0
"""Nats of odds: beyond it the other one does not matter."""


def without_persona(prompt: Prompt) -> Prompt:
    """Return the prompt with its words alone."""
    words = tuple(s for s in prompt.segments if not isinstance(s, SoftSegment))
    return replace(prompt, segments=words)


class Mixture:
    """(1 - w) p + w p', p' being what the LLM says to the prompt without its soft vectors.

    For each token, as RAG-Token does over documents (Lewis et al. 2020, arXiv 2005.11401, section
    2.1). Both weigh the same at first, and then by how likely they held the answer's tokens, which
    is forgotten by and by: the fixed share of Herbster and Warmuth (1998, Tracking the Best Expert,
    section 5). A small LLM copies the records it is shown, and a persona keeps it from that; so
    what is not the likeliest with the persona does not become it by the mixture: a greedy answer is
    the same as without.

    A sequence of its own reads what comes after what both prompts begin with, and then the answer,
    a step for each token.

    Parameters
    ----------
    plain
        The prompt without its soft vectors.
    room
        Tokens that an answer may have.
    """

    def __init__(self, decoder: Decoder, plain: Layout, *, room: int) -> None:
        self._decoder = decoder
        self._plain = plain
        self._state: DecodingState = decoder.start(capacity=plain.token_count + room)
        self._logits: NDArray[np.float32] | None = None
        self._answer = 0
        self._odds = 0.0
        """The logarithm of w / (1 - w)."""
        self._said = (np.empty(0, np.float32), np.empty(0, np.float32))

    def begin(
        self,
        layout: Layout,
        state: DecodingState,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Read the plain prompt; what ``state`` has read of it, being at ``layout``, is copied."""
        positions = self._plain.positions
        common = min(common_length(layout.positions, positions), len(positions) - 1, state.length)
        if common:
            self._state.load(state.save(common), common)
        vectors = self._plain.vectors(self._decoder.embed, common)
        self._logits = read_prompt(self._state, vectors, is_cancelled)

    def mix(self, logits: NDArray[np.float32], answer: Sequence[int], bend: Bend) -> None:
        """Mix into ``logits``, (vocab,), in place; they follow ``answer``.

        That is to be none at the first call, and longer by a token at each one after it. ``bend``
        does to what the plain prompt says what was done to ``logits``.
        """
        if len(answer) > self._answer:
            self._take(answer[-1])
            self._answer = len(answer)
        assert self._logits is not None
        beside = self._logits.copy()
        bend(beside, answer)
        own, plain = self._said = _log_shares(logits), _log_shares(beside)
        top = int(own.argmax())
        weight = 1 / (1 + math.exp(-self._odds))
        logits[:] = _log_sum(own + math.log1p(-weight), plain + math.log(weight))
        most = logits[top]
        np.minimum(logits, np.nextafter(most, np.float32(-np.inf)), out=logits)
        logits[top] = most

    def _take(self, token: int) -> None:
        """Read a token of the answer, and weigh both by how likely it was to them."""
        own, plain = self._said
        odds = self._odds + float(plain[token] - own[token])
        weight = _KEPT / (1 + math.exp(-min(max(odds, -_MOST), _MOST))) + (1 - _KEPT) / 2
        self._odds = math.log(weight / (1 - weight))
        self._logits = self._state.step(token)


def _log_sum(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log(exp(one) + exp(other)); ``np.logaddexp`` is not vectorised: ten times as long."""
    total: NDArray[np.float32] = np.maximum(one, other)
    total += np.log(1 + np.exp(-np.abs(one - other)))
    return total


def _log_shares(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shares: NDArray[np.float32] = logits - np.float32(log_sum_exp(logits))
    return shares

"""An LLM's answer with a persona, mixed token by token with its answer from the words alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgepersona._native import log_sum_exp
from edgepersona.decoder import Decoder, DecodingState
from edgepersona.layout import Layout
from edgepersona.prefixes import common_length
from edgepersona.prompt import Prompt, SoftSegment

_CHUNK = 512
"""Positions that are read at once, as of any prompt."""


def without_persona(prompt: Prompt) -> Prompt:
    """Return the prompt with its words alone."""
    words = tuple(s for s in prompt.segments if not isinstance(s, SoftSegment))
    return replace(prompt, segments=words)


class Mixture:
    """(1 - share) p + share p', p' being what the LLM says to the prompt without its soft vectors.

    For each token, as RAG-Token does over documents (Lewis et al. 2020, arXiv 2005.11401, section
    2.1). A sequence of its own reads what comes after what both prompts begin with, and then the
    answer, a step for each token.

    Parameters
    ----------
    plain
        The prompt without its soft vectors.
    share
        Above 0 and below 1.
    room
        Tokens that an answer may have.
    """

    def __init__(self, decoder: Decoder, plain: Layout, share: float, *, room: int) -> None:
        self._decoder = decoder
        self._plain = plain
        self._state: DecodingState = decoder.start(capacity=plain.token_count + room)
        self._own, self._other = np.log1p(np.float32(-share)), np.log(np.float32(share))
        self._logits: NDArray[np.float32] | None = None
        self._answer = 0

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
        for start in range(0, len(vectors), _CHUNK):
            if is_cancelled():
                return
            chunk = vectors[start : start + _CHUNK]
            is_last = start + len(chunk) == len(vectors)
            logits = self._state.extend(chunk, wanted=int(is_last))
            if is_last:
                self._logits = logits[0]

    def mix(self, logits: NDArray[np.float32], answer: Sequence[int]) -> None:
        """Mix into ``logits``, (vocab,), in place; they follow ``answer``, the same or longer."""
        for token in answer[self._answer :]:
            self._logits = self._state.step(token)
        self._answer = len(answer)
        assert self._logits is not None
        own, other = _log_shares(logits), _log_shares(self._logits)
        np.logaddexp(own + self._own, other + self._other, out=logits)


def _log_shares(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shares: NDArray[np.float32] = logits - np.float32(log_sum_exp(logits))
    return shares

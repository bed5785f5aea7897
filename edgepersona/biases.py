"""The user's n-grams as a decoding bias: a cache language model that copies no secrets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgepersona._native import mix
from edgepersona.private import looks_private, word_at

_CONTEXT = 4
"""Tokens that the next one is foretold from; n-grams are one longer."""

_LEAST = 2
"""The fewest of them: after one token alone nearly anything may come, and the LLM knows better."""

_PLAUSIBLE = 0.05
"""How likely a token must be for the LLM, in parts of its likeliest, to be made likelier."""

_AROUND = 32
"""Tokens before and behind in which a word is looked for that looks like a secret."""


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
    """Mixes what the user's n-grams foretell into an LLM's next token.

    p = (1 - w s) p_LLM + w q, where q is what came next in the user's own records after the last
    two to four tokens of the answer, or after its whole so far; s is its sum; and only tokens
    count that the LLM finds plausible as well (Kuhn and De Mori 1990; the plausibility is that of
    Li et al. 2022, arXiv 2210.15097, section 3.3).

    A token is left out of q where only one record goes on with it, and the word it belongs to
    there looks like a number, an address, a key or a mail.

    Parameters
    ----------
    counts
        Returns the n-grams, None once they are gone.
    decode
        Token ids to text.
    weight
        w, from 0 to less than 1.
    """

    def __init__(
        self,
        counts: Callable[[], Counts | None],
        decode: Callable[[Sequence[int]], str],
        weight: float,
    ) -> None:
        self._counts = counts
        self._decode = decode
        self._weight = weight

    def apply(self, logits: NDArray[np.float32], answer: Sequence[int]) -> None:
        """Change ``logits``, (vocab,), in place: those of what follows ``answer``, its tokens."""
        counts = self._counts()
        if counts is None:
            return
        context = np.array(answer[-_CONTEXT:], dtype=np.int32)
        ids, probs = counts.distribution(context, least=_LEAST)
        known = int(np.searchsorted(ids, len(logits)))
        ids, probs = ids[:known], probs[:known]
        if not known:
            return
        kept = logits[ids] >= logits.max() + np.float32(np.log(_PLAUSIBLE))
        if kept.any():
            kept[kept] = ~self._secret(counts, answer, context, ids[kept])
        mix(logits, ids[kept], probs[kept], self._weight)

    def _secret(
        self,
        counts: Counts,
        answer: Sequence[int],
        context: NDArray[np.int32],
        ids: NDArray[np.int32],
    ) -> NDArray[np.bool_]:
        """Say which of ``ids`` would go on copying a secret out of one record."""
        secret = ~counts.shared(context, ids)
        before = [*answer[-_AROUND:]]
        written = self._decode(before)
        for at in np.flatnonzero(secret).tolist():
            rest = counts.continuations(np.append(context, ids[at]), _AROUND)
            text = self._decode([*before, int(ids[at]), *rest.tolist()])
            # Characters may become whole only now, and so what is written end earlier.
            word = word_at(text, _agreement(written, text))
            secret[at] = looks_private(word)
        return secret


def _agreement(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))

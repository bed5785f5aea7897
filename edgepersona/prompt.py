"""The Prompt: all that a strategy may say to a generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TextSegment:
    """Text of the user's turn; one with a ``record_id`` is history and may be left out for room."""

    text: str
    record_id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SoftSegment:
    """Vectors in the generator's embedding space, float32 (n, d): a persona, not words."""

    vectors: NDArray[np.float32]
    records: tuple[str, ...] = ()
    """Ids of the records whose own words are among them."""


Segment = TextSegment | SoftSegment


class Bias(Protocol):
    """What makes an answer's next token likelier than the LLM has it: the user's own words."""

    def apply(self, logits: NDArray[np.float32], answer: Sequence[int]) -> None:
        """Change ``logits``, (vocab,), in place: those of what follows ``answer``, its tokens."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A system text, earlier turns, and the segments that make up the user's turn, in order.

    Where the context is too small, history segments go first, those farthest from the end of the
    turn before the others; then the oldest turns; then the end of the longest segment that is
    left. The system text is never cut.
    """

    system: str
    segments: tuple[Segment, ...]
    turns: tuple[tuple[str, str], ...] = ()
    opening: str = ""
    """What the answer begins with: read as part of the prompt, and not given out."""
    constant: int = 0
    """How many segments, from the first on, are the same whatever is asked: words around the
    records, a mean persona. What they make of the model's cache is kept between runs."""
    bias: Bias | None = None
    """What the answer's tokens are drawn with beside the LLM; it takes no room."""
    mixed: bool = False
    """Whether the answer's tokens are drawn from a mixture of what the LLM says to this prompt and
    to the same without its soft vectors."""
    brief: bool = False
    """Whether the answer is a title or the like, which does not say the same words twice."""
    notes: tuple[str, ...] = ()
    """What whoever asked should know of how the prompt came about, each a short sentence."""

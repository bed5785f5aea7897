"""Keeps a title from going in circles: a small LLM, once it repeats itself, does not stop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_CONTEXT = 3
"""Tokens in a row that stood in the answer before. Of a hundred true titles hardly one says four
of its tokens again."""

_COST = 5.0
"""Nats that are taken from going on as then, for each time that it did so. A ban would do as well
for drawing an answer, but a true title that repeats itself is unlikely, not impossible."""


def hold_back(logits: NDArray[np.float32], answer: Sequence[int]) -> None:
    """Make less likely, in place, what would say four tokens of ``answer`` again.

    ``logits``, (vocab,), are those of what follows ``answer``, its tokens. Greedy answers of
    language models fall into loops (Holtzman 2020, arXiv 1904.09751); what holds them back is the
    n-gram rule of Paulus 2018 (arXiv 1705.04304, section 2.5), as a cost.
    """
    last = list(answer[-_CONTEXT:])
    for at in range(_CONTEXT, len(answer)):
        if list(answer[at - _CONTEXT : at]) == last:
            logits[answer[at]] -= np.float32(_COST)

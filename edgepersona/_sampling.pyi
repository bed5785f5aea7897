"""The sampling kernel (Cython)."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

class SamplingKernel:
    """Turns logits into a token under fixed settings; not safe to share between threads."""

    def __init__(
        self,
        *,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        repetition_penalty: float,
    ) -> None: ...
    def see(self, tokens: Iterable[int]) -> None: ...
    def sample(self, logits: NDArray[np.float32], u: float) -> int: ...

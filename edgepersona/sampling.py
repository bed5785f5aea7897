"""How the next token is chosen: the settings, and the sampler that follows them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgepersona._sampling import SamplingKernel
from edgepersona.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_MAX_TOKEN_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """What a generation may do; checked when it is made.

    Parameters
    ----------
    max_new_tokens
        The most tokens to write.
    temperature
        Divides the logits; 0 always takes the likeliest token.
    top_k
        Keep this many of the likeliest tokens; 0 keeps all.
    top_p
        Keep the fewest likeliest tokens that reach this share of the probability
        (nucleus sampling: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration").
    min_p
        Keep tokens at least this likely relative to the likeliest
        (Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling").
    repetition_penalty
        Makes tokens seen before less likely where above 1: their logits are divided by it, or
        multiplied where negative (Keskar et al. 2019, "CTRL", section 4.1).
    seed
        The same seed draws the same tokens from the same logits; None draws anew each time.
    stop
        Texts that end the generation.
    drafts
        Let tokens that are likely to come be read together, where that is faster. It changes no
        answer where an engine computes the same however tokens are handed over, as the native one
        does; on others logits may differ in their last bits.

    Raises
    ------
    InputError
        A value is of the wrong type or out of range.
    """

    max_new_tokens: int = 256
    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 0.95
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    drafts: bool = True

    def __post_init__(self) -> None:
        _check_int("max_new_tokens", self.max_new_tokens, least=1)
        _check_int("top_k", self.top_k, least=0)
        if self.seed is not None:
            _check_int("seed", self.seed, least=0)
        temperature = _checked_float("temperature", self.temperature)
        top_p = _checked_float("top_p", self.top_p)
        min_p = _checked_float("min_p", self.min_p)
        penalty = _checked_float("repetition_penalty", self.repetition_penalty)
        if temperature < 0:
            raise InputError(f"temperature is {temperature}, expected 0 (greedy) or more")
        if not 0 < top_p <= 1:
            raise InputError(f"top_p is {top_p}, expected above 0 and at most 1 (off)")
        if not 0 <= min_p <= 1:
            raise InputError(f"min_p is {min_p}, expected 0 (off) to 1")
        if penalty <= 0:
            raise InputError(f"repetition_penalty is {penalty}, expected above 0 (1 is off)")
        if not isinstance(self.stop, tuple) or not all(
            isinstance(text, str) and text for text in self.stop
        ):
            raise InputError(f"stop is {self.stop!r}, expected a tuple of non-empty strings")
        if not isinstance(self.drafts, bool):
            raise InputError(f"drafts is {self.drafts!r}, expected True or False")


class Sampler:
    """Chooses the tokens of one generation; holds its random state and the tokens seen so far.

    In this order: repetition penalty over prompt and new tokens, temperature, top_k, min_p,
    top_p, draw. Of equally likely tokens the smaller id comes first. Not for several threads.

    >>> import numpy as np
    >>> sampler = Sampler(SamplingParams(temperature=0))
    >>> sampler.sample(np.array([0.1, 2.0, 1.0], dtype=np.float32))
    1
    """

    def __init__(self, params: SamplingParams, prompt_ids: Sequence[int] = ()) -> None:
        self._greedy = params.temperature == 0
        self._random = np.random.default_rng(params.seed)
        self._kernel = SamplingKernel(
            temperature=params.temperature,
            top_k=min(params.top_k, _MAX_TOKEN_ID),
            top_p=params.top_p,
            min_p=params.min_p,
            repetition_penalty=params.repetition_penalty,
        )
        if params.repetition_penalty != 1:
            self._kernel.see(_checked_ids(prompt_ids))

    def sample(self, logits: NDArray[np.float32]) -> int:
        """Choose a token from ``logits``, float32 (vocabulary,), contiguous, left unchanged.

        Raises
        ------
        InputError
            The logits hold a NaN or +inf, are all -inf, or are no such array.
        """
        if not (
            isinstance(logits, np.ndarray)
            and logits.dtype == np.float32
            and logits.ndim == 1
            and logits.flags.c_contiguous
            and logits.flags.aligned
        ):
            raise InputError("expected the logits as a contiguous float32 array with one axis")
        return self._kernel.sample(logits, 0.0 if self._greedy else self._random.random())


def _checked_ids(ids: Sequence[int]) -> list[int]:
    checked = [int(token) for token in ids]
    for token in checked:
        if not 0 <= token <= _MAX_TOKEN_ID:
            raise InputError(f"prompt_ids holds {token}, which is no token id")
    return checked


def _check_int(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{name} is {value!r}, expected a whole number")
    if value < least:
        raise InputError(f"{name} is {value}, expected {least} or more")


def _checked_float(name: str, value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise InputError(f"{name} is {value!r}, expected a number")
    if not math.isfinite(value):
        raise InputError(f"{name} is {value}, expected a finite number")
    return float(value)

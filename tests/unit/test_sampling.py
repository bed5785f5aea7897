"""SamplingParams and Sampler: what they accept, and what a caller can rely on."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgepersona.errors import InputError
from edgepersona.sampling import Sampler, SamplingParams

LOGITS = np.array([0.5, 3.0, -1.0, 2.5], dtype=np.float32)


@pytest.mark.parametrize(
    "bad",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": 1.5},
        {"max_new_tokens": True},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": "hot"},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repetition_penalty": 0},
        {"seed": -1},
        {"seed": 1.0},
        {"stop": "text"},
        {"stop": ("",)},
        {"stop": ["text"]},
        {"drafts": 1},
    ],
)
def test_params_out_of_range_are_refused_by_name(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        SamplingParams(**bad)


def test_temperature_zero_takes_the_likeliest_and_the_first_of_equals():
    sampler = Sampler(SamplingParams(temperature=0))
    assert sampler.sample(LOGITS) == 1
    assert sampler.sample(np.ones(40, dtype=np.float32)) == 0


def test_logits_are_left_unchanged():
    before = LOGITS.copy()
    sampler = Sampler(SamplingParams(repetition_penalty=2.0, top_k=2, min_p=0.1), [1, 2])
    for _ in range(5):
        sampler.sample(LOGITS)
    assert np.array_equal(before, LOGITS)


def test_read_only_logits_are_fine():
    logits = LOGITS.copy()
    logits.flags.writeable = False
    assert Sampler(SamplingParams(temperature=0)).sample(logits) == 1


def test_same_seed_draws_the_same_tokens():
    def draws(seed):
        sampler = Sampler(SamplingParams(temperature=2.0, seed=seed))
        return [sampler.sample(LOGITS) for _ in range(50)]

    assert draws(7) == draws(7)
    assert draws(7) != draws(8)


def test_penalty_counts_prompt_and_new_tokens_once_each():
    greedy = SamplingParams(temperature=0, repetition_penalty=1.5)
    sampler = Sampler(greedy, [1, 1, 1])  # 3.0 / 1.5 = 2.0, not 3.0 / 1.5**3
    assert sampler.sample(LOGITS) == 3  # then 2.5 / 1.5 = 1.67
    assert sampler.sample(LOGITS) == 1
    assert sampler.sample(LOGITS) == 1


def test_penalty_makes_negative_logits_smaller():
    logits = np.array([-1.0, -1.5], dtype=np.float32)
    assert Sampler(SamplingParams(temperature=0, repetition_penalty=2.0), [0]).sample(logits) == 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    "logits", [[math.nan, 1.0], [-math.inf] * 3, [math.inf, 1.0], [], [1.0] * 40 + [math.nan]]
)
def test_unusable_logits_are_refused(temperature, logits):
    sampler = Sampler(SamplingParams(temperature=temperature))
    with pytest.raises(InputError):
        sampler.sample(np.array(logits, dtype=np.float32))


UNALIGNED = np.frombuffer(b"." + LOGITS.tobytes(), np.uint8)[1:].view(np.float32)


@pytest.mark.parametrize(
    "logits", [LOGITS.astype(np.float64), LOGITS[::2], LOGITS[None], LOGITS.tolist(), UNALIGNED]
)
def test_logits_of_another_kind_are_refused(logits):
    with pytest.raises(InputError, match="float32"):
        Sampler(SamplingParams()).sample(logits)


def test_seen_tokens_outside_the_vocabulary_are_refused():
    with pytest.raises(InputError, match="vocabulary"):
        Sampler(SamplingParams(repetition_penalty=1.1), [4]).sample(LOGITS)
    for token in (-1, 2**40):
        with pytest.raises(InputError, match="token id"):
            Sampler(SamplingParams(repetition_penalty=1.1), [token])

"""The sampling kernel against a plain NumPy version of the same definition."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgepersona._sampling import SamplingKernel
from edgepersona.sampling import Sampler, SamplingParams


def reference(logits, u, *, temperature, top_k, top_p, min_p, repetition_penalty, seen=()):
    """The definition, step by step, in double precision."""
    logits = logits.astype(np.float64)
    for token in set(seen):
        value = logits[token]
        value = value * repetition_penalty if value < 0 else value / repetition_penalty
        logits[token] = np.float32(value)
    best = logits.max()
    divisor = max(temperature, 1e-30)  # below that nothing differs but subnormal logits
    if temperature == 0:
        return int(logits.argmax())
    ranked = np.lexsort((np.arange(len(logits)), -logits))  # likeliest first, then by id
    if top_k:
        ranked = ranked[:top_k]
    if min_p:
        ranked = ranked[(logits[ranked] - best) / divisor >= np.log(min_p)]
    weights = np.exp((logits[ranked] - best) / divisor)
    if top_p < 1:
        enough = np.searchsorted(np.cumsum(weights), top_p * weights.sum()) + 1
        ranked = ranked[:enough]
    kept = np.sort(ranked)
    reached = np.cumsum(np.exp((logits[kept] - best) / divisor))
    return int(kept[min(np.searchsorted(reached, u * reached[-1], side="right"), len(kept) - 1)])


def acceptable(logits, u, **settings):
    """What the reference draws here, and a rounding error to either side."""
    edges = (-2e-6, 0.0, 2e-6)
    return {
        reference(logits, min(max(u + du, 0.0), 1 - 1e-9), **{**settings, "top_p": top_p})
        for du in edges
        for top_p in {min(max(settings["top_p"] + dp, 1e-12), 1.0) for dp in edges}
    }


ordinary = st.floats(-30, 30, width=32)
tied = st.sampled_from([-2.0, 0.0, 1.0, 1.5])
masked = st.sampled_from([-np.inf, -1.0, 4.0])
settings_of = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 1e-300, 1e-6, 0.05, 0.7, 1.0, 3.0, 1e6, 1e300])
        | st.floats(0.1, 5),
        "top_k": st.sampled_from([0, 1, 2, 5, 40, 10**6]),
        "top_p": st.sampled_from([1e-9, 0.1, 0.5, 0.95, 0.999999, 1.0]) | st.floats(0.01, 1),
        "min_p": st.sampled_from([0.0, 0.01, 0.31, 1.0]) | st.floats(0.001, 1),
        "repetition_penalty": st.sampled_from([1.0, 1.1, 0.5, 10.0]),
    }
)


@settings(max_examples=600, deadline=None)
@given(
    logits=st.one_of(st.lists(v, min_size=1, max_size=60) for v in (ordinary, tied, masked)),
    u=st.floats(0, 1, exclude_max=True),
    options=settings_of,
    data=st.data(),
)
def test_kernel_agrees_with_numpy(logits, u, options, data):
    logits = np.array(logits, dtype=np.float32)
    assume(np.isfinite(logits).any())
    seen = data.draw(st.lists(st.integers(0, len(logits) - 1), max_size=8))
    kernel = SamplingKernel(**options)
    kernel.see(seen)

    token = kernel.sample(logits, u)

    assert np.isfinite(logits[token])
    assert token in acceptable(logits, u, seen=seen, **options)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    size=st.sampled_from([1000, 32_000, 49_152]),
    spread=st.sampled_from([0.01, 1.0, 4.0, 20.0]),
    u=st.floats(0, 1, exclude_max=True),
    options=settings_of,
)
def test_kernel_agrees_with_numpy_over_a_whole_vocabulary(seed, size, spread, u, options):
    random = np.random.default_rng(seed)
    logits = (random.standard_normal(size) * spread).astype(np.float32)
    seen = random.integers(0, size, 50).tolist()
    kernel = SamplingKernel(**options)
    kernel.see(seen)

    assert kernel.sample(logits, u) in acceptable(logits, u, seen=seen, **options)


def test_scratch_of_one_call_does_not_reach_the_next():
    random = np.random.default_rng(1)
    options = {"temperature": 1.0, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2}
    for top_k in (0, 9):
        kernel = SamplingKernel(**options, top_k=top_k)
        seen = [3, 5]
        kernel.see(seen)
        for size in (20, 500, 3000, 3001, 4000):  # tokens drawn stay in every later vocabulary
            logits = random.standard_normal(size).astype(np.float32) * 3
            token = kernel.sample(logits, 0.5)
            assert token in acceptable(logits, 0.5, seen=seen, top_k=top_k, **options)
            seen.append(token)


def test_draws_follow_the_softmax():
    logits = np.log(np.array([0.5, 0.25, 0.125, 0.125], dtype=np.float32))
    sampler = Sampler(SamplingParams(temperature=1.0, top_p=1.0, seed=3))
    counts = np.bincount([sampler.sample(logits) for _ in range(20_000)], minlength=4)
    assert np.allclose(counts / 20_000, [0.5, 0.25, 0.125, 0.125], atol=0.015)

"""The native k-means held to what its clusters must be, in NumPy and double."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepersona._native import kmeans
from edgepersona.errors import InputError

NDIMS = (1, 3, 7, 8, 17, 385)


def distances(vectors, centroids):
    apart = vectors.astype(np.float64)[:, None] - centroids.astype(np.float64)[None]
    return (apart**2).sum(axis=2)


def check(vectors, k, labels, centroids):
    """Every vector is with its nearest centroid, every centroid the mean of its vectors."""
    different = len(np.unique(vectors, axis=0))
    assert labels.dtype == np.int32
    assert labels.shape == (len(vectors),)
    assert centroids.dtype == np.float32
    assert 1 <= len(centroids) <= min(k, different)
    assert set(labels.tolist()) == set(range(len(centroids))), "no cluster is empty"
    apart = distances(vectors, centroids)
    own = apart[np.arange(len(vectors)), labels]
    size = max(1.0, float(np.abs(vectors).max())) ** 2
    assert (own <= apart.min(axis=1) * (1 + 1e-5) + 1e-10 * size).all()
    for label, centroid in enumerate(centroids):
        mean = vectors[labels == label].astype(np.float64).mean(axis=0)
        assert np.allclose(centroid, mean, rtol=1e-6, atol=1e-7 * size**0.5)


@settings(max_examples=100, deadline=None)
@given(
    ndim=st.sampled_from(NDIMS),
    count=st.integers(1, 60),
    k=st.integers(1, 70),
    levels=st.sampled_from([2, 5, 1000]),
    seed=st.integers(0, 2**63 - 1),
    size=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_clusters_are_a_fixed_point(ndim, count, k, levels, seed, size):
    vectors = np.random.default_rng(count).integers(0, levels, (count, ndim)) / levels * size
    vectors = vectors.astype(np.float32)
    labels, centroids = kmeans(vectors, k, seed=seed)
    check(vectors, k, labels, centroids)
    again = kmeans(vectors, k, seed=seed)
    assert np.array_equal(labels, again[0])
    assert np.array_equal(centroids, again[1])


@settings(max_examples=50, deadline=None)
@given(different=st.integers(1, 12), copies=st.integers(1, 5), ndim=st.sampled_from(NDIMS))
def test_as_many_clusters_as_different_vectors_where_k_is_larger(different, copies, ndim):
    random = np.random.default_rng(different)
    vectors = random.standard_normal((different, ndim)).astype(np.float32)
    repeated = np.tile(vectors, (copies, 1))
    labels, centroids = kmeans(repeated, different + 3)
    assert len(centroids) == different
    assert np.allclose(centroids[labels], repeated)


@pytest.mark.parametrize("seed", range(20))
def test_groups_that_lie_apart_are_found_from_any_seed(seed):
    random = np.random.default_rng(seed)
    centres = np.eye(5, 17) * 100
    truth = random.integers(0, 5, 200)
    vectors = (centres[truth] + random.standard_normal((200, 17))).astype(np.float32)
    labels, _ = kmeans(vectors, 5, seed=seed)
    pairs = set(zip(labels.tolist(), truth.tolist(), strict=True))
    assert len(pairs) == 5


def test_clusters_are_about_as_tight_as_a_plain_lloyd_gets():
    random = np.random.default_rng(0)
    vectors = random.standard_normal((300, 8)).astype(np.float32)

    def spread(centroids):
        return distances(vectors, centroids).min(axis=1).sum()

    plain = []
    for _ in range(10):
        centroids = vectors[random.choice(300, 6, replace=False)].astype(np.float64)
        for _ in range(100):
            labels = distances(vectors, centroids).argmin(axis=1)
            centroids = np.array([vectors[labels == j].mean(axis=0) for j in range(6)])
        plain.append(spread(centroids))
    ours = [spread(kmeans(vectors, 6, seed=seed)[1]) for seed in range(10)]
    assert np.median(ours) <= np.median(plain) * 1.02


def test_fewer_rounds_still_leave_means():
    vectors = np.random.default_rng(1).standard_normal((200, 3)).astype(np.float32)
    labels, centroids = kmeans(vectors, 8, iterations=1)
    for label, centroid in enumerate(centroids):
        assert np.allclose(centroid, vectors[labels == label].mean(axis=0), atol=1e-6)


def test_what_cannot_be_grouped_is_refused():
    vectors = np.ones((4, 2), np.float32)
    for bad in (vectors[:0], vectors[:, :0], vectors[0], vectors * np.nan, vectors * np.inf, "ab"):
        with pytest.raises(InputError):
            kmeans(bad, 1)
    for k in (0, -1):
        with pytest.raises(InputError):
            kmeans(vectors, k)
    for options in ({"iterations": 0}, {"iterations": -1}, {"seed": -1}):
        with pytest.raises(InputError):
            kmeans(vectors, 1, **options)

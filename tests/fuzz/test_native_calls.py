"""The native modules, handed any arrays at all: they do their work or refuse, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgepersona._native import (
    Encoder,
    KvCache,
    NgramModel,
    Persona,
    PersonaCache,
    Transformer,
    VectorIndex,
    kmeans,
    mix,
)
from edgepersona.errors import InputError
from edgepersona.sampling import Sampler, SamplingParams
from tests import packed_encoder
from tests.packed import LayerShape, Shape, weights

DTYPES = [
    "f4",
    "f2",
    "f8",
    "i8",
    "i4",
    "u8",
    "u1",
    "i1",
    "?",
    "c8",
    ">f4",
    ">i8",
    "S3",
    "m8[s]",
    "O",
]
NO_ARRAYS = [None, [], [[]], (), "text", b"bytes", 3, [1, "a"], {}, object(), [[1.0], [2.0, 3.0]]]


@st.composite
def arrays(draw: st.DrawFn, shape: st.SearchStrategy[tuple[int, ...]], dtype: str) -> Any:
    """Mostly an array as it should be, of any bits; sometimes another kind, shape or order."""
    if draw(st.integers(0, 30)) == 0:
        return draw(st.sampled_from(NO_ARRAYS))
    if draw(st.integers(0, 15)) == 0:
        dtype = draw(st.sampled_from(DTYPES))
    size = draw(shape)
    count = int(np.prod(size))
    if dtype == "O":
        return np.full(size, draw(st.sampled_from([1, 0.5, None, "a"])), object)
    if draw(st.booleans()):  # small whole numbers
        array = np.frombuffer(_bytes(draw, count), np.uint8)
        array = array.astype(np.int8).astype(dtype).reshape(size)
    else:
        raw = _bytes(draw, count * np.dtype(dtype).itemsize)
        array = np.frombuffer(bytearray(raw), dtype).reshape(size)
    return LAYOUTS[draw(st.sampled_from(["as is", "as is", *LAYOUTS]))](array)


def _bytes(draw: st.DrawFn, count: int) -> bytes:
    if count <= 400:
        return draw(st.binary(min_size=count, max_size=count))
    return np.random.default_rng(draw(st.integers(0, 255))).bytes(count)


def _unaligned(array: np.ndarray) -> np.ndarray:
    raw = np.frombuffer(bytearray(b"." + array.tobytes()), np.uint8)[1:]
    return raw.view(array.dtype).reshape(array.shape)


def _read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS: dict[str, Any] = {
    "as is": lambda array: array,
    "reversed": lambda array: array[::-1] if array.ndim else array,
    "by columns": np.asfortranarray,
    "strided": lambda array: np.stack([array, array], axis=-1)[..., 0],
    "repeated": lambda array: np.broadcast_to(array[:1], array.shape) if array.ndim else array,
    "unaligned": _unaligned,
    "read-only": _read_only,
    "a list": lambda array: array.tolist(),
}


def near(*sizes: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Mostly this shape; sometimes one that differs by an axis, or in its length."""
    lengths = st.tuples(*(st.sampled_from([n, n, n, n, n, n, n, n, n + 1, 0]) for n in sizes))
    other = st.lists(st.integers(0, 4), max_size=4).map(tuple)
    return st.integers(0, 20).flatmap(lambda n: other if n == 0 else lengths)


def attempt(call: Any, *arguments: Any, **named: Any) -> Any:
    try:
        return call(*arguments, **named)
    except (InputError, TypeError):  # TypeError: not even an argument of that kind
        return None


K = st.integers(-1, 30) | st.sampled_from([2**31, 2**63 - 1, 2**63, -(2**63), 0.5, None])


@given(st.data())
def test_an_index_answers_or_refuses(data: st.DataObject) -> None:
    ndim = data.draw(st.integers(1, 20))
    index = VectorIndex(ndim, graph_from=data.draw(st.integers(1, 8)))
    for _ in range(data.draw(st.integers(1, 6))):
        n = data.draw(st.integers(0, 12))
        ids = data.draw(arrays(near(n), "i8") | st.just(np.arange(n)))
        vectors = data.draw(arrays(near(n, ndim), data.draw(st.sampled_from(["f4", "f2"]))))
        before = len(index)
        match data.draw(st.sampled_from(["add", "remove", "search", "search", "load"])):
            case "add":
                attempt(index.add, ids, vectors)
            case "remove":
                removed = attempt(index.remove, ids)
                assert len(index) == before - (removed or 0)
            case "search":
                only = data.draw(st.none() | st.just(ids))
                found = attempt(index.search, vectors, data.draw(K), only)
                if found is not None:
                    assert found[0].shape == found[1].shape
                    assert not np.isnan(found[1]).any()
                assert len(index) == before
            case "load":
                width = data.draw(st.sampled_from([64, 64, 0, 1, -1, 2**63]))
                attempt(index.load_graph, ids, data.draw(arrays(near(n, 32), "u4")), width)
                attempt(index.link, data.draw(K))
                assert index.graph()[1].shape[1] == 32


_LAYER = LayerShape(bias=True, head_norms=True, branch_norms=True, window=3)
SHAPE = Shape(vocab=5, positions=20, layers=(_LAYER, LayerShape(bits=4, block=64)))
NUMBERS = [0, 1, 2, 3, 7, 16, 32, 48, 2**20, 2**40, 2**63, 2**64, -1, 0.5, float("nan"), None, "a"]


def _damaged(draw: Any, value: Any) -> Any:
    """Draw a model whose arrays hold any bits; a few parts are of another kind, or missing."""
    if isinstance(value, np.ndarray):
        if draw(st.integers(0, 7)):
            return value
        return draw(arrays(near(*value.shape), value.dtype.str[1:]))
    if draw(st.integers(0, 200)) == 0:
        return draw(st.sampled_from([*NUMBERS, *NO_ARRAYS]))
    if isinstance(value, list):
        return [_damaged(draw, inner) for inner in value]
    if isinstance(value, dict):
        missing = draw(st.sampled_from([*[None] * 60, *value]))
        return {name: _damaged(draw, v) for name, v in value.items() if name != missing}
    return value


@given(st.data())
def test_an_encoder_encodes_or_refuses(data: st.DataObject) -> None:
    model = _damaged(data.draw, packed_encoder.weights(np.random.default_rng(1)))
    encoder = attempt(Encoder, model, threads=data.draw(st.integers(0, 2)))
    if encoder is None:
        return
    for _ in range(data.draw(st.integers(1, 4))):
        lengths = data.draw(st.lists(st.integers(0, 9), max_size=4))
        states = data.draw(arrays(near(sum(lengths), packed_encoder.HIDDEN), "f4"))
        wrong = data.draw(st.integers(0, 9)) == 0
        given = data.draw(arrays(near(len(lengths)), "i8")) if wrong else np.array(lengths, "i8")
        attempt(encoder.encode, states, given)


@given(st.data())
def test_a_transformer_reads_or_refuses(data: st.DataObject) -> None:
    model = _damaged(data.draw, weights(np.random.default_rng(1), SHAPE))
    transformer = attempt(Transformer, model, threads=data.draw(st.integers(0, 2)))
    sizes = {"layers": 2, "heads": 2, "head_dim": 16, "capacity": 20}
    if data.draw(st.integers(0, 9)) == 0:
        # Nothing between: so much memory might be had.
        sizes[data.draw(st.sampled_from(sorted(sizes)))] = data.draw(
            st.sampled_from([0, 1, 3, 24, 32, -1, 2**47, 2**63, 2**64])
        )
    cache = attempt(KvCache, **sizes)
    if transformer is None or cache is None:
        return
    for _ in range(data.draw(st.integers(1, 4))):
        count = data.draw(st.integers(0, 20))
        embeddings = data.draw(arrays(near(count, SHAPE.hidden), "f4"))
        logits = data.draw(arrays(near(data.draw(st.integers(0, count)), SHAPE.vocab), "f4"))
        position = data.draw(st.sampled_from([0, 0, 1, 7, 20, 32, 2**63, 2**64, -1]))
        attempt(transformer.read, cache, embeddings, position, logits)
        saved = attempt(cache.save, data.draw(st.integers(0, 33)))
        attempt(cache.load, saved or data.draw(st.binary(max_size=600)))


@given(st.data())
def test_a_sampler_draws_a_token_or_refuses(data: st.DataObject) -> None:
    vocab = data.draw(st.integers(0, 200))
    params = SamplingParams(
        temperature=data.draw(st.sampled_from([0.0, 1e-45, 1e-6, 0.7, 1.0, 1e30])),
        top_k=data.draw(st.sampled_from([0, 1, 3, 50, 2**40])),
        top_p=data.draw(st.sampled_from([1e-9, 0.5, 0.95, 1.0])),
        min_p=data.draw(st.sampled_from([0.0, 1e-9, 0.1, 1.0])),
        repetition_penalty=data.draw(st.sampled_from([1.0, 1.2, 1e-30, 1e30])),
        seed=1,
    )
    sampler = Sampler(params, data.draw(st.lists(st.integers(0, max(vocab, 1)), max_size=5)))
    for _ in range(data.draw(st.integers(1, 4))):
        logits = data.draw(arrays(near(vocab), "f4"))
        token = attempt(sampler.sample, logits)
        if token is not None:
            assert 0 <= token < logits.size
            assert logits[token] > -np.inf


@given(st.data())
def test_a_persona_attends_or_refuses(data: st.DataObject) -> None:
    key_ndim, value_ndim = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    persona = Persona(key_ndim, value_ndim, window=data.draw(st.integers(0, 5)))
    for _ in range(data.draw(st.integers(1, 5))):
        n = data.draw(st.integers(0, 6))
        ids = data.draw(arrays(near(n), "i8") | st.just(np.arange(n)))
        keys, values = arrays(near(n, key_ndim), "f4"), arrays(near(n, value_ndim), "f4")
        if data.draw(st.integers(0, 3)):
            ages = data.draw(arrays(near(n), "i8"))
            attempt(persona.add, ids, ages, data.draw(keys), data.draw(values))
        else:
            attempt(persona.remove, ids)
        scale = data.draw(st.floats(width=32))
        found = attempt(persona.attend, data.draw(arrays(near(key_ndim), "f4")), scale)
        for vector in (found, persona.mean()):
            assert vector is None or (vector.shape == (value_ndim,) and np.isfinite(vector).all())


@given(st.data())
def test_a_cache_of_personas_keeps_or_refuses(data: st.DataObject) -> None:
    cache = PersonaCache(data.draw(st.integers(0, 2000)))
    hashes = st.binary(max_size=70) | st.sampled_from([b"a", b"b", "text", None])
    for _ in range(data.draw(st.integers(1, 6))):
        key = data.draw(hashes), data.draw(st.sampled_from([0, 1, 2**64, -1])), data.draw(hashes)
        attempt(cache.put, *key, data.draw(arrays(near(5), "f4")))
        found = attempt(cache.get, *key)
        assert found is None or np.isfinite(found).all()
        assert cache.size_bytes <= cache.capacity_bytes


@given(st.data())
def test_clusters_are_found_or_refused(data: st.DataObject) -> None:
    vectors = data.draw(arrays(near(data.draw(st.integers(0, 9)), 3), "f4"))
    found = attempt(kmeans, vectors, data.draw(K), seed=data.draw(K), iterations=5)
    if found is not None:
        labels, centroids = found
        assert set(labels.tolist()) == set(range(len(centroids)))


@given(st.data())
def test_an_ngram_model_predicts_or_refuses(data: st.DataObject) -> None:
    model = NgramModel(order=data.draw(st.integers(2, 5)))
    tokens = arrays(near(data.draw(st.integers(0, 30))), data.draw(st.sampled_from(["i4", "u4"])))
    for _ in range(data.draw(st.integers(1, 5))):
        ids = data.draw(arrays(near(2), "i8") | st.just(np.arange(2)))
        offsets = data.draw(arrays(near(3), "i8") | st.just(np.array([0, 1, 4])))
        attempt(model.add, ids, data.draw(tokens), offsets)
        if data.draw(st.booleans()):
            attempt(model.remove, data.draw(arrays(near(2), "i8")))
        context = data.draw(tokens)
        found = attempt(model.distribution, context, data.draw(K))
        assert found is None or (found[1] > 0).all()
        attempt(model.continuations, context, data.draw(st.integers(-1, 9)))


@given(st.data())
def test_logits_are_mixed_or_refused(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 5))
    logits = data.draw(arrays(near(20), "f4"))
    ids, probs = data.draw(arrays(near(n), "i8")), data.draw(arrays(near(n), "f4"))
    attempt(mix, logits, ids, probs, data.draw(st.sampled_from([0.0, 0.3, 1.0, float("nan")])))

"""The binding of the language model refuses what the core could not read safely."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgepersona._native import KvCache, Transformer
from edgepersona.errors import InputError
from tests.packed import LayerShape, Shape, weights

RICH = LayerShape(bias=True, head_norms=True, branch_norms=True, window=5)
SHAPE = Shape(layers=(RICH, replace(RICH, bits=4)))
HUGE = [-1, 1 << 41, 1 << 63, 1 << 64, -(1 << 63), 10**30]


def _weights() -> dict[str, Any]:
    return weights(np.random.default_rng(3), SHAPE)


def _model(changed: dict[str, Any] | None = None, *, threads: int = 2) -> Transformer:
    return Transformer(changed or _weights(), threads=threads)


def _cache(**changed: int) -> KvCache:
    sizes = {"layers": 2, "heads": 2, "head_dim": 16, "capacity": 32}
    return KvCache(**(sizes | changed))


def _embeddings(count: int = 3) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, 36)).astype(np.float32)


def _read(model: Transformer, cache: KvCache | None = None, *, position: int = 0) -> np.ndarray:
    logits = np.full((3, 21), np.nan, np.float32)
    model.read(cache or _cache(), _embeddings(), position, logits)
    return logits


def _strided(array: np.ndarray) -> np.ndarray:
    return np.stack([array, array], axis=-1)[..., 0]


def _unaligned(array: np.ndarray) -> np.ndarray:
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:]
    raw[:] = np.frombuffer(array.tobytes(), np.uint8)
    return raw.view(array.dtype).reshape(array.shape)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


DAMAGES: list[Callable[[np.ndarray], object]] = [
    lambda a: a.astype(np.float64),
    lambda a: a.astype(np.float16),
    lambda a: a.astype(np.int32),
    lambda a: a.astype(a.dtype.newbyteorder()) if a.itemsize > 1 else a.astype(bool),
    lambda a: a.astype(object),
    _strided,
    lambda a: a[None],
    lambda a: a[..., None],
    lambda a: np.concatenate([a, a], axis=-1),
    lambda a: a[..., :-1].copy(),
    lambda a: a[:0],
    lambda a: a.tolist(),
    lambda a: bytes(a),
    lambda a: None,
]
UNALIGNED: list[Callable[[np.ndarray], object]] = [*DAMAGES, _unaligned]


def _put(whole: dict[str, Any], path: str, change: Callable[[Any], object]) -> dict[str, Any]:
    """Change what is at such a path as ``layers.1.qkv.codes``."""
    at: Any = whole
    *parents, last = path.split(".")
    for name in parents:
        at = at[int(name) if name.isdigit() else name]
    at[last] = change(at[last])
    return whole


def test_reading_gives_finite_logits_and_read_only_weights_will_do() -> None:
    for name in ("final_norm", "head.codes", "layers.1.qkv.minima"):
        assert np.isfinite(_read(_model(_put(_weights(), name, _read_only)))).all()


VECTORS = ("attention_norm", "mlp_norm", "qkv_bias", "q_norm", "k_norm")
BRANCHES = ("post_attention_norm", "post_mlp_norm")


@pytest.mark.parametrize("damage", UNALIGNED)
@pytest.mark.parametrize(
    "path",
    [
        "final_norm",
        "ropes.0.cos",
        "ropes.0.sin",
        "head.scales",
        "layers.1.qkv.scales",
        "layers.1.down.minima",
        *(f"layers.1.{name}" for name in (*VECTORS, *BRANCHES)),
    ],
)
def test_a_wrong_array_is_refused(path: str, damage: Any) -> None:
    with pytest.raises(InputError):
        _model(_put(_weights(), path, damage))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["qkv", "output", "gate_up", "down"])
def test_wrong_codes_are_refused(name: str, damage: Any) -> None:
    with pytest.raises(InputError):
        _model(_put(_weights(), f"layers.0.{name}.codes", damage))


@pytest.mark.parametrize("value", [*HUGE, 0, 7, 1.0, "8", None, [], np.float32(8)])
@pytest.mark.parametrize("size", ["rows", "columns", "block", "bits"])
def test_wrong_sizes_of_a_matrix_are_refused(size: str, value: Any) -> None:
    with pytest.raises(InputError):
        _model(_put(_weights(), f"layers.1.output.{size}", lambda _: value))


def test_bits_are_taken_as_they_are_given() -> None:
    for bits in (264, 260, (1 << 32) + 8):  # 8 or 4, were they cut off
        with pytest.raises(InputError):
            _model(_put(_weights(), "layers.0.qkv.bits", lambda _, bits=bits: bits))


def test_4_bits_without_minima_are_refused() -> None:
    whole = _weights()
    del whole["layers"][1]["qkv"]["minima"]
    with pytest.raises(InputError, match="qkv is not a matrix"):
        _model(whole)


@pytest.mark.parametrize("value", [*HUGE, 0, 5, 2.0, "4", None, True])
@pytest.mark.parametrize(
    "size", ["hidden", "intermediate", "heads", "kv_heads", "head_dim", "vocab", "positions"]
)
def test_wrong_sizes_of_a_model_are_refused(size: str, value: Any) -> None:
    with pytest.raises(InputError):
        _model(_put(_weights(), size, lambda _: value))


def test_sizes_that_are_the_same_again_in_64_bits_are_refused() -> None:
    for size in ("heads", "kv_heads", "head_dim"):
        with pytest.raises(InputError):
            _model(_put(_weights(), size, lambda old: old + (1 << 60)))


@pytest.mark.parametrize("value", [*HUGE, 1.0, "0", None])
@pytest.mark.parametrize("name", ["window", "rope"])
def test_a_wrong_window_or_rope_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError):
        _model(_put(_weights(), f"layers.1.{name}", lambda _: value))


def test_a_rope_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="none of the model's"):
        _model(_put(_weights(), "layers.1.rope", lambda _: 1))
    with pytest.raises(InputError, match="none of the model's"):
        _model({**_weights(), "ropes": []})


@pytest.mark.parametrize("value", [1, "1e-5", None, []])
@pytest.mark.parametrize(
    "name", ["norm_eps", "attention_scale", "attention_softcap", "logits_softcap"]
)
def test_what_is_no_float_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} is not a float"):
        _model({**_weights(), name: value})


@pytest.mark.parametrize("value", ["relu", "", None, 3, b"silu"])
def test_an_unknown_activation_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="expected 'silu' or 'gelu_tanh'"):
        _model({**_weights(), "activation": value})


@pytest.mark.parametrize("value", [None, (), [], [None], [[]], {}, "ab", 3])
@pytest.mark.parametrize("name", ["layers", "ropes"])
def test_layers_and_ropes_that_are_none_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError):
        _model({**_weights(), name: value})


@pytest.mark.parametrize("value", [None, (), [], "ab", 3, np.zeros(4, np.float32)])
@pytest.mark.parametrize("path", ["head", "layers.0.qkv", "layers.1.down"])
def test_what_is_no_matrix_is_refused(path: str, value: Any) -> None:
    with pytest.raises(InputError):
        _model(_put(_weights(), path, lambda _: value))


OPTIONAL = {"qkv_bias", "q_norm", "k_norm", *BRANCHES}


def test_every_missing_part_is_named() -> None:
    whole = _weights()
    parts = [("", name) for name in whole]
    parts += [("layers.1", name) for name in whole["layers"][1] if name not in OPTIONAL]
    parts += [("layers.0.gate_up", name) for name in whole["layers"][0]["gate_up"]]
    parts += [("ropes.0", name) for name in ("cos", "sin")]
    for parent, name in parts:
        changed: dict[str, Any] = _weights()
        at: Any = changed
        for step in filter(None, parent.split(".")):
            at = at[int(step) if step.isdigit() else step]
        del at[name]
        with pytest.raises(InputError, match=f"has no {name}"):
            _model(changed)


def test_what_a_model_may_lack_it_may_lack() -> None:
    for name in OPTIONAL:
        whole = _weights()
        del whole["layers"][0][name]
        assert np.isfinite(_read(_model(whole))).all()


@pytest.mark.parametrize("value", [None, [], "weights", 3])
def test_what_is_no_model_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        Transformer(value, threads=1)
    with pytest.raises(InputError, match="a model has no hidden"):
        Transformer({}, threads=1)
    with pytest.raises(TypeError):
        Transformer(_weights(), threads=-1)


@pytest.mark.parametrize("damage", UNALIGNED)
def test_wrong_embeddings_and_logits_are_refused(damage: Any) -> None:
    model, cache = _model(), _cache()
    embeddings, logits = _embeddings(), np.zeros((3, 21), np.float32)
    if damage(embeddings) is not None and np.shape(damage(embeddings)) != (0, 36):
        with pytest.raises(InputError):
            model.read(cache, damage(embeddings), 0, logits)
    if damage(logits) is not None and np.shape(damage(logits)) != (0, 21):
        with pytest.raises(InputError):
            model.read(cache, embeddings, 0, damage(logits))
    for none in (None, 3, "ab", object()):
        with pytest.raises(InputError):
            model.read(cache, none, 0, logits)
        with pytest.raises(InputError):
            model.read(cache, embeddings, 0, none)
    assert not logits.any()
    assert not any(cache.save(32))


def test_logits_that_cannot_be_written_are_refused() -> None:
    cache, logits = _cache(), _read_only(np.zeros((3, 21), np.float32))
    with pytest.raises(InputError, match="logits are read-only"):
        _model().read(cache, _embeddings(), 0, logits)
    assert not any(cache.save(32))


def test_more_logits_than_tokens_are_refused() -> None:
    with pytest.raises(InputError, match="more tokens than are read"):
        _model().read(_cache(), _embeddings(), 0, np.zeros((4, 21), np.float32))


@pytest.mark.parametrize("position", [30, 32, 33, 1 << 40, (1 << 64) - 2])
def test_a_position_beyond_the_cache_is_refused(position: int) -> None:
    with pytest.raises(InputError, match="do not fit a cache of 32"):
        _read(_model(), position=position)


@pytest.mark.parametrize("position", [-1, 1 << 64, None, "0", 0.5])
def test_what_is_no_position_is_a_type_error(position: Any) -> None:
    with pytest.raises(TypeError):
        _read(_model(), position=position)


@pytest.mark.parametrize("changed", [{"layers": 1}, {"layers": 3}, {"heads": 1}, {"head_dim": 32}])
def test_a_cache_of_another_model_is_refused(changed: dict[str, int]) -> None:
    with pytest.raises(InputError, match="the cache has not the layers and heads"):
        _read(_model(), _cache(**changed))


@pytest.mark.parametrize("value", [0, -1, 1 << 47, (1 << 63), (1 << 64) - 1, 1 << 64])
@pytest.mark.parametrize("name", ["layers", "heads", "head_dim", "capacity"])
def test_sizes_that_no_cache_has_are_refused(name: str, value: int) -> None:
    with pytest.raises((InputError, TypeError)):
        _cache(**{name: value})


def test_a_heads_size_is_checked_before_memory_is_asked_for() -> None:
    with pytest.raises(InputError, match="multiple of 16"):
        KvCache(layers=1 << 10, heads=1 << 10, head_dim=1 << 10 | 1, capacity=1 << 10)


def test_saved_positions_that_do_not_fit_are_refused() -> None:
    cache, one = _cache(), 2 * 2 * 16 * 2 * 2
    for length in (33, 1 << 40, (1 << 64) - 1):
        with pytest.raises(InputError, match="has not so many positions"):
            cache.save(length)
    for size in (1, one - 1, one + 1, 3 * one + 2):
        with pytest.raises(InputError, match="of another model"):
            cache.load(bytes(size))
    with pytest.raises(InputError, match="33 positions do not fit a cache of 32"):
        cache.load(bytes(33 * one))
    for other in (bytearray(one), "ab", None, np.zeros(one, np.uint8)):
        with pytest.raises(TypeError):
            cache.load(other)
    assert cache.save(0) == b""
    cache.load(b"")
    assert not any(cache.save(32))


def test_saved_positions_come_back() -> None:
    model, first, second = _model(), _cache(), _cache(capacity=3)
    expected = _read(model, first)
    second.load(first.save(3))
    assert second.save(3) == first.save(3)
    assert second.capacity == 16
    logits = np.empty((1, 21), np.float32)
    model.read(second, _embeddings()[2:], 2, logits)
    np.testing.assert_array_equal(logits[0], expected[2])


def test_arrays_outlive_the_dicts_they_came_in() -> None:
    whole = _weights()
    model = _model(whole)
    expected = _read(model)
    for layer in whole["layers"]:
        layer["qkv"].clear()
        layer.clear()
    whole["layers"].clear()
    whole["ropes"][0].clear()
    whole.clear()
    filler = [np.full(1 << n, 7.0, np.float32) for n in range(16)]  # takes memory let go of
    np.testing.assert_array_equal(_read(model), expected)
    del filler


def test_arrays_go_with_the_model_and_with_one_that_was_refused() -> None:
    for threads in (1, 2):
        whole = _weights()
        kept = [weakref.ref(whole["final_norm"]), weakref.ref(whole["head"]["codes"])]
        model = _model(whole, threads=threads)
        del whole
        gc.collect()
        assert all(reference() is not None for reference in kept)
        del model
        gc.collect()
        assert all(reference() is None for reference in kept)
    whole = {**_weights(), "heads": 3}
    reference = weakref.ref(whole["final_norm"])
    with pytest.raises(InputError):
        _model(whole)
    del whole
    gc.collect()
    assert reference() is None

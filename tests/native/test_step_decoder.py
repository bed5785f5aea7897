"""The binding of the decoding step refuses what the core could not read safely."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgepersona._native import StepCache, StepDecoder
from edgepersona.errors import InputError

HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_DIM, VOCAB, POSITIONS, LAYERS = (
    32,
    48,
    2,
    1,
    16,
    5,
    8,
    2,
)
RANDOM = np.random.default_rng(3)


def _floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def _matrix(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    blocks = -(-columns // 64)
    codes = RANDOM.integers(1, 256, (rows, blocks * 64)).astype(np.uint8)
    codes[:, columns:] = 128
    return codes, np.full((rows, blocks), 1e-3, np.float32)


def _weights() -> dict[str, Any]:
    layers = [
        {
            "attention_norm": _floats(HIDDEN),
            "qkv": _matrix((HEADS + 2 * KV_HEADS) * HEAD_DIM, HIDDEN),
            "qkv_bias": _floats((HEADS + 2 * KV_HEADS) * HEAD_DIM),
            "output": _matrix(HIDDEN, HEADS * HEAD_DIM),
            "mlp_norm": _floats(HIDDEN),
            "gate_up": _matrix(2 * INTERMEDIATE, HIDDEN),
            "down": _matrix(HIDDEN, INTERMEDIATE),
        }
        for _ in range(LAYERS)
    ]
    return {
        "layers": layers,
        "final_norm": _floats(HIDDEN),
        "head": _matrix(VOCAB, HIDDEN),
        "rope_cos": _floats(POSITIONS, HEAD_DIM // 2),
        "rope_sin": _floats(POSITIONS, HEAD_DIM // 2),
    }


def _decoder(weights: dict[str, Any], **changed: Any) -> StepDecoder:
    options = {"heads": HEADS, "kv_heads": KV_HEADS, "head_dim": HEAD_DIM, "threads": 2}
    return StepDecoder(weights, **{"norm_eps": 1e-5, **options, **changed})


def _caches(**changed: int) -> list[np.ndarray]:
    shape = {"one": 1, "kv_heads": KV_HEADS, "capacity": POSITIONS, "head_dim": HEAD_DIM, **changed}
    return [np.zeros(tuple(shape.values()), np.float32) for _ in range(LAYERS)]


def _step(decoder: StepDecoder, cache: StepCache | None = None, position: int = 0) -> np.ndarray:
    logits = np.full(VOCAB, np.nan, np.float32)
    decoder.step(
        cache or StepCache(_caches(), _caches()), np.ones(HIDDEN, np.float32), position, logits
    )
    return logits


def _strided(array: np.ndarray) -> np.ndarray:
    return np.stack([array, array], axis=-1)[..., 0]


def _unaligned(array: np.ndarray) -> np.ndarray:
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:]
    return raw.view(array.dtype).reshape(array.shape)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


DAMAGES: list[Callable[[np.ndarray], object]] = [
    lambda a: a.astype(np.float64),
    lambda a: a.astype(np.float16),
    lambda a: a.astype(">f4"),
    _strided,
    _unaligned,
    lambda a: a[None],
    lambda a: np.concatenate([a, a]),
    lambda a: a[:0],
    lambda a: a.tolist(),
    lambda a: None,
]


def test_a_step_gives_finite_logits() -> None:
    assert np.isfinite(_step(_decoder(_weights()))).all()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["final_norm", "rope_cos", "rope_sin"])
def test_a_wrong_vector_of_a_model_is_refused(name: str, damage: Any) -> None:
    weights = _weights()
    weights[name] = damage(weights[name])
    with pytest.raises(InputError):
        _decoder(weights)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["attention_norm", "mlp_norm", "qkv_bias"])
def test_a_wrong_vector_of_a_layer_is_refused(name: str, damage: Any) -> None:
    weights = _weights()
    weights["layers"][1][name] = damage(weights["layers"][1][name])
    with pytest.raises(InputError):
        _decoder(weights)


@pytest.mark.parametrize(
    "damage",
    [
        lambda codes, scales: (codes.astype(np.int8), scales),
        lambda codes, scales: (codes, scales.astype(np.float64)),
        lambda codes, scales: (_strided(codes), scales),
        lambda codes, scales: (codes, _unaligned(scales)),
        lambda codes, scales: (codes[1:], scales),
        lambda codes, scales: (codes[1:], scales[1:]),
        lambda codes, scales: (codes, scales[:, :0].copy()),
        lambda codes, scales: (codes[:, :32].copy(), scales),
        lambda codes, scales: (np.tile(codes, 2), np.tile(scales, 2)),
        lambda codes, scales: (codes[:, :0].copy(), scales),
        lambda codes, scales: (codes,),
        lambda codes, scales: (),
        lambda codes, scales: [codes, scales],
        lambda codes, scales: None,
    ],
)
@pytest.mark.parametrize("name", ["qkv", "output", "gate_up", "down"])
def test_a_wrong_matrix_is_refused(name: str, damage: Any) -> None:
    weights = _weights()
    weights["layers"][0][name] = damage(*weights["layers"][0][name])
    with pytest.raises(InputError):
        _decoder(weights)


@pytest.mark.parametrize("layers", [None, (), [], [None], [[]], {}])
def test_layers_that_are_none_are_refused(layers: object) -> None:
    with pytest.raises(InputError):
        _decoder({**_weights(), "layers": layers})


@pytest.mark.parametrize("name", ["layers", "head", "final_norm", "rope_cos", "rope_sin"])
def test_a_missing_weight_is_named(name: str) -> None:
    weights = _weights()
    del weights[name]
    with pytest.raises(KeyError, match=name):
        _decoder(weights)


@pytest.mark.parametrize(
    "changed",
    [
        {"heads": 0},
        {"heads": 3},
        {"heads": (1 << 60) + HEADS},  # 16 times this is that of HEADS again in 64 bits
        {"kv_heads": 0},
        {"kv_heads": 2},
        {"kv_heads": 1 << 63},
        {"head_dim": 0},
        {"head_dim": 8},
        {"head_dim": 32},
    ],
)
def test_heads_that_do_not_fit_the_weights_are_refused(changed: dict[str, int]) -> None:
    with pytest.raises(InputError):
        _decoder(_weights(), **changed)


@pytest.mark.parametrize("damage", [*DAMAGES[:8], _read_only, lambda a: a[0]])
@pytest.mark.parametrize("first", [True, False])
def test_a_cache_that_cannot_be_written_is_refused(damage: Any, first: bool) -> None:
    keys, values = _caches(), _caches()
    if first:
        keys[0] = damage(keys[0])
    else:
        values[1] = damage(values[1])
    with pytest.raises(InputError):
        StepCache(keys, values)


def test_caches_of_several_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="not one shape"):
        StepCache(_caches(capacity=0), _caches())


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        (_caches()[:1], _caches()),
        (_caches(), _caches()[:1]),
        (_caches(), []),
        (_caches() * 2, _caches() * 2),
        (_caches(kv_heads=2), _caches(kv_heads=2)),
        (_caches(head_dim=32), _caches(head_dim=32)),
        (_caches(capacity=0), _caches(capacity=0)),
    ],
)
def test_caches_of_another_model_are_refused(keys: list, values: list) -> None:
    cache = StepCache(keys, values)
    with pytest.raises(InputError):
        _step(_decoder(_weights()), cache)


def test_a_cache_without_layers_is_refused() -> None:
    with pytest.raises(InputError, match="no layers"):
        StepCache([], [])


@pytest.mark.parametrize("position", [POSITIONS, POSITIONS + 1, (1 << 64) - 1])
def test_a_position_beyond_the_cache_is_refused(position: int) -> None:
    with pytest.raises(InputError, match="beyond a cache of 8"):
        _step(_decoder(_weights()), position=position)


@pytest.mark.parametrize("damage", DAMAGES)
def test_wrong_embeddings_and_logits_are_refused(damage: Any) -> None:
    decoder, cache = _decoder(_weights()), StepCache(_caches(), _caches())
    embedding, logits = np.ones(HIDDEN, np.float32), np.zeros(VOCAB, np.float32)
    with pytest.raises(InputError):
        decoder.step(cache, damage(embedding), 0, logits)
    with pytest.raises(InputError):
        decoder.step(cache, embedding, 0, damage(logits))
    assert not logits.any()


def test_logits_that_cannot_be_written_are_refused() -> None:
    logits = _read_only(np.zeros(VOCAB, np.float32))
    with pytest.raises(InputError, match="logits is read-only"):
        _decoder(_weights()).step(
            StepCache(_caches(), _caches()), np.ones(HIDDEN, np.float32), 0, logits
        )


def test_arrays_outlive_the_lists_they_came_in() -> None:
    weights, keys, values = _weights(), _caches(), _caches()
    decoder, cache = _decoder(weights), StepCache(keys, values)
    expected = _step(decoder, cache)
    weights["layers"].clear()
    weights.clear()
    keys.clear()
    values.clear()
    filler = [np.full(1 << n, 7.0, np.float32) for n in range(16)]  # takes memory let go of
    np.testing.assert_array_equal(_step(decoder, cache), expected)
    del filler

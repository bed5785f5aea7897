"""A random text encoder as the native core takes it, and what it computes by its formula."""

from __future__ import annotations

from math import erf
from typing import Any

import numpy as np

from tests.packed import Random, matrix, unpacked

HIDDEN, INTERMEDIATE, HEADS, POSITIONS, VOCAB = 32, 80, 2, 12, 9


def weights(random: Random, *, layers: int = 2, block: int = 32) -> dict[str, Any]:
    """Make a whole encoder, without what comes before its first norm."""

    def floats(count: int, mean: float = 0.0) -> np.ndarray:
        return random.normal(mean, 0.3, count).astype(np.float32)

    def norm(name: str) -> dict[str, np.ndarray]:
        return {name: floats(HIDDEN, 1.0), f"{name}_bias": floats(HIDDEN)}

    def layer() -> dict[str, Any]:
        shapes = {
            "qkv": (3 * HIDDEN, HIDDEN),
            "output": (HIDDEN, HIDDEN),
            "up": (INTERMEDIATE, HIDDEN),
            "down": (HIDDEN, INTERMEDIATE),
        }
        made: dict[str, Any] = norm("attention_norm") | norm("mlp_norm")
        for name, (rows, columns) in shapes.items():
            made[name] = matrix(random, rows, columns, bits=8, block=block)
            made[f"{name}_bias"] = floats(rows)
        return made

    return {
        "hidden": HIDDEN,
        "intermediate": INTERMEDIATE,
        "heads": HEADS,
        "norm_eps": 1e-5,
        **norm("embedding_norm"),
        "layers": [layer() for _ in range(layers)],
    }


def whole(random: Random) -> dict[str, Any]:
    """Make what model.json and weights.bin describe: an encoder with its positions."""
    positions = random.normal(0.0, 0.5, (POSITIONS, HIDDEN)).astype(np.float32)
    return {**weights(random), "vocab": VOCAB, "positions": positions}


def by_formula(model: dict[str, Any], states: np.ndarray) -> np.ndarray:
    """Encode one text (tokens, hidden) in float64, nothing rounded."""

    def dense(layer: dict[str, Any], name: str, x: np.ndarray) -> np.ndarray:
        y: np.ndarray = x @ unpacked(layer[name]).T + layer[f"{name}_bias"]
        return y

    def norm(where: dict[str, Any], name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(axis=1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + model["norm_eps"])
        y: np.ndarray = centred / deviation * where[name] + where[f"{name}_bias"]
        return y

    heads, dim = model["heads"], model["hidden"] // model["heads"]
    x = norm(model, "embedding_norm", states.astype(np.float64))
    for layer in model["layers"]:
        qkv = dense(layer, "qkv", x).reshape(len(x), 3, heads, dim)
        scores = np.einsum("ihd,jhd->hij", qkv[:, 0], qkv[:, 1]) / dim**0.5
        shares = np.exp(scores)
        shares /= shares.sum(axis=2, keepdims=True)
        seen = np.einsum("hij,jhd->ihd", shares, qkv[:, 2]).reshape(len(x), -1)
        x = norm(layer, "attention_norm", x + dense(layer, "output", seen))
        up = dense(layer, "up", x)
        up *= (1 + np.vectorize(erf)(up / 2**0.5)) / 2
        x = norm(layer, "mlp_norm", x + dense(layer, "down", up))
    return x

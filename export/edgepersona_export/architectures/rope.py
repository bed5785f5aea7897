"""Rotary tables (RoFormer, Su et al. 2021), and the ways in which models stretch them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepersona_export.decoder_model import Rope

Rates = NDArray[np.float64]
"""The angle that each pair of values turns by from one position to the next."""


def rope_kind(config: Any) -> str:
    """Return the kind of a configuration's rotary scaling; "default" is none."""
    return str(_scaling(config).get("rope_type") or _scaling(config).get("type") or "default")


def rotary_dim(config: Any, head_dim: int) -> int:
    """Return how many values of a head are rotated."""
    return int(head_dim * getattr(config, "partial_rotary_factor", 1.0))


def longest(config: Any) -> int:
    """Return the most positions that one set of tables is right for."""
    positions: int = config.max_position_embeddings
    return min(positions, _original(config)) if rope_kind(config) == "longrope" else positions


def rope(config: Any, head_dim: int, positions: int) -> Rope:
    """Make a model's tables, with the scaling its configuration asks for."""
    rates, magnitude = ROPES[rope_kind(config)](
        _rates(config.rope_theta, rotary_dim(config, head_dim)), config
    )
    return _tables(rates, positions, magnitude)


def plain_rope(theta: float, dim: int, positions: int) -> Rope:
    """Make tables without scaling."""
    return _tables(_rates(theta, dim), positions)


def _rates(theta: float, dim: int) -> Rates:
    rates: Rates = theta ** -(np.arange(0, dim, 2) / dim)
    return rates


def _tables(rates: Rates, positions: int, magnitude: float = 1.0) -> Rope:
    # Angles in float64: at position 8000 those of float32 are off by a thousandth.
    angles = np.outer(np.arange(positions), rates)
    cos, sin = (magnitude * table for table in (np.cos(angles), np.sin(angles)))
    return Rope(cos=cos.astype(np.float32), sin=sin.astype(np.float32))


def _default(rates: Rates, config: Any) -> tuple[Rates, float]:
    return rates, 1.0


def _linear(rates: Rates, config: Any) -> tuple[Rates, float]:
    return rates / _scaling(config)["factor"], 1.0


def _llama3(rates: Rates, config: Any) -> tuple[Rates, float]:
    """Slow pairs are slowed by the factor, fast ones left alone, those between interpolated."""
    scaling = _scaling(config)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * rates / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return kept * rates + (1 - kept) * rates / scaling["factor"], 1.0


def _longrope(rates: Rates, config: Any) -> tuple[Rates, float]:
    """LongRoPE (Ding et al. 2024) up to the original length, where the short factors hold."""
    scaling, original = _scaling(config), _original(config)
    magnitude = scaling.get("attention_factor")
    if magnitude is None:
        factor = config.max_position_embeddings / original
        magnitude = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return rates / np.array(scaling["short_factor"], np.float64), magnitude


ROPES: dict[str, Callable[[Rates, Any], tuple[Rates, float]]] = {
    "default": _default,
    "linear": _linear,
    "llama3": _llama3,
    "longrope": _longrope,
}
"""``rope_type`` of a configuration → what it makes of the rates, and the tables' magnitude."""


def _scaling(config: Any) -> Mapping[str, Any]:
    return getattr(config, "rope_scaling", None) or {}


def _original(config: Any) -> int:
    """Return the positions a model was first trained for, before its ropes were stretched."""
    original: int | None = getattr(config, "original_max_position_embeddings", None)
    return original or config.max_position_embeddings

"""Rotary tables (RoFormer, Su et al. 2021), and the ways in which models stretch them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepersona_export.decoder_model import Rope

ROPES = ("default",)
"""The ``rope_type`` of configurations whose tables can be made."""


def rope_kind(config: Any) -> str:
    """Return the kind of a configuration's rotary scaling; "default" is none."""
    return str(_scaling(config).get("rope_type") or _scaling(config).get("type") or "default")


def longest(config: Any) -> int:
    """Return the most positions a model was made for."""
    positions: int = config.max_position_embeddings
    return positions


def rope(config: Any, head_dim: int, positions: int) -> Rope:
    """Make a model's tables; angles are computed in float64."""
    rates: NDArray[np.float64] = config.rope_theta ** -(np.arange(0, head_dim, 2) / head_dim)
    angles = np.outer(np.arange(positions), rates)
    return Rope(cos=np.cos(angles).astype(np.float32), sin=np.sin(angles).astype(np.float32))


def _scaling(config: Any) -> Mapping[str, Any]:
    return getattr(config, "rope_scaling", None) or {}

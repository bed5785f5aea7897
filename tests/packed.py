"""Random models as the native core takes them, and what their weights are by packed_matrix.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Random = np.random.Generator


@dataclass(frozen=True)
class LayerShape:
    bias: bool = False
    head_norms: bool = False
    branch_norms: bool = False
    window: int = 0
    rope: int = 0
    bits: int = 8
    block: int = 32


@dataclass(frozen=True)
class Shape:
    hidden: int = 36
    intermediate: int = 48
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    vocab: int = 21
    positions: int = 48
    ropes: tuple[int, ...] = (16,)
    layers: tuple[LayerShape, ...] = (LayerShape(), LayerShape(bits=4))
    activation: str = "silu"
    attention_softcap: float = 0.0
    logits_softcap: float = 0.0


def matrix(random: Random, rows: int, columns: int, *, bits: int, block: int) -> dict[str, Any]:
    """Make weights of about 1 / sqrt(columns); what fills rows and columns up is as random."""
    blocks, filled = -(-columns // block), -(-rows // 16) * 16
    step = (0.0135 if bits == 8 else 0.217) / columns**0.5 * random.uniform(0.5, 1.5, filled)
    scales = np.repeat(step, blocks).astype("<f2")
    found = {"rows": rows, "columns": columns, "bits": bits, "block": block}
    found["codes"] = random.integers(0, 256, filled * blocks * block * bits // 8, np.uint8)
    found["scales"] = scales.view("<u2")
    if bits == 4:
        found["minima"] = (scales * np.float16(-7.5)).view("<u2")
    return found


def unpacked(matrix: dict[str, Any]) -> np.ndarray:
    """Return the float64 weights (rows, columns), each looked up at its own place."""
    block, bits = matrix["block"], matrix["bits"]
    row = np.arange(matrix["rows"])[:, None]
    column = np.arange(matrix["columns"])[None]
    group, lane, blocks = row // 16, row % 16, -(-matrix["columns"] // block)
    of_block = (group * blocks + column // block) * 16 + lane
    scales = matrix["scales"].view("<f2").astype(np.float64)[of_block]
    per_line = 4 if bits == 8 else 8
    line = group * (blocks * block // per_line) + column // per_line
    codes = matrix["codes"][(line * 16 + lane) * 4 + column % 4]
    if bits == 8:
        weights: np.ndarray = (codes.astype(np.float64) - 128) * scales
        return weights
    codes = np.where(column % 8 < 4, codes & 15, codes >> 4)
    return codes * scales + matrix["minima"].view("<f2").astype(np.float64)[of_block]


def weights(random: Random, shape: Shape) -> dict[str, Any]:
    """Make a whole model."""
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim

    def floats(count: int, mean: float, spread: float) -> np.ndarray:
        return random.normal(mean, spread, count).astype(np.float32)

    def norm(count: int) -> np.ndarray:
        return floats(count, 1.0, 0.3)

    def rope(width: int) -> dict[str, np.ndarray]:
        turns = 100.0 ** (-np.arange(0, width, 2) / max(width, 1))
        angles = np.arange(shape.positions)[:, None] * turns
        return {name: f(angles).astype(np.float32) for name, f in ROTATIONS.items()}

    def layer(own: LayerShape) -> dict[str, Any]:
        kind = {"bits": own.bits, "block": own.block}
        made = {
            "window": own.window,
            "rope": own.rope,
            "attention_norm": norm(shape.hidden),
            "mlp_norm": norm(shape.hidden),
            "qkv": matrix(random, query + 2 * key, shape.hidden, **kind),
            "output": matrix(random, shape.hidden, query, **kind),
            "gate_up": matrix(random, 2 * shape.intermediate, shape.hidden, **kind),
            "down": matrix(random, shape.hidden, shape.intermediate, **kind),
        }
        if own.bias:
            made["qkv_bias"] = floats(query + 2 * key, 0.0, 0.5)
        if own.head_norms:
            made |= {name: norm(shape.head_dim) for name in ("q_norm", "k_norm")}
        if own.branch_norms:
            made |= {f"post_{name}_norm": norm(shape.hidden) for name in ("attention", "mlp")}
        return made

    sizes = ("hidden", "intermediate", "heads", "kv_heads", "head_dim", "vocab", "positions")
    return {
        **{name: getattr(shape, name) for name in sizes},
        "norm_eps": 1e-5,
        "attention_scale": shape.head_dim**-0.5,
        "attention_softcap": shape.attention_softcap,
        "logits_softcap": shape.logits_softcap,
        "activation": shape.activation,
        "ropes": [rope(width) for width in shape.ropes],
        "layers": [layer(own) for own in shape.layers],
        "final_norm": norm(shape.hidden),
        "head": matrix(random, shape.vocab, shape.hidden, bits=8, block=shape.layers[-1].block),
    }


ROTATIONS = {"cos": np.cos, "sin": np.sin}


def described(model: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return what model.json and weights.bin say of a model."""
    data = bytearray()

    def put(array: np.ndarray) -> int:
        data.extend(bytes(-len(data) % 64))
        data.extend(array.tobytes())
        return len(data) - array.nbytes

    def index(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return {"offset": put(value), "shape": list(value.shape)}
        if isinstance(value, dict):
            arrays = ("codes", "scales", "minima") if "codes" in value else ()
            return {k: put(v) if k in arrays else index(v) for k, v in value.items()}
        return [index(inner) for inner in value] if isinstance(value, list) else value

    return index(model), bytes(data)

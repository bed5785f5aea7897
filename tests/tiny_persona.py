"""Tiny random persona heads, written without torch, and in plain loops what they come to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgepersona.bundle import Bundle, write_manifest
from edgepersona.headfile import HeadShape, array_shapes, model_hashes
from tests.standins import NDIM

INPUTS = {"embedder": {"model.safetensors": "e" * 64}, "llm": {"model.gguf": "1" * 64}}
SIZES: dict[str, Any] = {
    "ndim": NDIM,
    "hidden": 2,
    "tasks": ("title", "rating"),
    "before": 2,
    "after": 3,
    "pooled": 2,
    "reads": "words",
    "records": 2,
    "records_beside": 2,
    "lead": 3,
    "words": 4,
    "inner": 3,
    "adapted": True,
    "beside": "nearest",
}
KINDS: list[dict[str, Any]] = [
    {},
    {"reads": "item"},
    {"reads": "output"},
    {"pooled": 0, "adapted": False},
    {"records": 0},
    {"records": 0, "reads": "item"},
    {"adapted": False},
    {"records": 9},
    {"before": 0},
    {"beside": "newest"},
    {"records_beside": 3},
    {"records": 0, "records_beside": 1},
]


def make(seed: int = 0, **sizes: Any) -> tuple[HeadShape, dict[str, np.ndarray]]:
    """Make a head's sizes and its arrays, whose every number is random.

    Beside records it reads as many titles as elsewhere, where nothing else is said.
    """
    if "records" in sizes:
        sizes = {"records_beside": sizes["records"], **sizes}
    shape = HeadShape(**{**SIZES, **sizes})
    random = np.random.default_rng(seed)
    arrays = {
        name: random.normal(size=wanted).astype(_dtype(name))
        for name, wanted in array_shapes(shape).items()
    }
    return shape, arrays


def files(
    shape: HeadShape, arrays: dict[str, np.ndarray], hashes: dict[str, str], *, scale: float = 3.0
) -> tuple[dict[str, Any], bytes]:
    """Return what head.json says, and the bytes of head.bin."""
    data, places = b"", {}
    for name, array in arrays.items():
        data += b"\0" * (-len(data) % 64)
        places[name] = {
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "offset": len(data),
        }
        data += array.tobytes()
    sizes = {name: getattr(shape, name) for name in SIZES}
    index = {
        "format": 1,
        **hashes,
        "shape": {**sizes, "tasks": list(shape.tasks)},
        "scale": scale,
        "arrays": places,
        "credits": ["nobody"],
        "recipe": {"seed": 0},
    }
    return index, data


def add_head(bundle: Path, index: Any, data: bytes) -> Bundle:
    """Put a head into a bundle, which gets to say what models it was made from."""
    manifest = {k: v for k, v in Bundle.open(bundle).manifest.items() if k != "files"}
    (bundle / "persona_head").mkdir(exist_ok=True)
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    (bundle / "persona_head/head.json").write_bytes(text)
    (bundle / "persona_head/head.bin").write_bytes(data)
    head = {"path": "persona_head"}
    write_manifest(bundle, {**manifest, "inputs": INPUTS, "persona_head": head})
    return Bundle.open(bundle)


def add_random_head(bundle: Path, seed: int = 0, **sizes: Any) -> Bundle:
    """Put a random head that belongs there into a bundle."""
    return add_head(bundle, *files(*make(seed, **sizes), hashes()))


def hashes() -> dict[str, str]:
    """Return the hashes of the models that ``add_head`` has a bundle name."""
    named: Any = SimpleNamespace(manifest={"inputs": INPUTS}, path=Path("here"))
    return model_hashes(named)


def soft_tokens(
    shape: HeadShape,
    arrays: dict[str, np.ndarray],
    *,
    task: str,
    weights: np.ndarray,
    items: np.ndarray,
    outputs: np.ndarray,
    titles: list[list[int]],
    table: np.ndarray,
) -> np.ndarray:
    """Compute a head's soft tokens for weights of its records, as its format says."""
    full = {name: array.astype(np.float64) for name, array in arrays.items()}
    number = shape.tasks.index(task)
    parts = [full["before"][number]]
    for j in range(shape.pooled if len(items) else 0):
        token = full["pool_offset"][j].copy()
        for i, weight in enumerate(weights):
            if shape.reads != "words":
                read = items[i] if shape.reads == "item" else outputs[i]
                made = _bent(full, "pool", read).reshape(shape.pooled, -1)[j]
                token += weight * full["pool_gain"][j] * made
            elif j < len(titles[i]):
                word = table[titles[i][j]] - full["centre"]
                token += weight * full["pool_gain"][j] * (word + _bent(full, "pool", word))
        parts.append(token[None])
    for i in np.argsort(-weights, kind="stable")[: shape.records][::-1]:
        parts.append(full["lead"][number])
        for j, at in enumerate(titles[i][: shape.words]):
            word = table[at] - full["centre"]
            made = full["title_gain"][j] * (word + _bent(full, "title", word))
            parts.append((made + full["title_offset"][j])[None])
    return np.concatenate([*parts, full["after"][number]])


def attention(
    arrays: dict[str, np.ndarray], scale: float, query: np.ndarray, items: np.ndarray
) -> np.ndarray:
    """Return the weights that a question gives to records."""
    scores = scale * (items @ (query @ arrays["adapter"] if "adapter" in arrays else query))
    weights = np.exp(scores - scores.max(initial=0))
    return weights / weights.sum()


def digest(text: str) -> str:
    """Return some hash."""
    return hashlib.sha256(text.encode()).hexdigest()


def _bent(arrays: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    inner = arrays[f"{name}_inner"] @ x + arrays[f"{name}_bias"]
    bent = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
    return arrays[f"{name}_outer"] @ bent


def _dtype(name: str) -> str:
    return "<f2" if name == "adapter" or name.endswith(("inner", "outer")) else "<f4"

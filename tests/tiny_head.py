"""A persona head on tiny random models, and what the runtime computes of it in NumPy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

NDIM, HIDDEN, VOCAB = 8, 16, 50


def make(seed: int = 0, **sizes: Any):
    """Make a head whose every weight is random: nothing is hidden by a zero or a one."""
    import torch

    from edgepersona_export.train.model import PersonaHead, Shape, calibrate

    torch.manual_seed(seed)
    table = torch.randn(VOCAB, HIDDEN) * 0.3 + torch.randn(HIDDEN) * 0.2
    options: dict[str, Any] = {"before": 2, "after": 3, "pooled": 2, "records": 2, "words": 4}
    shape = replace(Shape(NDIM, HIDDEN, ("title", "rating")), **{**options, **sizes})
    counts = (shape.before, shape.after, shape.lead)
    words = tuple(torch.randn(2, count, HIDDEN) for count in counts)
    head = PersonaHead(shape, calibrate(table), first_words=words)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return head, table


def history(seed: int = 0, *, counts: tuple[int, ...] = (5, 1, 0), words: int = 4):
    """Make a batch of questions with so many records each."""
    import torch

    from edgepersona_export.train.model import History

    torch.manual_seed(seed)
    width = max(1, *counts)
    is_record = torch.arange(width) < torch.tensor(counts)[:, None]
    lengths = torch.randint(1, words + 1, (len(counts), width))
    is_word = (torch.arange(words) < lengths[..., None]) & is_record[..., None]
    vectors = [torch.randn(len(counts), width, NDIM) for _ in range(2)]
    items, outputs = (torch.nn.functional.normalize(v, dim=-1) for v in vectors)
    return History(
        queries=torch.nn.functional.normalize(torch.randn(len(counts), NDIM), dim=-1),
        items=items,
        outputs=outputs,
        words=torch.randint(0, VOCAB, (len(counts), width, words)),
        is_word=is_word,
        is_record=is_record,
    )


def read(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a written head: its index, and its arrays as float32."""
    index = json.loads((folder / "head.json").read_text("utf-8"))
    data = (folder / "head.bin").read_bytes()
    arrays = {}
    for name, entry in index["arrays"].items():
        kind = np.dtype(entry["dtype"]).newbyteorder("<")
        count = int(np.prod(entry["shape"]))
        found = np.frombuffer(data, kind, count, entry["offset"]).reshape(entry["shape"])
        arrays[name] = found.astype(np.float32)
    return index, arrays


def soft_tokens(
    index: dict[str, Any],
    arrays: dict[str, np.ndarray],
    *,
    task: str,
    query: np.ndarray,
    items: np.ndarray,
    outputs: np.ndarray,
    titles: list[list[int]],
    table: np.ndarray,
) -> np.ndarray:
    """Compute a head's soft tokens for one question as its format says."""
    shape, number = index["shape"], index["shape"]["tasks"].index(task)
    parts = [arrays["before"][number]]
    if len(items):
        query = query @ arrays["adapter"] if "adapter" in arrays else query
        scores = index["scale"] * (items @ query)
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        if shape["pooled"]:
            values = np.zeros((len(items), shape["pooled"], table.shape[1]), np.float32)
            for i, title in enumerate(titles):
                if shape["reads"] == "words":
                    for j, token in enumerate(title[: shape["pooled"]]):
                        word = table[token] - arrays["centre"]
                        values[i, j] = _project(arrays, "pool", word, direct=True)[j]
                else:
                    read = items[i] if shape["reads"] == "item" else outputs[i]
                    values[i] = _project(arrays, "pool", read, direct=False)
            parts.append(np.einsum("i,ijh->jh", weights, values) + arrays["pool_offset"])
        for i in np.argsort(-weights, kind="stable")[: shape["records"]][::-1]:
            parts.append(arrays["lead"][number])
            for j, token in enumerate(titles[i][: shape["words"]]):
                word = table[token] - arrays["centre"]
                made = _project(arrays, "title", word, direct=True)[j] + arrays["title_offset"][j]
                parts.append(made[None])
    return np.concatenate([*parts, arrays["after"][number]])


def _project(
    arrays: dict[str, np.ndarray], name: str, x: np.ndarray, *, direct: bool
) -> np.ndarray:
    inner = arrays[f"{name}_inner"] @ x + arrays[f"{name}_bias"]
    bent = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
    gain = arrays[f"{name}_gain"][:, None]
    made = arrays[f"{name}_outer"] @ bent
    return gain * (x + made) if direct else gain * made.reshape(len(gain), -1)

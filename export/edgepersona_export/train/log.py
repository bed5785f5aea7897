"""A run's log, a JSON object a line, and the picture of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SMOOTHED = 16
"""Batches: one is of a few samples of one source, and losses of sources lie far apart."""

_HELD_OUT = {
    "held_out": "o",
    "held_out_other": "x",
    "held_out_beside": "s",
    "held_out_beside_other": "+",
}
"""How the points of a log are drawn."""


def begin(file: Path, *, start: int = 0) -> None:
    """Begin a log, or take one up at ``start``: what comes again goes, later steps and verdicts."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = read(file) if start else []
    kept = [line for line in lines if "loss" in line and line["step"] <= start]
    file.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")


def add(file: Path, step: int, **values: float) -> None:
    """Write one line."""
    rounded = {name: round(value, 6) for name, value in values.items()}
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"step": step, **rounded}) + "\n")


def read(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; one cut short by a crash is left out."""
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def draw(lines: Sequence[dict[str, Any]], file: Path) -> bool:
    """Draw the losses as a PNG; return False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    losses = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    if losses:
        axes.plot(*zip(*losses, strict=True), "-", color="0.8", label="loss of a batch")
        axes.plot(*zip(*_smoothed(losses), strict=True), "-", label=f"mean of {_SMOOTHED}")
    for name, style in _HELD_OUT.items():
        points = [(line["step"], line[name]) for line in lines if name in line]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=name.replace("_", " "))
    axes.set_xlabel("step")
    axes.set_ylabel("nats a token")
    if axes.lines:
        axes.legend()
    figure.savefig(file, format="png", dpi=120)
    return True


def _smoothed(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    return [
        (
            step,
            sum(value for _, value in points[max(0, i + 1 - _SMOOTHED) : i + 1])
            / min(i + 1, _SMOOTHED),
        )
        for i, (step, _) in enumerate(points)
    ]

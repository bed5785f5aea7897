"""What a training run is told: where to read and write, and everything its outcome depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgepersona.errors import InputError
from edgepersona.records import TITLE_KINDS
from edgepersona_export.train.batches import Drawing


@dataclass(frozen=True, slots=True)
class Options:
    """With the data and the models, all that a run's outcome depends on."""

    tasks: tuple[str, ...] = ("title",)
    epochs: float = 2.0
    batch: int = 16
    lr: float = 2e-3
    contrast: float = 0.0
    """Weight of the own-against-other term; it doubles the time of a batch."""
    contrasted: float = 1.0
    """So many of the batches have the term, at a weight that makes up for the others."""
    seed: int = 0
    window: int = 40
    """So many of a person's newest earlier records are read."""
    most_per_user: int = 40
    text_tokens: int = 160
    held_out: float = 0.05
    """Share of the people whose records are foretold, and never learnt from."""
    shape: Mapping[str, Any] = field(default_factory=dict)
    """Sizes of the head that differ from ``Shape``'s."""
    dtype: str = "fp32"
    drawing: Drawing = field(default_factory=Drawing)
    only_beside: bool = False
    """Learn the instructions beside records alone: nothing that is said without records changes."""

    def __post_init__(self) -> None:
        if unknown := [task for task in self.tasks if task not in TITLE_KINDS]:
            raise InputError(
                f"task {unknown[0]!r} cannot be learnt: expected one of {', '.join(TITLE_KINDS)}"
            )
        checks = {
            "epochs": self.epochs > 0,
            "batch": self.batch >= 1,
            "lr": self.lr > 0,
            "contrast": self.contrast >= 0,
            "contrasted": 0 < self.contrasted <= 1,
            "held_out": 0 <= self.held_out < 1,
            "window": self.window >= 1,
            "most_per_user": self.most_per_user >= 1,
            "text_tokens": self.text_tokens >= 8,
        }
        for name, fine in checks.items():
            if not fine:
                raise InputError(f"{name.replace('_', '-')} {getattr(self, name)} is out of range")
        if self.only_beside and self.drawing.shown < 1:
            raise InputError(
                f"shown {self.drawing.shown}: what is learnt beside records alone needs them in "
                "every prompt, shown 1"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON holds them."""
        return asdict(self) | {"tasks": list(self.tasks), "shape": dict(self.shape)}


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run reads and writes."""

    sources: tuple[tuple[Path, str], ...]
    """Histories, each with its task."""
    llm: Path
    """The bundle's LLM as torch reads it: a folder or a GGUF file."""
    out: Path
    credits: tuple[str, ...] = ()
    """Whom the histories are owed to: it goes into the head."""
    start: Path | None = None
    """A head to begin with; None: one that has learnt nothing."""

    @property
    def run(self) -> Path:
        """Where what only training needs lies."""
        return self.out / "training"

"""What a benchmark says: rows of ours beside theirs, as a table and as JSON."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[1] / "build" / "bench"


@dataclass(frozen=True, slots=True)
class Row:
    """One work measured against one peer; ``ratio`` is the median of the rounds' ours / theirs.

    ``extras`` stand beside the other fields in the file.
    """

    work: str
    peer: str
    ours: float
    theirs: float
    ratio: float
    ratio_low: float
    ratio_high: float
    unit: str
    better: str
    rounds: int
    quality: str
    extras: dict[str, Any] = field(default_factory=dict)


def compare(
    work: str, peer: str, ours: list[float], theirs: list[float], *, unit: str, better: str,
    quality: str, extras: dict[str, Any] | None = None,
) -> Row:  # fmt: skip
    """Pair the rounds up: the machine's speed drifts, what ran side by side can be compared."""
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return Row(
        work=work,
        peer=peer,
        ours=statistics.median(ours),
        theirs=statistics.median(theirs),
        ratio=statistics.median(ratios),
        ratio_low=ratios[0],
        ratio_high=ratios[-1],
        unit=unit,
        better=better,
        rounds=len(ratios),
        quality=quality,
        extras=extras or {},
    )


def publish(target: str, rows: list[Row], machine: str) -> None:
    """Print the table and write build/bench/<target>.json."""
    print(f"\n{target}  ({machine})")
    print(f"{'peer':<44}{'ours':>10}{'theirs':>10}{'ratio':>8}  {'range':<17}{'unit':<10}quality")
    for row in rows:
        span = f"{row.ratio_low:.2f} to {row.ratio_high:.2f}"
        print(
            f"{row.peer:<44}{_short(row.ours):>10}{_short(row.theirs):>10}{row.ratio:>8.2f}"
            f"  {span:<17}{row.unit:<10}{row.quality}"
        )
    OUT.mkdir(parents=True, exist_ok=True)
    file = OUT / f"{target}.json"
    file.write_text(json.dumps([_flat(row) for row in rows], indent=1) + "\n")


def _short(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def _flat(row: Row) -> dict[str, Any]:
    fields = asdict(row)
    extras = fields.pop("extras")
    return {**fields, **extras}

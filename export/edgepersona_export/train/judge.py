"""What a head says about people it never learnt from: by their own history, and by another's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgepersona_export.train.batches import Collator
from edgepersona_export.train.histories import Sample
from edgepersona_export.train.objective import Objective

_SAMPLES = 128
"""At most so many: this is for the log, ``edgepersona eval`` measures."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Mean negative log-likelihood of the gold in nats a token; NaN where nobody was held out."""

    own: float = math.nan
    other: float = math.nan
    samples: int = 0

    @property
    def own_minus_other(self) -> float:
        """Below zero where a persona says something about its person."""
        return self.own - self.other


def judged(samples: Sequence[Sample]) -> list[Sample]:
    """Return those of ``samples`` that a judgement reads."""
    # People stand side by side in the order of a file: take them apart.
    stride = max(1, len(samples) // _SAMPLES)
    return list(samples[::stride])[:_SAMPLES]


def judge(
    objective: Objective, collator: Collator, samples: Sequence[Sample], *, batch: int
) -> Verdict:
    """Foretell the records of ``samples`` under both personas."""
    own: list[Tensor] = []
    other: list[Tensor] = []
    kept = judged(samples)
    for start in range(0, len(kept), batch):
        made = collator.collate(kept[start : start + batch], "held out")
        ours, theirs = objective.judge(made)
        own.append(ours.cpu()[made.has_other])
        other.append(theirs.cpu()[made.has_other])
    count = sum(map(len, own))
    if not count:
        return Verdict()
    return Verdict(float(torch.cat(own).mean()), float(torch.cat(other).mean()), count)

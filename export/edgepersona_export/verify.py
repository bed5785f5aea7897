"""Holds an exported bundle against torch before anyone is given it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepersona.errors import ExportError

WINDOW_TOKENS = 160
"""Tokens of one text that is scored, of which all but the first are predicted."""

_TEXTS = 24


@dataclass(frozen=True, slots=True)
class Check:
    """One measured property with its bound; ``at_least`` says on which side of it is right."""

    name: str
    value: float
    bound: float
    at_least: bool
    samples: int

    @property
    def passed(self) -> bool:
        """Whether the value is on the right side of its bound; NaN never is."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


COSINE_BOUND = {"fp32": 0.999, "fp16": 0.999, "int8": 0.99}
"""Least mean cosine between an exported embedder's vectors and torch's."""

KEPT = "int4, kept"
"""Bounds of a file's own blocks of 4 bits: only activations are rounded."""

PERPLEXITY_BOUND = {"fp32": 1.001, "fp16": 1.005, "int8": 1.02, "int4": 2.0, KEPT: 1.02}
"""Greatest perplexity of an exported generator, as a multiple of torch's in float32."""

AGREEMENT_BOUND = {"fp32": 0.99, "fp16": 0.98, "int8": 0.90, "int4": 0.5, KEPT: 0.94}
"""Least share of positions where an exported generator's likeliest token is torch's."""


def sample_texts() -> list[str]:
    """Return English prose that every CPython carries: its language reference, by topic."""
    return [text[:2000] for text in _topics()[:_TEXTS]]


def other_texts() -> list[str]:
    """Return the topics that ``sample_texts`` takes nothing of."""
    return _topics()[_TEXTS:]


def check_embedder(
    encode: Callable[[Sequence[str]], NDArray[np.float32]],
    reference: Callable[[Sequence[str]], NDArray[np.float32]],
    precision: str,
) -> list[Check]:
    """Compare vectors of texts of many lengths with torch's."""
    prose = sample_texts()
    texts = [text[:length] for length in (20, 80, 300, 1000) for text in prose]
    cosine = (encode(texts) * reference(texts)).sum(axis=1)
    bound = COSINE_BOUND[precision]
    label = f"embedder {precision}"
    return [
        Check(f"{label}: mean cosine to torch", float(cosine.mean()), bound, True, len(texts)),
        # The worst text may fall behind the mean by one more such step.
        Check(
            f"{label}: least cosine to torch", float(cosine.min()), 2 * bound - 1, True, len(texts)
        ),
    ]


def check_generator(
    log_probs: Callable[[list[int]], NDArray[np.float32]],
    reference: Callable[[list[int]], NDArray[np.float32]],
    windows: Sequence[list[int]],
    bounds: str,
    *,
    label: str = "",
) -> list[Check]:
    """Compare next-token distributions, each (n, vocab) in log-probabilities, with torch's.

    Perplexity is the exponential of the mean negative log-likelihood of the text's own tokens;
    KL is of the exported distribution from torch's, in nats.
    """
    losses, reference_losses, agree, divergences = [], [], [], []
    for ids in windows:
        ours, theirs = log_probs(ids)[:-1], reference(ids)[:-1]
        positions, following = np.arange(len(ids) - 1), np.array(ids[1:])
        losses.append(-ours[positions, following])
        reference_losses.append(-theirs[positions, following])
        agree.append(ours.argmax(axis=1) == theirs.argmax(axis=1))
        divergences.append((np.exp(theirs) * (theirs - ours)).sum(axis=1))
    loss, reference_loss = np.concatenate(losses), np.concatenate(reference_losses)
    ratio = float(np.exp(loss.mean() - reference_loss.mean()))
    label, n = f"generator {label or bounds}", len(loss)
    return [
        Check(f"{label}: perplexity ÷ torch's", ratio, PERPLEXITY_BOUND[bounds], False, n),
        Check(
            f"{label}: top-1 agreement", float(np.concatenate(agree).mean()),
            AGREEMENT_BOUND[bounds], True, n,
        ),
        Check(
            f"{label}: KL from torch, nats", float(np.concatenate(divergences).mean()),
            np.inf, False, n,
        ),
        Check(f"{label}: perplexity", float(np.exp(loss.mean())), np.inf, False, n),
    ]  # fmt: skip


def _topics() -> list[str]:
    """Return all topics, the longest first; their lines are laid out for a terminal."""
    from pydoc_data.topics import topics

    return [" ".join(text.split()) for text in sorted(topics.values(), key=len, reverse=True)]


def require(checks: Sequence[Check]) -> None:
    """Raise ExportError that names each check which failed."""
    if failed := [c for c in checks if not c.passed]:
        found = "; ".join(
            f"{c.name} is {c.value:.4f}, needed {'≥' if c.at_least else '≤'} {c.bound}"
            for c in failed
        )
        raise ExportError(
            f"the exported models differ too much from torch, nothing was published: {found}"
        )


def table(checks: Sequence[Check]) -> str:
    """Lay checks out for a terminal."""
    width = max(len(c.name) for c in checks)
    lines = [f"{'check':<{width}}  {'value':>8}  {'bound':>8}  {'n':>5}"]
    for c in checks:
        bound = "" if np.isinf(c.bound) else f"{'≥' if c.at_least else '≤'} {c.bound:g}"
        verdict = "" if np.isinf(c.bound) else ("  ok" if c.passed else "  FAILED")
        lines.append(f"{c.name:<{width}}  {c.value:8.4f}  {bound:>8}  {c.samples:>5}{verdict}")
    return "\n".join(lines)
